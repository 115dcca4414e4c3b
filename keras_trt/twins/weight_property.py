"""Kernels and biases that read as quantised while their layer computes, else as float variables."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from keras_trt._keras.calls.exporting import is_exporting
from keras_trt._keras.calls.running import is_running
from keras_trt._keras.flavor import Flavor
from keras_trt._keras.kernels import kernel_of
from keras_trt._keras.types import Tensor, Variable
from keras_trt.errors import ModelError
from keras_trt.twins import switch
from keras_trt.twins.fake_quant import fake_quantize_weights, quantize_weights
from keras_trt.twins.quantizer import is_corrected, is_observing, observed_bias, observed_kernel
from keras_trt.twins.types import Twin


def kernel_property(flavor: Flavor, base: type, name: str) -> property:
    """The property that stands for the kernel `layer.<name>` on the twin of `base`."""
    on_grid = functools.partial(_on_grid, flavor, name)

    def is_rounded(layer: Twin) -> bool:
        return name in layer.quantization.kernels and not layer.quantization.self_rounding

    return _property(flavor, base, name, is_rounded, on_grid)


def bias_property(flavor: Flavor, base: type) -> property:
    """The property that stands for `layer.bias` on the twin of `base`; see `correction`."""
    shifted = functools.partial(_shifted, flavor)
    return _property(flavor, base, "bias", lambda layer: bool(layer.quantization.shift), shifted)


def _property(
    flavor: Flavor,
    base: object,
    name: str,
    is_quantized: Callable[[Twin], bool],
    quantized: Callable[[Twin, Variable], Tensor],
) -> property:
    """The property of a weight that is `quantized(layer, variable)` while its layer computes quantised."""
    inherited = getattr(base, name, None)

    def get(self: Twin) -> Any:
        if isinstance(inherited, property):
            variable = inherited.__get__(self)
        elif name in self.__dict__:
            variable = self.__dict__[name]
        else:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        if not is_running(self) or not is_quantized(self):
            return variable
        on = is_observing() or switch.state(flavor, self.quantization_switch.on)
        if on is False:
            return variable
        weights = switch.either(
            flavor,
            on,
            lambda: quantized(self, variable),
            lambda: flavor.ops.cast(flavor.value(variable), self.compute_dtype),
        )
        # A variable has them, a tensor not; JAX's takes no attributes.
        for method in ("assign", "assign_add", "assign_sub") if flavor.has_graphs else ():
            setattr(weights, method, functools.partial(_refuse, self.name, name))
        return weights

    def set_(self: Twin, value: object) -> None:
        if isinstance(inherited, property):
            inherited.__set__(self, value)
        else:
            self.__dict__[name] = value

    return property(get, set_)


def _refuse(layer: str, weight: str, *_: object, **__: object) -> None:
    """For a layer around this one that masks its kernel in every call: that would keep rounded numbers."""
    raise ModelError(
        "A quantised weight is rounded in every call, so no call may assign it. Received: a model whose "
        f"`call` assigns {weight!r} of layer {layer!r}. Do it in a constraint (`kernel_constraint=`), which "
        "holds after each training step, or name the layer that does it in `skip`, which leaves it float."
    )


def _on_grid(flavor: Flavor, name: str, layer: Twin, variable: Variable) -> Tensor:
    """The kernel as the layer computes with it: on the grid, in the layer's compute dtype."""
    ops = flavor.ops
    axes, formats = kernel_of(layer, name).channel_axes, layer.quantization.scheme
    if is_exporting() and (formats.weights != "int8" or flavor.keeps_floats(layer)):
        # Ops that tf2onnx knows not, or would leave in the loop over time: hand it the numbers.
        def rounded_now() -> Tensor:
            values = _enlarged(flavor, name, layer, ops.cast(flavor.value(variable), "float32"))
            return quantize_weights(ops, values, axes, formats.weights, formats.block)

        return ops.constant(ops.settled(rounded_now), layer.compute_dtype)
    weights = flavor.value(variable)
    if ops.dtype_name(weights) in ("float16", "bfloat16"):
        weights = ops.cast(weights, "float32")
    # While calibrating nothing is trained, and TensorFlow keeps the graph of every custom gradient for ever.
    rounding = quantize_weights if is_observing() else fake_quantize_weights
    rounded = rounding(ops, _enlarged(flavor, name, layer, weights), axes, formats.weights, formats.block)
    return ops.cast(observed_kernel(layer, weights, rounded), layer.compute_dtype)


def _enlarged(flavor: Flavor, name: str, layer: Twin, weights: Tensor) -> Tensor:
    """The kernel times the gains of its channels: it rounds to the same steps, of a scale times the gain."""
    own = layer.quantization
    if not own.gain or name != own.kernels[-1] or not is_corrected():
        return weights
    gain = layer.quantization_switch.gain
    if is_exporting():
        return weights * flavor.ops.settled(lambda: flavor.value(gain))
    return weights * flavor.value(gain)


def _shifted(flavor: Flavor, layer: Twin, bias: Variable) -> Tensor:
    """The bias as the layer computes with it: moved by what rounding moves the mean, the other way."""
    ops, shift = flavor.ops, layer.quantization_switch.shift
    if not is_corrected():
        return ops.cast(flavor.value(bias), layer.compute_dtype)

    def moved() -> Tensor:
        return ops.cast(flavor.value(bias), "float32") + flavor.value(shift)

    if is_exporting():  # one constant, as a bias is without a shift
        return ops.constant(ops.settled(moved), layer.compute_dtype)
    floats = ops.cast(flavor.value(bias), "float32")
    return ops.cast(observed_bias(layer, floats, moved()), layer.compute_dtype)
