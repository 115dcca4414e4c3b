"""`triton`: a model repository of bundles, for Triton servers of one's own."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from keras_trt._base.arguments import (
    check_boolean,
    check_count,
    check_one_of,
    check_path,
    check_verbose,
    wrong_argument,
)
from keras_trt._base.say import say
from keras_trt._machine.swap import replaced_file, swap_in, sync_tree, working_folder
from keras_trt.bundle.contents import is_bundle
from keras_trt.errors import InputError
from keras_trt.serving.config import labels_file
from keras_trt.serving.contract import named_bundles
from keras_trt.serving.ensemble import Ensemble, ensembles_of
from keras_trt.serving.entry import Entry, entry_of
from keras_trt.serving.readme import write_readme
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
    ensembles: Mapping[str, Sequence[str]] | None = None,
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
        ensembles: Models in a row that are asked as one, by their names: `{"cats": ["resize", "net"]}`. An
            input takes the output of its name from the model before, or, where no names are shared, the
            output in its place. Types and sizes must agree; the largest batch is the smallest of theirs.
        verbose: 1 prints what was written.

    Returns:
        The version folders by name, of models and ensembles.

    Raises:
        InputError: A wrong argument, a bundle without a plan for TensorRT, a version with other tensors,
            models of an ensemble that do not fit, or a repository that cannot be written.
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
    repository = _checked_folder(out)
    entries = [entry_of(name, bundle, backend) for name, bundle in named_bundles(bundles).items()]
    rows = ensembles_of(ensembles, entries)
    texts = {entry.name: entry.config(instances, max_delay_us, warm_up) for entry in entries}
    texts |= {row.name: row.config() for row in rows}
    for name, text in texts.items():
        _check_same_model(repository / name, text)
    written, is_new = {}, not repository.exists()
    try:
        repository.mkdir(parents=True, exist_ok=True)
        for entry in entries:
            warm = entry.warm_up_files() if warm_up else {}
            written[entry.name] = _write(repository, entry, texts[entry.name], entry.files, warm)
            say(f"Wrote {written[entry.name]} ({entry.backend})", verbose)
        for row in rows:  # behind their models, for a server that polls
            written[row.name] = _write(repository, row, texts[row.name], {"steps.txt": f"{row.chain}\n"}, {})
            say(f"Wrote {written[row.name]} (ensemble of {row.chain})", verbose)
        write_readme(repository, entries, verbose)
    except OSError as e:
        raise InputError(
            f"The repository `{repository}` cannot be written: {e}. Written before that: "
            f"{', '.join(map(str, written.values())) or 'nothing'}"
        ) from e
    finally:
        if is_new and not written:
            with suppress(OSError):  # it holds something after all
                repository.rmdir()
    return written


def _checked_folder(out: str | os.PathLike[str]) -> Path:
    repository = check_path(out, "out").expanduser().absolute()
    for folder in (repository, *repository.parents):
        if is_bundle(folder):
            raise InputError(
                f"`out` must be outside of bundles. Received: '{repository}'; a bundle: '{folder}'"
            )
    return repository


def _check_same_model(place: Path, text: str) -> None:
    """Versions of one model share its config."""
    config = place / _CONFIG
    if not config.is_file():
        if place.is_dir() and any(place.iterdir()):
            raise InputError(
                f"`{place}` is no model of Triton's: it has no `{_CONFIG}`. Choose another repository, or "
                "serve under another name: triton({'name': path}, out), on the command line NAME=BUNDLE"
            )
        return
    before = _tensors(config.read_text(encoding="utf-8"))
    if before != _tensors(text):
        raise InputError(
            f"`{config}` is of another model: versions of one model have the same backend, batch and "
            f"tensors. It says {before}, this bundle {_tensors(text)}. Serve it under another name: "
            "triton({'name': path}, out)"
        )


def _tensors(text: str) -> list[str]:
    """What versions share: the tensors, and the steps of an ensemble."""
    lines = (line.strip() for line in text.partition("instance_group")[0].splitlines())
    return [line for line in lines if line and not line.startswith("label_filename")]


def _write(
    repository: Path,
    model: Entry | Ensemble,
    text: str,
    files: Mapping[str, Path | str],
    warm: dict[str, bytes],
) -> Path:
    """Writes a version beside the repository and renames it into its place; `files` are paths or texts."""
    place = repository / model.name
    numbers = [int(p.name) for p in place.iterdir() if p.name.isdecimal()] if place.is_dir() else []
    version = place / str(max(numbers, default=0) + 1)
    listed = {
        labels_file(i): "".join(f"{' '.join(name.split())}\n" for name in model.labels[port.name])
        for i, port in enumerate(model.agreed.outputs)
        if port.name in model.labels
    }
    with working_folder(repository) as folder:
        whole = folder / model.name
        (whole / version.name).mkdir(parents=True)
        for name, source in files.items():
            _put(source, whole / version.name / name)
        if (place / _CONFIG).is_file():
            sync_tree(whole)
            for name, lines in listed.items():
                with replaced_file(place / name) as file:
                    file.write_text(lines, encoding="utf-8")
            swap_in(whole / version.name, version, overwrite=False)
            return version
        for name, lines in {_CONFIG: text, **listed}.items():
            (whole / name).write_text(lines, encoding="utf-8")
        for name, data in warm.items():
            (whole / "warmup").mkdir(exist_ok=True)
            (whole / "warmup" / name).write_bytes(data)
        sync_tree(whole)
        swap_in(whole, place, overwrite=False)
    return version


def _put(source: Path | str, target: Path) -> None:
    if isinstance(source, str):
        target.write_text(source, encoding="utf-8")
    elif source.is_dir():
        shutil.copytree(source, target)
    else:
        shutil.copyfile(source, target)
