"""Quantised twins: a layer's own class with quantisers inside.

The twin of `Conv2D`, registered as `keras_trt>QuantizedConv2D`, is a `Conv2D`: same name, weights, config
and connections, so float checkpoints load and `get_layer` works. While its `call` runs, reading
`self.kernel` gives the kernel on the int8 grid; at any other time it gives the float variable. A twin is
made by swapping the class of a live layer (`quantize_layer`) or from a config (loading).
"""

from __future__ import annotations

import functools
import inspect
import threading
import types
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

from keras_trt._keras.exporting import is_exporting
from keras_trt._keras.flavor import Flavor, flavor_of
from keras_trt._keras.kernels import kernel_of, rows_of
from keras_trt.quantize.fake_quant import fake_quantize_weights, quantize_weights
from keras_trt.quantize.quantizer import activation_quantizer
from keras_trt.quantize.schemes import Scheme
from keras_trt.quantize.separable import separable_call

_RUNNING = threading.local()  # strategies run replicas in threads: what runs is known per thread


@dataclass(frozen=True)
class LayerScheme:
    """What is quantised in one layer.

    Attributes:
        inputs: Positions of the inputs with an activation quantiser.
        kernels: Names of the weight variables put on the grid.
        scheme: The number formats.
    """

    inputs: tuple[int, ...] = ()
    kernels: tuple[str, ...] = ()
    scheme: Scheme = Scheme()  # noqa: RUF009 - frozen

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> LayerScheme:
        """Reads what `asdict` wrote, lists for tuples."""
        scheme = Scheme(**config.get("scheme", {}))
        return cls(tuple(config.get("inputs", ())), tuple(config.get("kernels", ())), scheme)


def is_twin(layer: Any) -> bool:
    """Whether the layer is quantised."""
    return getattr(type(layer), "_float_class", None) is not None


def float_class(layer: Any) -> type:
    """The layer's class without its quantisation."""
    return getattr(type(layer), "_float_class", None) or type(layer)


def quantize_layer(layer: Any, scheme: LayerScheme) -> None:
    """Turns a built layer into its quantised twin, in place."""
    layer.__class__ = twin_class(float_class(layer))
    _attach(flavor_of(layer), layer, scheme)


def dequantize_layer(layer: Any) -> None:
    """Takes the quantisers out again, in place; the float weights stay as they are."""
    flavor = flavor_of(layer)
    layer.__class__ = float_class(layer)
    with flavor.unlocked(layer):
        flavor.forget_sublayers(layer, [*layer.input_quantizers, *layer.inner_quantizers])
        del layer.input_quantizers
        del layer.inner_quantizers
        del layer.quantization


@functools.cache
def twin_class(base: Any) -> type:
    """The quantised subclass of a layer class, registered under the package `keras_trt`."""
    flavor = flavor_of(base)

    def __init__(self: Any, *args: Any, quantization: dict[str, Any] | None = None, **kwargs: Any) -> None:
        base.__init__(self, *args, **kwargs)
        _attach(flavor, self, LayerScheme.from_config(quantization or {}))

    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        args, kwargs = _quantized_inputs(flavor, self, args, kwargs)
        with running(self):
            if self.inner_quantizers:
                return separable_call(flavor, self, args[0] if args else kwargs["inputs"])
            return base.call(self, *args, **kwargs)

    def get_config(self: Any) -> dict[str, Any]:
        return {**base.get_config(self), "quantization": asdict(self.quantization)}

    call.__signature__ = inspect.signature(base.call)  # type: ignore[attr-defined]
    body = {
        "__doc__": f"{base.__name__} with int8 fake quantisation of its inputs and weights.",
        "__init__": __init__,
        "call": call,
        "get_config": get_config,
        "_float_class": base,
        **{row.name: _kernel_property(flavor, base, row.name) for row in rows_of(base)},
    }
    # Keras files address a layer's weights by the name of its class: keeping it lets float checkpoints load.
    body["__qualname__"] = f"Quantized{base.__name__}"
    cls = types.new_class(base.__name__, (base,), exec_body=lambda namespace: namespace.update(body))
    register = flavor.keras.saving.register_keras_serializable
    return register(package="keras_trt", name=f"Quantized{base.__name__}")(cls)


