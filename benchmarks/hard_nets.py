"""Two more small networks for 28 x 28 grey images, and what makes a trained network hard to quantise.

The hard versions compute in float what the network computed before: a few channels are made large where they
are made, and the weights that read them smaller by as much.
"""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np

from benchmarks.fashion_nets import CLASSES, SHAPE, inverted_bottleneck, resnet, squeeze_excite


def convnext(keras: ModuleType, width: int = 32, blocks: int = 3) -> Any:
    """Liu et al. 2022: wide depthwise convolutions, layer normalisation, GELU."""
    layers = keras.layers
    image = keras.Input(SHAPE, name="image")
    x = layers.Conv2D(width, 4, strides=4, name="stem")(image)
    for i in range(blocks):
        y = layers.DepthwiseConv2D(5, padding="same", name=f"depthwise_{i}")(x)
        y = layers.LayerNormalization(epsilon=1e-6, name=f"norm_{i}")(y)
        y = layers.Dense(4 * width, activation="gelu", name=f"wide_{i}")(y)
        x = layers.Add(name=f"add_{i}")([x, layers.Dense(width, name=f"narrow_{i}")(y)])
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(image, layers.Dense(CLASSES, activation="softmax", name="head")(x), name="convnext")


def vit(keras: ModuleType, width: int = 48, blocks: int = 3) -> Any:
    """Dosovitskiy et al. 2021, with convolutions of 4 x 4 as patches and a learned bias as positions."""
    layers = keras.layers
    image = keras.Input(SHAPE, name="image")
    x = layers.Conv2D(width, 4, strides=4, name="patches")(image)
    x = layers.Reshape((49, width), name="tokens")(x)
    x = layers.Add(name="positions")([x, layers.Dense(width, name="place")(x)])
    for i in range(blocks):
        y = layers.LayerNormalization(epsilon=1e-6, name=f"attention_norm_{i}")(x)
        x = layers.Add(name=f"attended_{i}")(
            [x, layers.MultiHeadAttention(3, 16, name=f"attention_{i}")(y, y)]
        )
        y = layers.LayerNormalization(epsilon=1e-6, name=f"mlp_norm_{i}")(x)
        y = layers.Dense(2 * width, activation="gelu", name=f"wide_{i}")(y)
        x = layers.Add(name=f"add_{i}")([x, layers.Dense(width, name=f"narrow_{i}")(y)])
    x = layers.GlobalAveragePooling1D(name="pool")(x)
    return keras.Model(image, layers.Dense(CLASSES, activation="softmax", name="head")(x), name="vit")


def outliers_in_norms(model: Any, factor: float = 30.0) -> None:
    """One channel of every layer normalisation larger, and what reads it smaller by as much."""
    for i, norm in enumerate(layer for layer in model.layers if type(layer).__name__ == "LayerNormalization"):
        channel = (7 * i + 3) % norm.gamma.shape[0]
        for weight in (norm.gamma, norm.beta):
            weight.assign(_scaled(weight, channel, factor, axis=0))
        for kernel in _kernels_behind(model, norm.name):
            kernel.assign(_scaled(kernel, channel, 1 / factor, axis=0))


def one_large_channel(model: Any, factor: float = 60.0) -> None:
    """One channel in the middle of each residual block larger, and what reads it smaller by as much."""
    norms = [layer for layer in model.layers if type(layer).__name__ == "BatchNormalization"]
    for norm in norms[1:]:
        relu = norm.output
        readers = _readers(model, relu)
        if [type(each).__name__ for each in readers] != ["ReLU"]:
            continue
        behind = _readers(model, readers[0].output)
        if [type(each).__name__ for each in behind] != ["Conv2D"]:
            continue
        for weight in (norm.gamma, norm.beta):
            weight.assign(_scaled(weight, 5, factor, axis=0))
        behind[0].kernel.assign(_scaled(behind[0].kernel, 5, 1 / factor, axis=2))


def _kernels_behind(model: Any, norm: str) -> list[Any]:
    """The kernels that read a normalisation of `vit` or `convnext`, by its name."""
    kind, number = norm.rsplit("_", 1)
    if kind != "attention_norm":
        return [model.get_layer(f"wide_{number}").kernel]
    attention = model.get_layer(f"attention_{number}")
    return [getattr(attention, f"_{name}_dense").kernel for name in ("query", "key", "value")]


def _readers(model: Any, tensor: Any) -> list[Any]:
    def inputs(layer: Any) -> list[Any]:
        return layer.input if isinstance(layer.input, list) else [layer.input]

    return [layer for layer in model.layers if any(each is tensor for each in inputs(layer))]


def _scaled(weight: Any, channel: int, factor: float, axis: int) -> np.ndarray:
    value = np.array(weight.numpy())
    np.moveaxis(value, axis, 0)[channel] *= factor
    return value


HARDER: dict[str, tuple[Callable[[ModuleType], Any], Callable[[Any], None] | None]] = {
    "resnet": (resnet, None),
    "resnet, one channel x 60": (resnet, one_large_channel),
    "inverted_bottleneck": (inverted_bottleneck, None),
    "squeeze_excite": (squeeze_excite, None),
    "convnext": (convnext, None),
    "convnext, outliers": (convnext, outliers_in_norms),
    "vit": (vit, None),
    "vit, outliers": (vit, outliers_in_norms),
}
