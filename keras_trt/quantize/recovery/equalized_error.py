"""What rounding would change behind a group of tensors, were their channels divided by some factors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_trt._keras.calls.gathering import gathering
from keras_trt._keras.calls.graphs import as_graphs
from keras_trt._keras.calls.record import replaced_calls
from keras_trt._keras.flavor import Flavor
from keras_trt._keras.kernels import kernel_of
from keras_trt._keras.types import Model, Tensor
from keras_trt.data.rows import first_rows
from keras_trt.quantize.costs.layer_error import ErrorSums, Twice
from keras_trt.quantize.inventory import quantizers_of, twins
from keras_trt.quantize.recovery.channel_groups import ChannelGroup
from keras_trt.quantize.recovery.channel_scales import Sides
from keras_trt.twins.fake_quant import TINY, quantize_dequantize, quantize_weights
from keras_trt.twins.quantizer import observing
from keras_trt.twins.types import Quantizer, Twin

_VALUES = 2**18  # of the inputs


def equalized_errors(
    flavor: Flavor,
    model: Model,
    groups: Sequence[ChannelGroup],
    candidates: Sequence[Sequence[np.ndarray]],
    maxima: dict[int, np.ndarray],
    batches: Sequence[object],
) -> np.ndarray:
    """What rounding changes in the layers of each group, as the ratio of noise to signal.

    Args:
        flavor: The model's Keras.
        model: A quantised model; it is not changed.
        groups: Of its tensors.
        candidates: Factors for all groups, each of shape (channels,); once more for each that is tried.
        maxima: The largest magnitudes of the channels, by quantiser; they become the ranges.
        batches: Inputs; the first rows are used.

    Returns:
        Of shape (candidates, groups).
    """
    tf = flavor.tf
    quantizers = list(dict.fromkeys(key for group in groups for key in group.quantizers))
    places = _groups_of_layers(flavor, model, groups)
    sums = {path: ErrorSums() for path in places}
    rows = list(first_rows(flavor, model, batches, _VALUES))
    errors = np.zeros((len(candidates), len(groups)))
    with gathering(sums) as numbers:
        run = _measured_call(flavor, model, groups, quantizers, numbers)
        for choice, factors in enumerate(candidates):
            ranges = tf.constant(_ranges(groups, factors, quantizers, maxima), tf.float32)
            given = [tf.constant(each, tf.float32) for each in factors]
            for batch in rows:
                run(batch, given, ranges)
            for path, own in places.items():
                errors[choice, own] += sums[path].take()
    return errors


def _groups_of_layers(flavor: Flavor, model: Model, groups: Sequence[ChannelGroup]) -> dict[str, list[int]]:
    """The groups whose tensors a layer rounds, by its path."""
    places = {}
    for path, layer in twins(flavor, model):
        own = {id(q) for q in quantizers_of(layer)}
        members = [i for i, group in enumerate(groups) if own & group.quantizers]
        if members:
            places[path] = members
    return places


def _ranges(
    groups: Sequence[ChannelGroup],
    factors: Sequence[np.ndarray],
    quantizers: Sequence[int],
    maxima: dict[int, np.ndarray],
) -> list[float]:
    ranges = dict.fromkeys(quantizers, 0.0)
    for group, factor in zip(groups, factors, strict=True):
        for key in group.quantizers:
            ranges[key] = float(np.max(maxima[key].reshape(-1, group.channels) / factor))
    return [max(ranges[key], TINY) for key in quantizers]


def _measured_call(
    flavor: Flavor,
    model: Model,
    groups: Sequence[ChannelGroup],
    quantizers: Sequence[int],
    numbers: dict[str, int],
) -> Any:
    """The model's call in float as a graph in which each layer computes once more, equalised and rounded.

    The graph takes a batch, the factors of each group, and the range of each quantiser. Nothing is divided
    but for the rounding: `s * round(x / s)` and `round(kernel * s) / s` are what the layer will compute with.
    """
    tf, position = flavor.tf, {key: i for i, key in enumerate(quantizers)}
    group_of = {key: g for g, group in enumerate(groups) for key in group.quantizers}
    paths = {id(layer): path for path, layer in twins(flavor, model)}
    reader = {path: (g, sides) for g, group in enumerate(groups) for path, sides in group.readers.items()}
    twice = Twice(flavor, numbers)

    def run(batch: object, factors: list[Tensor], ranges: Tensor) -> None:
        def activation(quantizer: Quantizer, x: Tensor) -> Tensor:
            i = position.get(id(quantizer))
            if i is None or twice.rounding is None:
                return x
            own = factors[group_of[id(quantizer)]]
            own = tf.tile(own, [x.shape[-1] // own.shape[0]])
            scaled = tf.cast(x, tf.float32) / own
            on_grid = quantize_dequantize(flavor.ops, scaled, ranges[i], quantizer.dtype_name)
            return tf.cast(on_grid * own, x.dtype)

        def kernel(layer: Twin, floats: Tensor, rounded: Tensor) -> Tensor:
            if twice.rounding is None or paths.get(id(layer)) not in reader:
                return floats
            return _rounded_kernel(flavor, layer, floats, factors, *reader[paths[id(layer)]])

        with observing(activation, kernel, corrected=False), replaced_calls(flavor, model, twice):
            model(batch, training=False)

    return as_graphs(flavor, run)


def _rounded_kernel(
    flavor: Flavor, layer: Twin, floats: Tensor, factors: list[Tensor], group: int, sides: Sides
) -> Tensor:
    """A reader's kernel on the grid that it has behind the factors, in its own size."""
    name, formats = layer.quantization.kernels[0], layer.quantization.scheme
    shape = [1] * len(floats.shape)
    (axis,) = sides.reads[0].axes
    shape[axis] = int(floats.shape[axis])
    ops = flavor.ops
    scale = ops.reshape(ops.tile(factors[group], [shape[axis] // factors[group].shape[0]]), shape)
    axes, scaled = kernel_of(layer, name).channel_axes, ops.cast(floats, "float32") * scale
    return quantize_weights(ops, scaled, axes, formats.weights, formats.block) / scale
