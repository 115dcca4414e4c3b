"""The text in a model repository that says how to run it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from keras_trt._base.say import say
from keras_trt._machine.swap import replaced_file
from keras_trt.serving.entry import Entry

_TITLE = "# A model repository for NVIDIA Triton\n\nWritten by `keras_trt.triton`."
_README = """\
{title} It {image}.
Run it with the release of the server whose TensorRT built the plans:

    docker run --rm --gpus all -p 8000:8000 -p 8001:8001 -p 8002:8002 \\
        -v {repository}:/models nvcr.io/nvidia/tritonserver:<release>-py3 \\
        tritonserver --model-repository=/models

or, where the server is installed: `tritonserver --model-repository={repository}`.

`curl localhost:8000/v2/health/ready` tells when it is ready, `localhost:8002/metrics` what it does.
A new version of a bundle: `keras_trt.triton(bundle, "{repository}")`; a server with
`--model-control-mode=poll` takes it up by itself.
"""


def write_readme(repository: Path, entries: Sequence[Entry], verbose: int) -> None:
    """Writes how to run the repository, over what was written here before; a README of the user's stays.

    Raises:
        OSError: It cannot be read or written.
    """
    path = repository / "README.md"
    if path.exists() and not path.read_text(encoding="utf-8", errors="replace").startswith(_TITLE):
        say(
            f"`{path}` stays, for it is not of `keras_trt.triton`; it may not say how to run the server.",
            verbose,
        )
        return
    with replaced_file(path) as file:
        text = _README.format(title=_TITLE, repository=repository, image=_image(entries))
        file.write_text(text, encoding="utf-8")


def _image(entries: Sequence[Entry]) -> str:
    return (
        "needs keras_trt in the server's Python: pip install 'keras-trt[openvino]'"
        if any(entry.backend == "python" for entry in entries)
        else "needs nothing more than the server"
    )
