"""Gives back to each output channel the mean that rounding takes from it.

Rounding a layer's weights and inputs moves the mean of its outputs; what follows adds such shifts up, where
it averages the rest of the noise away (Nagel et al. 2019, "Data-Free Quantization Through Weight Equalization
and Bias Correction"; Finkelstein et al. 2019, "Fighting Quantization Bias With Bias"). The shift is measured
on calibration data that reaches the layer in float, and its negative is added to the bias while the layer
computes quantised: a weight beside the layer's switch. The bias itself stays as it was trained.

Layers without a bias, recurrent cells and layers with a `call` of the user's own are left alone.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from keras_trt._keras.calls.gathering import gathering, give
from keras_trt._keras.calls.record import replaced_calls
from keras_trt._keras.flavor import Flavor
from keras_trt._keras.kernels import adds_bias
from keras_trt._process import attributes_replaced
from keras_trt.quantize.inventory import twins
from keras_trt.twins.quantizer import observing, rounded_in_range
from keras_trt.twins.twins import float_class

NAME = "bias_correction"


def shift_shape(layer: Any, kernels: Sequence[str]) -> tuple[int, ...]:
    """The shape of the bias that can be corrected in a layer with these kernels quantised; empty for none."""
    bias = getattr(layer, "bias", None)
    if not kernels or bias is None or not adds_bias(float_class(layer)):
        return ()
    return tuple(bias.shape)


def corrected(flavor: Flavor, model: Any) -> dict[str, Any]:
    """The layers of a quantised model whose biases are corrected, by path."""
    return {path: layer for path, layer in twins(flavor, model) if layer.quantization.shift}


def correct_biases(flavor: Flavor, model: Any, batches: Iterable[Any]) -> None:
    """Measures the shifts of a quantised model whose ranges are known, and sets their corrections.

    Args:
        flavor: The model's Keras.
        model: The model; layers that the data does not reach are corrected by nothing.
        batches: Inputs; without any, nothing is corrected.
    """
    layers = corrected(flavor, model)
    means = {path: ChannelMean(layer.quantization.shift, _axis(layer)) for path, layer in layers.items()}
    if layers:
        with gathering(means) as numbers:
            run = _measured_call(flavor, model, layers, numbers)
            for batch in batches:
                run(batch)
    for path, layer in layers.items():
        layer.quantization_switch.shift.assign(means[path].value().astype(np.float32))


@dataclass
class ChannelMean:
    """The mean of tensors over all axes that a bias is the same along; may be added to from several threads.

    Attributes:
        shape: The bias's shape, which broadcasts to the tensors' once their channels are last.
        axis: The axis of the channels.
    """

    shape: tuple[int, ...]
    axis: int = -1
    total: Any = 0.0
    count: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)

    def add(self, values: np.ndarray) -> None:
        """Counts a tensor in."""
        values = np.moveaxis(values, self.axis, -1)
        before = values.ndim - len(self.shape)
        same = [before + i for i, size in enumerate(self.shape) if size == 1]
        total = values.sum(axis=(*range(before), *same), dtype=np.float64).reshape(self.shape)
        with self._lock:
            self.total = self.total + total
            self.count += values.size // total.size

    def value(self) -> np.ndarray:
        """The mean; 0 where there is none that is finite."""
        mean = np.broadcast_to(self.total / max(self.count, 1), self.shape)
        return np.where(np.isfinite(mean), mean, 0.0)


def _axis(layer: Any) -> int:
    return -1 - layer.rank if getattr(layer, "data_format", None) == "channels_first" else -1


def _measured_call(flavor: Flavor, model: Any, layers: dict[str, Any], numbers: dict[str, int]) -> Any:
    """The model's call in float as a graph in which these layers compute once more, quantised."""
    tf, rounds = flavor.tf, [False]

    def activation(quantizer: Any, x: Any) -> Any:
        return rounded_in_range(flavor, quantizer, x) if rounds[0] else x

    def kernel(layer: Any, floats: Any, rounded: Any) -> Any:
        return rounded if rounds[0] else floats

    def bias(layer: Any, floats: Any, corrected: Any) -> Any:
        return floats

    def measuring(path: str, call: Any) -> Any:
        def measured(*args: Any, **options: Any) -> Any:
            if path not in layers:
                return call(*args, **options)
            rounds[0] = True
            with _before_activation(layers[path]) as rounded:
                rounded.append(call(*args, **options))
            rounds[0] = False
            with _before_activation(layers[path]) as exact:
                exact.append(call(*args, **options))
            give(numbers[path], tf.cast(exact[0], tf.float32) - tf.cast(rounded[0], tf.float32))
            return exact[-1]

        return measured

    @tf.function(reduce_retracing=True)
    def run(batch: Any) -> None:
        with observing(activation, kernel, bias), replaced_calls(flavor, model, measuring):
            model(batch, training=False)

    return run


@contextmanager
def _before_activation(layer: Any) -> Iterator[list[Any]]:
    """While open, what a layer gives to its activation, if it has one, goes into a list, too."""
    own, seen = vars(layer).get("activation"), list[Any]()
    if own is None:
        yield seen
        return

    def activation(x: Any) -> Any:
        seen.append(x)
        return own(x)

    with attributes_replaced() as replace:
        replace(layer, "activation", activation)
        yield seen
