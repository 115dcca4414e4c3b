"""A bundle as a model card: the `README.md` of its repository on the Hugging Face Hub."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence

from keras_trt._base.tensors import shape_text
from keras_trt.bundle.manifest import Manifest

_SHOWN = 20  # names of classes


def card(manifest: Manifest, repo_id: str, facts: Iterable[Sequence[object]], notes: Iterable[str]) -> str:
    """The card as Markdown, with the metadata that the Hub reads.

    Args:
        manifest: The bundle's.
        repo_id: Where it is loaded from, `"me/digits"`.
        facts: Pairs of text to show, as the report has them.
        notes: Sentences to show, too.
    """
    return "\n".join(_lines(manifest, repo_id, facts, notes)) + "\n"


def _lines(
    manifest: Manifest, repo_id: str, facts: Iterable[Sequence[object]], notes: Iterable[str]
) -> Iterator[str]:
    tags = ["keras", "onnx", "tensorrt", *re.findall(r"[a-z]+\d+", manifest.precision)]
    # JSON is YAML, whatever a name holds.
    yield from ("---", "library_name: keras-trt", f"tags: {json.dumps(tags)}", "---", "")
    yield from (f"# {_text(manifest.name)}", "")
    yield "A keras_trt bundle: an ONNX graph that TensorRT takes, checked against Keras when it was written."
    beside = f', local_dir="{repo_id.rpartition("/")[2]}.bundle"' if manifest.external_data else ""
    yield from (
        "",
        "```python",
        "import huggingface_hub",
        "import keras_trt",
        "",
        f"engine = keras_trt.load(huggingface_hub.snapshot_download({json.dumps(repo_id)}{beside}))",
        "engine.predict(x)",
        "```",
        "",
        "It needs a runner: `pip install 'keras-trt[tensorrt]'` for a GPU, `'keras-trt[openvino]'` without.",
        "",
        "## Inputs and outputs",
        "",
    )
    rows = [("input", s.name, shape_text(s.shape), s.dtype) for s in manifest.inputs]
    types = manifest.predicted_dtypes
    rows += [("output", s.name, shape_text(s.shape), types.get(s.name, s.dtype)) for s in manifest.outputs]
    yield from _table(("", "name", "shape", "type"), rows)
    for output, names in manifest.labels.items():
        more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
        yield from ("", f"Classes of `{_text(output)}`: {', '.join(map(_text, names[:_SHOWN]))}{more}.")
    yield from ("", "## Facts", "", *_table(("", ""), facts))
    told = [f"* {_text(note)}" for note in notes]
    yield from ("", "## Notes", "", *told) if told else ()


def _table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> Iterator[str]:
    for cells in (columns, ["---"] * len(columns), *rows):
        yield f"| {' | '.join(_text(cell) if cell != '---' else '---' for cell in cells)} |"


def _text(value: object) -> str:
    """A text in one line that no sign in it can turn into markup."""
    return re.sub(r"([\\`*_\[\]<>|#~])", r"\\\1", " ".join(str(value).split()))
