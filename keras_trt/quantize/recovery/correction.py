"""Gives back to each output channel the mean and the size that rounding takes from it.

Rounding a layer's weights and inputs moves the mean of its outputs and makes them larger or smaller in
proportion; what follows adds such errors up, where it averages the rest of the noise away (Nagel et al. 2019,
"Data-Free Quantization Through Weight Equalization and Bias Correction"; Finkelstein et al. 2019, "Fighting
Quantization Bias With Bias"). Both are fitted by least squares, channel by channel, on calibration data that
reaches the layer in float. While the layer computes quantised, the shift is added to its bias, and the gain
multiplies the scale of its weights: they are weights beside the layer's switch, and its own stay as trained.

From fewer than `FEWEST_ROWS` rows of data nothing is corrected, however many steps or windows a layer makes
of each: they are alike, and say too little of the next row's mean.

Layers without a bias have a gain only. Recurrent cells and layers with a `call` of the user's own are left
alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any

import numpy as np

from keras_trt._base.say import say
from keras_trt._keras.calls.gathering import gathering, give
from keras_trt._keras.calls.graphs import as_graphs
from keras_trt._keras.calls.record import replaced_calls
from keras_trt._keras.flavor import Flavor
from keras_trt._keras.kernels import adds_bias, channel_axis, kernel_of
from keras_trt._keras.types import Layer, Model, Tensor
from keras_trt._machine.process import attributes_replaced
from keras_trt.data.rows import count_rows
from keras_trt.quantize.inventory import twins
from keras_trt.quantize.recovery.channel_moments import ChannelFit
from keras_trt.twins.einsum_dense import keeps_order
from keras_trt.twins.quantizer import observing, rounded_in_range
from keras_trt.twins.twins import float_class

BIAS, GAIN = "bias_correction", "gain_correction"
NAMES = (BIAS, GAIN)
Kernel = tuple[int, tuple[int, ...]]
"""A layer's identity and the shape of one of its kernels."""
FEWEST_ROWS = 16
"""Corrections from 2 to 8 rows cost small trained networks up to 1 dB."""
TOO_FEW = (
    "No bias or gain is corrected: that takes {fewest} rows of calibration data, and {rows} are kept for it "
    "(the first batch, and more up to 64 MiB). Give more rows, or large ones in batches of {fewest}."
)


