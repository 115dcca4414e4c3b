"""Whole models: what was done to them, their plain form, and their way to disk and back."""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from typing import Any

from keras_trt._arguments import check_boolean, check_mapping, check_path
from keras_trt._disk import full_disk
from keras_trt._keras.flavor_of import keras3, legacy
from keras_trt._keras.masks.masking import mask_class, mask_infos, rebind, restore_masks, unmask
from keras_trt._keras.named_classes import check_names
from keras_trt._keras.types import M, Model
from keras_trt._swap import replaced_file
from keras_trt.errors import InputError, KerasTRTError, ModelError
from keras_trt.prune.facts import facts_by_layer, total_sparsity
from keras_trt.prune.search.state import forget_search, search_state, searched
from keras_trt.quantize.inventory import SWITCHED_OFF, quantizers_of
from keras_trt.quantize.quantize_model import decide, left_float
from keras_trt.reports import Report
from keras_trt.tfmot.accept import accept
from keras_trt.twins.containers import check_adopted
from keras_trt.twins.registry import deciding, register
from keras_trt.twins.twins import dequantize_layer, is_quantized, is_silent, is_twin

_MASKS = "keras_trt_masks.json"  # in a `.keras` file: what each mask remembers


def report(model: Model) -> Report:
    """What is quantised and pruned in a model, layer by layer, what is not, and why.

    Args:
        model: A built Keras 3 or tf_keras model, quantised or not.

    Returns:
        A report with the columns layer, kind, quantised, amax (the activation ranges; empty while
        unknown), scheme, reason (why it is not quantised) and sparsity (share of zeros in the kernels).
        With zeros in the model also pattern and target (what was asked for) and tensorrt (whether
        TensorRT can use the zeros, or why not).
    """
    flavor, model, notes = accept(model)
    decisions, pruning = decide(flavor, model), facts_by_layer(flavor, model)
    rows: list[dict[str, Any]] = []
    twins = {path for path, layer in flavor.walk(model) if is_quantized(layer)}
    for path, layer in flavor.walk(model):
        decision, twin = decisions[path], path in twins
        ranges = [float(flavor.raw(q.amax).numpy()) for q in quantizers_of(layer)] if twin else []
        reason = decision.reason if twin else left_float(flavor, layer, decision, bool(twins))
        reason = SWITCHED_OFF if is_silent(layer) else reason
        rows.append(
            {
                "layer": path,
                "kind": decision.kind,
                "quantised": _quantised(layer) if twin else "",
                "amax": ", ".join(f"{amax:.4g}" for amax in ranges if amax > 0),
                "scheme": layer.quantization.scheme.name if twin else "",
                "reason": reason,
                **(pruning.get(path) or dict.fromkeys(("pattern", "target", "sparsity", "tensorrt"))),
            }
        )
    quantized = sum(bool(row["quantised"]) for row in rows)
    title = f"{model.name}: {quantized} of {len(rows)} layers quantised"
    if any(row["pattern"] or row["sparsity"] for row in rows):
        title += f", {total_sparsity(model):.1%} zeros"
    else:
        for row, column in product(rows, ("pattern", "target", "tensorrt")):
            del row[column]  # nothing to say about a model without zeros
    return Report(title, tuple(rows), notes)


def strip(model: M) -> M:
    """Returns a plain copy: no quantisers, no masks; float weights as trained, pruned ones zero.

    Args:
        model: A model made by `quantize_model`, `prune_model` or the callbacks; it is not changed.
    """
    flavor, model, _ = accept(model)
    copy = flavor.clone(model)
    for layer in [copy, *(layer for _, layer in flavor.walk(copy))]:
        if is_twin(layer):
            dequantize_layer(layer)
    unmask(flavor, copy)
    forget_search(flavor, copy)
    return copy


def save_model(model: Model, path: Any) -> None:
    """Saves a model, quantised or pruned or plain, as a `.keras` file; written beside, then renamed.

    When saving fails, or the process is killed at any moment, what was at `path` stays.

    Args:
        model: A built Keras 3 or tf_keras model.
        path: A file name that ends in `.keras`; an existing file is replaced whole.

    Raises:
        InputError: Another suffix, or a folder is there.
        ModelError: The model is not built, or the disk is full.
    """
    model = accept(model).model
    path = Path(os.path.realpath(_keras_file(path)))
    if path.is_dir():
        raise InputError(f"A folder is not replaced by a file. Received: path={str(path)!r}, a folder")
    try:
        with replaced_file(path) as beside:
            model.save(beside)
            with zipfile.ZipFile(beside, "a") as archive:  # Keras does not look at it
                archive.writestr(_MASKS, json.dumps(mask_infos(model)))
    except OSError as e:
        full = full_disk(e, path, f"`{path}` was not written and nothing of it was left behind")
        if full is None:
            raise
        raise ModelError(full) from e


