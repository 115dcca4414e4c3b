"""Layers of the user's that multiply by weights in float: no rule knows them, or it is not enough."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeGuard

from keras_trt._keras.flavor import Flavor
from keras_trt._keras.kernels import is_keras_own, kernels_of
from keras_trt._keras.types import Layer, Model
from keras_trt.twins.twins import float_class, is_twin
from keras_trt.twins.types import Twin

_SHARE = 0.01  # of a model's multiply-accumulates; less is not worth a sentence


def unknown_kernels(layer: Layer) -> list[str]:
    """The attributes that hold a layer's own matrices, where neither Keras nor a rule knows them."""
    if is_keras_own(float_class(layer)) or kernels_of(layer):
        return []
    variables = ((name, value) for name, value in vars(layer).items() if hasattr(value, "assign"))
    return [
        name for name, value in variables if len(getattr(value, "shape", ())) > 1
    ]  # optimizers assign, too


def way_to_register(layer: Layer, kernels: Iterable[str]) -> str:
    """The line that tells the library."""
    return f"keras_trt.register_layer({float_class(layer).__name__}, kernels={list(kernels)})"


def unknown_work(flavor: Flavor, model: Model, float_work: Mapping[str, float]) -> list[str]:
    """Sentences on the layers that compute in float because no rule knows their weights.

    Args:
        flavor: The model's Keras.
        model: The model that is exported.
        float_work: The share of all multiply-accumulates that each layer computes in float, by path; not of
            products of two activations, which no rule about weights changes.
    """
    unknown = []
    for path, layer in flavor.walk(model):
        share = float_work.get(path, 0.0)
        kernels = unknown_kernels(layer) if share >= _SHARE else []
        if kernels:
            unknown.append(
                f"Layer {path!r} computes {share:.1%} of the multiply-accumulates in float: no rule knows "
                f"its weights. Before `quantize_model`: {way_to_register(layer, kernels)}"
            )
    return unknown


def computed_inputs(flavor: Flavor, model: Model, float_work: Mapping[str, float]) -> list[str]:
    """Sentences on the registered layers that multiply in float by weights that were quantised.

    A quantised layer rounds what it is given; what its `call` makes of that before it multiplies is float,
    and so is the product then.

    Args:
        flavor: The model's Keras.
        model: The model that is exported.
        float_work: As for `unknown_work`.
    """
    sentences = []
    for path, layer in flavor.walk(model):
        share = float_work.get(path, 0.0)
        if share >= _SHARE and _rounds_its_products(layer):
            kernels = ", ".join(map(repr, layer.quantization.kernels))
            sentences.append(
                f"Layer {path!r} computes {share:.1%} of the multiply-accumulates in float though its "
                f"weights ({kernels}) are quantised: its `call` computes what it multiplies by them, and "
                "only the layer's inputs are rounded. Multiply by a Dense, EinsumDense or convolution that "
                f"the layer holds, which rounds its own input; or leave it float: skip=[{path!r}]"
            )
    return sentences


def _rounds_its_products(layer: Layer) -> TypeGuard[Twin]:
    """Whether both operands of a layer's products should be rounded, by a rule that is the user's."""
    if not is_twin(layer) or is_keras_own(float_class(layer)):
        return False
    quantization = layer.quantization
    return bool(quantization.kernels and quantization.scheme and quantization.scheme.activations)