@contextmanager
def running(layer: Any) -> Iterator[None]:
    """While open (in this thread), the layer's kernels read as quantised."""
    stack = _RUNNING.__dict__.setdefault("layers", [])
    stack.append(layer)
    try:
        yield
    finally:
        stack.pop()


def _is_running(layer: Any) -> bool:
    return any(other is layer for other in getattr(_RUNNING, "layers", ()))


def _attach(flavor: Flavor, layer: Any, scheme: LayerScheme) -> None:
    """Gives a twin its scheme and its quantisers, built at once: they are scalars."""

    def quantizer(suffix: str) -> Any:
        made = activation_quantizer(flavor)(
            dtype_name=formats.activations,
            momentum=formats.momentum,
            learned=formats.learned_ranges,
            name=f"{layer.name}{suffix}_quantizer",
        )
        made.build(())
        return made

    formats, several = scheme.scheme, len(scheme.inputs) > 1
    inputs = [quantizer(f"_{position}" if several else "") for position in scheme.inputs]
    inner = [quantizer("_inner")] if "pointwise_kernel" in scheme.kernels and scheme.inputs else []
    with flavor.unlocked(layer):
        layer.quantization = scheme
        layer.input_quantizers = inputs
        layer.inner_quantizers = inner


def _quantized_inputs(flavor: Flavor, layer: Any, args: Any, kwargs: Any) -> tuple[Any, Any]:
    """The call's arguments with the first one, a tensor or a nest of them, quantised as the scheme says."""
    if not layer.quantization.inputs:
        return args, kwargs
    name = None if args else next(iter(inspect.signature(layer.call).parameters))
    first = args[0] if name is None else kwargs[name]
    tensors = flavor.tf.nest.flatten(first)
    for position, quantizer in zip(layer.quantization.inputs, layer.input_quantizers, strict=True):
        tensors[position] = quantizer(tensors[position])
    first = flavor.tf.nest.pack_sequence_as(first, tensors)
    return ((first, *args[1:]), kwargs) if name is None else (args, {**kwargs, name: first})


def _kernel_property(flavor: Flavor, base: type, name: str) -> property:
    inherited = getattr(base, name, None)

    def get(self: Any) -> Any:
        if isinstance(inherited, property):
            variable = inherited.__get__(self)
        elif name in self.__dict__:
            variable = self.__dict__[name]
        else:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        if not _is_running(self) or name not in self.quantization.kernels:
            return variable
        return _on_grid(flavor, self, variable, name)

    def set_(self: Any, value: Any) -> None:
        if isinstance(inherited, property):
            inherited.__set__(self, value)
        else:
            self.__dict__[name] = value

    return property(get, set_)


def _on_grid(flavor: Flavor, layer: Any, variable: Any, name: str) -> Any:
    """The kernel as the layer computes with it: on the grid, in the layer's compute dtype."""
    tf = flavor.tf
    weights = tf.convert_to_tensor(flavor.raw(variable))
    if weights.dtype in (tf.float16, tf.bfloat16):
        weights = tf.cast(weights, tf.float32)
    axes, formats = kernel_of(layer, name).channel_axes, layer.quantization.scheme
    if is_exporting() and formats.weights != "int8":  # no op that tf2onnx could fold: hand it the numbers
        with tf.init_scope():
            values = tf.cast(tf.convert_to_tensor(flavor.raw(variable)), tf.float32)
            weights = quantize_weights(values, axes, formats.weights, formats.block).numpy()
        return tf.constant(weights, layer.compute_dtype)
    rounded = fake_quantize_weights(weights, axes, formats.weights, formats.block)
    return tf.cast(rounded, layer.compute_dtype)