def places(
    layer: Layer, kernels: Sequence[str], wanted: Sequence[str]
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The shapes of the shift and of the gain that a layer gets; empty for none.

    Args:
        layer: A float layer.
        kernels: Its kernels that are quantised.
        wanted: Names out of `NAMES`.
    """
    if not kernels or not hasattr(layer, "bias") or not adds_bias(float_class(layer)):
        return (), ()
    bias = () if layer.bias is None else tuple(layer.bias.shape)
    return bias if BIAS in wanted else (), _gain_shape(layer, kernels[-1], bias) if GAIN in wanted else ()


def _gain_shape(layer: Any, kernel: str, bias: tuple[int, ...]) -> tuple[int, ...]:
    """The kernel's shape with 1 for all but its channels, where a bias has one number for each of them."""
    shape, axes = tuple(getattr(layer, kernel).shape), kernel_of(layer, kernel).channel_axes
    channels = {axis % len(shape) for axis in axes}
    gain = tuple(size if axis in channels else 1 for axis, size in enumerate(shape))
    is_einsum = hasattr(layer, "equation")
    if is_einsum and not (bias and keeps_order(layer.equation)):
        return ()
    return gain if not bias or math.prod(bias) == math.prod(gain) else ()


def corrected(flavor: Flavor, model: Model) -> dict[str, Any]:
    """The layers of a quantised model that have a place for a correction, by path."""
    layers = twins(flavor, model)
    return {path: layer for path, layer in layers if layer.quantization.shift or layer.quantization.gain}


def correct(
    flavor: Flavor,
    model: Model,
    batches: Sequence[Any],
    wanted: Sequence[str] = NAMES,
    *,
    floats: Mapping[Kernel, np.ndarray] = MappingProxyType({}),
    verbose: int | bool | str = 0,
) -> None:
    """Fits the corrections of a quantised model whose ranges are known.

    Args:
        flavor: The model's Keras.
        model: The model; layers that the data does not reach are corrected by nothing.
        batches: Inputs; of fewer than `FEWEST_ROWS` rows together, nothing is corrected.
        wanted: What to correct, where the model has a place for it.
        floats: What kernels were in float, where they have been written anew since.
        verbose: Whether a line says that there were too few rows.
    """
    layers = corrected(flavor, model)
    fits = {path: ChannelFit(_channels(layer), channel_axis(layer)) for path, layer in layers.items()}
    rows = sum(count_rows(flavor, batch) for batch in batches)
    if layers and wanted:
        if rows >= FEWEST_ROWS:
            _measure(flavor, model, layers, fits, batches, floats)
        else:
            say(TOO_FEW.format(rows=rows, fewest=FEWEST_ROWS), verbose)
    for path, layer in layers.items():
        own, switch = layer.quantization, layer.quantization_switch
        has_gain, has_shift = bool(own.gain) and GAIN in wanted, bool(own.shift) and BIAS in wanted
        bias = None if layer.bias is None else flavor.array(layer.bias)
        gain, shift = fits[path].value(has_gain, has_shift, bias)
        if own.gain:
            switch.gain.assign(gain.reshape(own.gain).astype(np.float32))
        if own.shift:
            switch.shift.assign(shift.astype(np.float32))


def _measure(
    flavor: Flavor,
    model: Model,
    layers: dict[str, object],
    fits: dict[str, ChannelFit],
    batches: Sequence[object],
    floats: Mapping[Kernel, np.ndarray],
) -> None:
    seen = 0
    with gathering(fits) as numbers:
        run = _measured_call(flavor, model, layers, numbers, floats)
        for batch in batches:
            rows = count_rows(flavor, batch)
            for fit in fits.values():
                fit.begin(rows, seen)
            run(batch)
            seen += rows


def _channels(layer: Any) -> tuple[int, ...]:
    """The shape of one number for each output channel, as a bias has it."""
    own = layer.quantization
    if layer.bias is not None:
        return tuple(layer.bias.shape)
    return (math.prod(own.gain),)


def _measured_call(
    flavor: Flavor,
    model: Model,
    layers: dict[str, Any],
    numbers: dict[str, int],
    before: Mapping[Kernel, np.ndarray],
) -> Any:
    """The model's call in float as a graph in which these layers compute once more, quantised."""
    ops, rounds = flavor.ops, [False]

    def activation(quantizer: Any, x: Tensor) -> Tensor:
        return rounded_in_range(flavor, quantizer, x) if rounds[0] else x

    def kernel(layer: Layer, floats: Tensor, rounded: Tensor) -> Tensor:
        exact = before.get((id(layer), tuple(floats.shape)))
        return rounded if rounds[0] else floats if exact is None else ops.constant(exact, "float32")

    def measuring(path: str, call: Any) -> Any:
        def measured(*args: object, **options: object) -> Any:
            if path not in layers:
                return call(*args, **options)
            rounds[0] = True
            with before_activation(layers[path]) as rounded:
                rounded.append(call(*args, **options))
            rounds[0] = False
            with before_activation(layers[path]) as exact:
                exact.append(call(*args, **options))
            give(flavor, numbers[path], ops.stack([ops.cast(y[0], "float32") for y in (exact, rounded)]))
            return exact[-1]

        return measured

    def run(batch: object) -> None:
        with observing(activation, kernel, corrected=False), replaced_calls(flavor, model, measuring):
            model(batch, training=False)

    return as_graphs(flavor, run)


@contextmanager
def before_activation(layer: Layer) -> Iterator[list[Any]]:
    """While open, what a layer gives to its activation, if it has one, goes into a list, too."""
    seen: list[Any] = []
    with attributes_replaced() as replace:
        own: Any = vars(layer).get("activation")

        def activation(x: Tensor) -> Tensor:
            seen.append(x)
            return own(x)

        if own is not None:
            replace(layer, "activation", activation)
        yield seen