def load_model(
    path: Any,
    *,
    custom_objects: Mapping[str, Any] | None = None,
    compile: bool = True,
    safe_mode: bool = True,
) -> Any:
    """Loads a `.keras` file with the Keras that wrote it; quantisers and masks come back.

    A file may name Keras's own classes, registered ones, those in `custom_objects`, and layers (losses,
    optimizers, ...) that a module imported already defines. No module is imported because a file names it.

    Args:
        path: A file written by `save_model`, `model.save` or `ModelCheckpoint`.
        custom_objects: Custom classes by name, as in `keras.models.load_model`.
        compile: Whether to restore the optimizer and its state.
        safe_mode: As in `keras.models.load_model`: False lets the file carry code (Lambda layers). Only for
            files you trust.

    Raises:
        InputError: No `.keras` file is there, it is damaged, or Keras cannot read it.
        ModelError: The file names a class that is not known here, or a layer of the file did not come back
            quantised.
    """
    path = _keras_file(path)
    custom = check_mapping(custom_objects, "custom_objects")
    check_boolean(compile, "compile")
    check_boolean(safe_mode, "safe_mode")
    with _named(f"No readable `.keras` file at {str(path)!r}"):
        version, config, masks = _contents(path)
    with _named(f"`{path}` cannot be loaded"):
        flavor = keras3() if version.startswith("3") else legacy()
        mask_class(flavor.keras)  # known to Keras only once it has been made
        wanted = config if compile else {**config, "compile_config": None}
        with deciding(flavor, register(flavor, config, custom)):
            check_names(flavor, wanted, custom, safe_mode=safe_mode)
            model = flavor.keras.models.load_model(
                path, custom_objects=custom, compile=compile, safe_mode=safe_mode
            )
        check_adopted(flavor, model)
        rebind(model)
        restore_masks(model, masks)
        owner = searched(flavor, model)
        if owner is not None:  # how far `Prune(monitor)` has come, which no layer's config makes a place for
            search_state(flavor, owner)
            model.load_weights(path)
    return model


def _contents(path: Path) -> tuple[str, dict[str, Any], list[dict[str, Any] | None]]:
    """The Keras version, the config and what the masks remember, of a whole `.keras` file."""
    with zipfile.ZipFile(path) as archive:
        damaged = archive.testzip()
        if damaged is not None:
            raise InputError(f"`{path}` is damaged: the checksum of its part {damaged!r} is wrong.")
        version = json.loads(archive.read("metadata.json"))["keras_version"]
        config = json.loads(archive.read("config.json"))
        masks = json.loads(archive.read(_MASKS)) if _MASKS in archive.namelist() else []
    if not isinstance(version, str) or not isinstance(config, dict):
        raise InputError(f"`{path}` is no `.keras` file: keras_version={version!r}")
    if not (isinstance(masks, list) and all(info is None or isinstance(info, dict) for info in masks)):
        raise InputError(f"`{path}` is damaged: its {_MASKS} is no list of objects.")
    return version, config, masks


@contextmanager
def _named(problem: str) -> Iterator[None]:
    """Whatever a file makes the JSON reader, zipfile, HDF5 or Keras raise becomes an error that names it."""
    try:
        yield
    except KerasTRTError:
        raise
    except Exception as e:
        raise InputError(f"{problem}: {type(e).__name__}: {e}") from e


def _quantised(layer: Any) -> str:
    scheme = layer.quantization
    inputs = [f"input {i}" if len(scheme.inputs) > 1 or i else "input" for i in scheme.inputs]
    return ", ".join([*inputs, *scheme.kernels, *(["products inside"] if scheme.inner else [])])


def _keras_file(path: Any) -> Path:
    path = check_path(path)
    if path.suffix != ".keras":
        raise InputError(f"Models are saved as `.keras` files. Received: path={str(path)!r}")
    if not path.parent.is_dir():
        raise ModelError(f"There is no folder {str(path.parent)!r}. Create it first.")
    return path
