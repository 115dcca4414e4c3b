"""What pruning did to a model, layer by layer, and whether TensorRT gains from it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from keras_trt._keras.flavor import Flavor
from keras_trt._keras.flavor_of import check_model
from keras_trt._keras.kernels import Kernel
from keras_trt._keras.masks import masking
from keras_trt._keras.types import Model
from keras_trt.prune.masks import is_n_of_m
from keras_trt.prune.pattern import Unstructured, parse_pattern
from keras_trt.prune.weights import Weight, examine
from keras_trt.reports import Report
from keras_trt.tfmot.accept import accept


def sparsity_report(model: Model) -> Report:
    """The sparsity of every weight variable of a model.

    Args:
        model: A built Keras 3 or tf_keras model.

    Returns:
        One row per variable: `weight` (`path.kernel`), `size`, `pattern` and `target` (what was asked for;
        None when it was not pruned), `sparsity` (fraction of zeros), `tensorrt` (whether TensorRT can use
        the zeros, or why not; of a variable without zeros in a pruned model, why it was not pruned).

    Raises:
        ModelError: The model is not built.

    Example:
        >>> print(keras_trt.prune.sparsity_report(pruned))
    """
    flavor, model, _ = accept(model)
    rows = tuple({"weight": weight.name, **row} for weight, row in _facts(flavor, model))
    size = sum(row["size"] for row in rows)
    return Report(f"Sparsity of {model.name}: {_zeros(rows) / max(size, 1):.2%} of {size} weights", rows)


def facts_by_layer(flavor: Flavor, model: Model) -> dict[str, dict[str, Any]]:
    """The columns of `sparsity_report` for each layer with weights, its variables taken together.

    Args:
        flavor: The flavour of `model`.
        model: A built model without wrappers of TF-MOT.

    Returns:
        {path: `pattern`, `target`, `sparsity` and `tensorrt`}. Where the variables of a layer (a recurrent
        cell's, a separable convolution's) differ, each is named.
    """
    rows: dict[str, dict[str, dict[str, Any]]] = {}
    for weight, row in _facts(flavor, model):
        rows.setdefault(weight.path, {})[weight.kernel.name] = row
    return {
        path: {
            "pattern": _together(kernels, "pattern"),
            "target": _together(kernels, "target"),
            "sparsity": _zeros(kernels.values()) / sum(row["size"] for row in kernels.values()),
            "tensorrt": _together(kernels, "tensorrt"),
        }
        for path, kernels in rows.items()
    }


def total_sparsity(model: Model) -> float:
    """Fraction of zeros over the pruned weights of a model; over all weights when none is pruned."""
    flavor = check_model(model)
    variables = [variable for *_, variable in masking.weights_in(flavor, model)]
    pruned = [v for v in variables if masking.constraint_of(flavor, v) is not None] or variables
    zeros = sum(int((masking.value_of(v) == 0).sum()) for v in pruned)
    return zeros / max(sum(int(np.prod(v.shape)) for v in pruned), 1)


def tensorrt_use(weights: np.ndarray, kernel: Kernel) -> str:
    """Whether TensorRT's sparse kernels can use the zeros of a variable; empty without zeros.

    They need 2 zeros in every 4 consecutive input channels, on tensor cores of Ampere or newer, with
    `SPARSE_WEIGHTS` set by the engine builder (which `export` does).
    """
    if not (weights == 0).any():
        return ""
    if not kernel.input_axes:
        return "no: each output sees one input channel, there is nothing to skip"
    axis = kernel.input_axes[-1]
    if weights.shape[axis] % 4:
        return f"no: {weights.shape[axis]} input channels are not a multiple of 4"
    if is_n_of_m(weights, 2, 4, axis):
        return "yes: 2:4 along the input channels"
    return 'no: the zeros do not have the 2:4 pattern; prune with pattern="2:4"'


def _facts(flavor: Flavor, model: Model) -> Iterator[tuple[Weight, dict[str, Any]]]:
    """Every weight variable of a model with its columns of the report."""
    masks = [masking.constraint_of(flavor, variable) for *_, variable in masking.weights_in(flavor, model)]
    names = {mask.info["pattern"] for mask in masks if mask is not None and mask.info.get("pattern")}
    # With one pattern in the model, it says why a variable was left out.
    pattern = parse_pattern(names.pop()) if len(names) == 1 else Unstructured()
    for (weight, reason), mask in zip(examine(flavor, model, pattern, None, ()), masks, strict=True):
        info = {} if mask is None else mask.info
        value = masking.value_of(weight.variable)
        use = tensorrt_use(value, weight.kernel)
        if not use and mask is None and any(other is not None for other in masks):
            use = f"not pruned: {reason or 'left out by `only` or `skip`'}"
        yield (
            weight,
            {
                "size": value.size,
                "pattern": info.get("pattern"),
                "target": _target(info),
                "sparsity": float((value == 0).mean()),
                "tensorrt": use,
            },
        )


def _zeros(rows: Iterable[dict[str, Any]]) -> float:
    """How many zeros there are in the variables of these rows."""
    return sum(row["size"] * row["sparsity"] for row in rows)


def _target(info: dict[str, Any]) -> float | str | None:
    """What was asked of one variable, from what its mask remembers."""
    if info.get("threshold") is not None:
        return f"|w| < {info['threshold']:g} std"
    if info.get("schedule") and info.get("strategy") == "uniform":
        return float(info["schedule"]["final"])  # the share reached so far is on the way there
    return info.get("sparsity")


def _together(rows: dict[str, dict[str, object]], column: str) -> Any:
    """One value where all variables agree, else each one's with its name."""
    values = [row[column] for row in rows.values()]
    if all(value == values[0] for value in values):
        return values[0] if values else None
    return "; ".join(f"{name}: {row[column]}" for name, row in rows.items() if row[column] not in (None, ""))
