"""`triton`: a model repository of bundles, for Triton servers of one's own."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from keras_trt._arguments import (
    check_boolean,
    check_count,
    check_one_of,
    check_path,
    check_verbose,
    wrong_argument,
)
from keras_trt._say import say
from keras_trt._swap import replaced_file, swap_in, sync_tree, working_folder
from keras_trt._tensors import free_batch
from keras_trt.bundle import Bundle
from keras_trt.errors import InputError
from keras_trt.serving.config import config_text, labels_file, warm_up_file
from keras_trt.serving.contract import Contract, contract, named_bundles, warm_up_rows
from keras_trt.serving.serve import Paths

_BACKENDS = ("auto", "tensorrt", "onnx", "python")
_CONFIG = "config.pbtxt"


def triton(
    bundles: Paths,
    out: str | os.PathLike[str],
    *,
    backend: str = "auto",
    instances: int = 1,
    max_delay_us: int = 1000,
    warm_up: bool = True,
    verbose: int = 1,
) -> dict[str, Path]:
    """Writes bundles into a model repository of NVIDIA's Triton server, or a new version of them.

    A model that is there already gets the next version folder, in one step; its `config.pbtxt`, which may
    have been edited, stays, and must name the same tensors. A README in the repository says how to run it.

    Args:
        bundles: A path, a list of paths, or a dict of paths by the name to serve under; else that is the
            model's name.
        out: The repository's folder; made where it is missing.
        backend: `"tensorrt"` runs the bundle's plans, `"onnx"` its ONNX file, `"python"` the bundle
            by `keras_trt.load`, which the server's Python then needs; `"auto"`: plans where there are any,
            else the ONNX file.
        instances: How many of each model run at once.
        max_delay_us: How long, in microseconds, a request may wait for others to share its batch.
        warm_up: Whether the server runs the rows that the bundle carries before it is ready.
        verbose: 1 prints what was written.

    Returns:
        The version folders by model name.

    Raises:
        InputError: A wrong argument, a bundle without a plan for TensorRT, a version with other tensors, or a
            repository that cannot be written.
        BundleError: No bundle at a path.

    Example:
        >>> written = keras_trt.triton({"digits": "digits.bundle"}, "models", verbose=0)
        >>> sorted(path.name for path in written["digits"].parent.iterdir())
        ['1', 'config.pbtxt', 'warmup']
    """
    check_one_of(backend, _BACKENDS, "backend")
    check_count(instances, "instances")
    check_boolean(warm_up, "warm_up")
    check_verbose(verbose)
    if not isinstance(max_delay_us, int) or isinstance(max_delay_us, bool) or max_delay_us < 0:
        raise wrong_argument("max_delay_us", "a whole number of microseconds >= 0", max_delay_us)
    repository = check_path(out, "out").expanduser().absolute()
    entries = [_entry(name, bundle, backend) for name, bundle in named_bundles(bundles).items()]
    texts = [_config(entry, instances, max_delay_us, warm_up) for entry in entries]
    for entry, text in zip(entries, texts, strict=True):
        _check_same_tensors(repository / entry.name / _CONFIG, text)
    written = {}
    try:
        repository.mkdir(parents=True, exist_ok=True)
        for entry, text in zip(entries, texts, strict=True):
            written[entry.name] = _write(repository, entry, text, warm_up)
            say(f"Wrote {written[entry.name]} ({entry.backend})", verbose)
        with replaced_file(repository / "README.md") as file:
            file.write_text(_README.format(repository=repository, image=_image(entries)), encoding="utf-8")
    except OSError as e:
        raise InputError(
            f"The repository `{repository}` cannot be written: {e}. Written before that: "
            f"{', '.join(map(str, written.values())) or 'nothing'}"
        ) from e
    return written


@dataclass(frozen=True)
class _Entry:
    """A model to write: its name, bundle, what computes it, what Triton is told of it."""

    name: str
    bundle: Bundle
    backend: str
    agreed: Contract

    @property
    def files(self) -> dict[str, Path]:
        """The files of a version folder by name; the first is the model's own."""
        manifest, folder = self.bundle.manifest, self.bundle.path
        if self.backend == "onnx":
            return {"model.onnx": self.bundle.onnx_path} | {f: folder / f for f in manifest.external_data}
        if self.backend == "python":
            return {"model.py": Path(__file__).with_name("python_backend.py"), "bundle": folder}
        plans = [self.bundle.plan_path(stamp) for stamp in manifest.plans if stamp.kind == "tensorrt"]
        return {"model.plan": plans[0]} | {f"model_{i}.plan": plan for i, plan in enumerate(plans[1:], 1)}

    @property
    def capabilities(self) -> dict[str, str]:
        """The plans by compute capability, where there are several."""
        stamps = [stamp for stamp in self.bundle.manifest.plans if stamp.kind == "tensorrt"]
        if self.backend != "tensorrt" or len(stamps) < 2:
            return {}
        return {
            f"{number[2:-1]}.{number[-1]}": file
            for stamp, file in zip(stamps, self.files, strict=True)
            for number in stamp.compute_capabilities
        }


