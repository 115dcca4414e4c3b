"""Checks of a model before its export; each says which Keras layer is at fault and what to do."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

import numpy as np

from keras_trt._keras.flavor import Flavor
from keras_trt._keras.types import Model
from keras_trt.errors import ModelError
from keras_trt.quantize.inventory import QuantizedTensor
from keras_trt.trace.layers.policies import traced_in_float32
from keras_trt.trace.weights import view


def check_weights(flavor: Flavor, model: Model) -> None:
    """Makes sure that every weight is finite.

    Raises:
        ModelError: Names the first layer and weight with a NaN or an infinity.
    """
    owners: dict[int, tuple[str, Any]] = {}
    for path, layer in flavor.walk(model):  # inner layers come later and take over
        owners.update({id(weight): (path, weight) for weight in layer.weights})
    for path, weight in owners.values():
        values = view(flavor.raw(weight))
        if not np.issubdtype(values.dtype, np.floating) or not values.size:
            continue
        if not np.isfinite([values.min(), values.max()]).all():  # either is NaN when any value is
            bad = int((~np.isfinite(values)).sum())
            raise ModelError(
                f"Layer {path!r}: weight {weight.name!r} holds {bad} values that are NaN or infinite, "
                f"of {values.size}. Training has diverged: lower the learning rate, or load a checkpoint."
            )


def check_types(flavor: Flavor, model: Model) -> None:
    """Makes sure that no layer computes in float64, which TensorRT does not have, or in bfloat16.

    tf2onnx writes an opset whose convolutions and products take no bfloat16; it is chosen at export. Keras 3
    casts bfloat16 weights for layers that are traced in float32, tf_keras does not.

    Raises:
        ModelError: Names the layers that do.
    """
    wide = [path for path, layer in flavor.walk(model) if getattr(layer, "compute_dtype", "") == "float64"]
    if wide:
        raise ModelError(
            f"TensorRT does not compute in float64. Received: model {model.name!r}, in which {len(wide)} "
            f"layers do: {', '.join(wide[:10])}. Make the model with dtype 'float32', and give it this one's "
            "weights with `set_weights`."
        )
    for path, layer in flavor.walk(model):
        if traced_in_float32(flavor, layer) or flavor.is_model(layer):
            continue
        if any("bfloat16" in str(weight.dtype) for weight in layer.weights):
            raise ModelError(
                f"Models are exported from float32 or float16 weights. Received: layer {path!r} with "
                "bfloat16 weights. Make the model with the policy 'mixed_bfloat16' or 'float32', give it "
                "this one's weights with `set_weights`, and pass `precision='bf16'` for bfloat16 engines."
            )


def own_prediction(flavor: Flavor, model: Model) -> list[str]:
    """A note on a model whose `predict` is more than calling it, which an engine knows nothing of."""
    kind = type(model)
    for name in ("predict", "predict_step", "make_predict_function"):
        if getattr(kind, name) is not getattr(flavor.keras.Model, name):
            owner = next(cls.__name__ for cls in kind.__mro__ if name in vars(cls))
            return [
                f"`{owner}.{name}` is not Keras's own: the engine returns what a call of the model returns, "
                "without what this adds to it. Layers that do the same can be given as `postprocess`"
            ]
    return []


def check_kernel_types(flavor: Flavor, model: Model, inventory: Iterable[QuantizedTensor]) -> None:
    """Makes sure that quantised weights are traced as float32, which holds the grid exactly.

    Raises:
        ModelError: Names the first layer with other weights.
    """
    layers = dict(flavor.walk(model))
    for tensor in inventory:
        if not (tensor.kind == "weight" and tensor.stored):
            continue
        if traced_in_float32(flavor, layers[tensor.layer]):
            continue
        dtype = flavor.tf.as_dtype(getattr(layers[tensor.layer], tensor.name).dtype).name
        if dtype in ("float16", "bfloat16"):
            raise ModelError(
                f"Quantised layers are exported from float32 weights. Received: layer {tensor.layer!r} with "
                f"{dtype} weights. Make the model with the policy 'mixed_{dtype}' or 'float32', give it "
                "this one's weights with `set_weights`, and pass `precision='int8+fp16'` for float16 engines."
            )


def computed(
    inventory: Iterable[QuantizedTensor], computing: Collection[str]
) -> tuple[list[QuantizedTensor], list[str]]:
    """The quantised tensors of layers that compute when the graph runs, and a note that names the others.

    Args:
        inventory: What is quantised in the model.
        computing: See `scopes.computing_layers`.
    """
    inventory = list(inventory)
    idle = list(dict.fromkeys(t.layer for t in inventory if t.layer not in computing))
    if not idle:
        return inventory, []
    named = ", ".join(idle[:10]) + (f" and {len(idle) - 10} more" if len(idle) > 10 else "")
    note = (
        f"Of {len(idle)} quantised layers nothing is computed at inference, so the exported graph leaves "
        f"them out: {named}. The outputs do not need them, or they work on constants only."
    )
    return [t for t in inventory if t.layer in computing], [note]


def check_ranges(inventory: Iterable[QuantizedTensor]) -> None:
    """Makes sure that every activation quantiser has a range.

    Raises:
        ModelError: Names the layers whose quantisers have seen no data.
    """
    empty = sorted({t.layer for t in inventory if t.kind == "activation" and not (t.amax or 0) > 0})
    if empty:
        raise ModelError(
            f"{len(empty)} quantised layers have no activation range yet: {', '.join(empty[:10])}. Run "
            "`keras_trt.calibrate(model, data)`, train for at least one step, or pass `calibration_data`."
        )