def _entry(name: str, bundle: Bundle, backend: str) -> _Entry:
    manifest = bundle.manifest
    kinds = {stamp.kind for stamp in manifest.plans}
    if backend == "auto":
        backend = "tensorrt" if "tensorrt" in kinds else "onnx"
    if backend == "tensorrt" and "tensorrt" not in kinds:
        raise InputError(
            f"The bundle `{bundle.path}` has no plan of TensorRT, which is what Triton runs. It has: "
            f"{sorted(kinds) or 'none'}. Build one on the server's GPU: "
            f"keras_trt.build({str(bundle.path)!r}, "
            '"tensorrt"), or pass backend="onnx".'
        )
    if backend != "python":
        return _Entry(name, bundle, backend, contract(manifest, manifest.inputs, manifest.outputs))
    free = [[free_batch(s, manifest.inputs) for s in specs] for specs in (manifest.inputs, manifest.outputs)]
    return _Entry(name, bundle, backend, contract(manifest, *free))


def _config(entry: _Entry, instances: int, max_delay_us: int, warm_up: bool) -> str:
    return config_text(
        entry.name,
        entry.bundle.manifest,
        entry.agreed,
        backend=entry.backend,
        file=next(iter(entry.files)),
        plans=entry.capabilities,
        instances=instances,
        max_delay_us=max_delay_us,
        warm_up=warm_up_rows(entry.bundle) if warm_up else {},
    )


def _check_same_tensors(config: Path, text: str) -> None:
    """Versions of one model share its config."""
    if not config.is_file():
        return
    before = _tensors(config.read_text(encoding="utf-8"))
    if before != _tensors(text):
        raise InputError(
            f"`{config}` is of another model: versions of one model have the same backend, batch and "
            f"tensors. It says {before}, this bundle {_tensors(text)}. Serve it under another name: "
            "triton({'name': path}, out)"
        )


def _tensors(text: str) -> list[str]:
    lines = (line.strip() for line in text.partition("instance_group")[0].splitlines())
    return [line for line in lines if line and not line.startswith("label_filename")]


def _write(repository: Path, entry: _Entry, text: str, warm_up: bool) -> Path:
    """Writes a version beside the repository and renames it into its place."""
    model = repository / entry.name
    numbers = [int(p.name) for p in model.iterdir() if p.name.isdecimal()] if model.is_dir() else []
    version = model / str(max(numbers, default=0) + 1)
    labels = entry.bundle.manifest.labels
    listed = {
        labels_file(i): "".join(f"{' '.join(name.split())}\n" for name in labels[port.name])
        for i, port in enumerate(entry.agreed.outputs)
        if port.name in labels
    }
    with working_folder(repository) as folder:
        whole = folder / entry.name
        (whole / version.name).mkdir(parents=True)
        for name, source in entry.files.items():
            copy = shutil.copytree if source.is_dir() else shutil.copyfile
            copy(source, whole / version.name / name)
        if model.is_dir():
            sync_tree(whole)
            for name, lines in listed.items():
                with replaced_file(model / name) as file:
                    file.write_text(lines, encoding="utf-8")
            swap_in(whole / version.name, version, overwrite=False)
            return version
        for name, lines in {_CONFIG: text, **listed}.items():
            (whole / name).write_text(lines, encoding="utf-8")
        if warm_up:
            (whole / "warmup").mkdir()
            rows = warm_up_rows(entry.bundle)
            for i, port in enumerate(entry.agreed.inputs):
                (whole / "warmup" / warm_up_file(i)).write_bytes(rows[port.name].tobytes())
        sync_tree(whole)
        swap_in(whole, model, overwrite=False)
    return version


def _image(entries: list[_Entry]) -> str:
    return (
        "needs keras_trt in the server's Python: pip install 'keras-trt[openvino]'"
        if any(entry.backend == "python" for entry in entries)
        else "needs nothing more than the server"
    )


_README = """\
# A model repository for NVIDIA Triton

Written by `keras_trt.triton`. It {image}.
Run it with the release of the server whose TensorRT built the plans:

    docker run --rm --gpus all -p 8000:8000 -p 8001:8001 -p 8002:8002 \\
        -v {repository}:/models nvcr.io/nvidia/tritonserver:<release>-py3 \\
        tritonserver --model-repository=/models

or, where the server is installed: `tritonserver --model-repository={repository}`.

`curl localhost:8000/v2/health/ready` tells when it is ready, `localhost:8002/metrics` what it does.
A new version of a bundle: `keras_trt.triton(bundle, "{repository}")`; a server with
`--model-control-mode=poll` takes it up by itself.
"""
