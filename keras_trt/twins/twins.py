"""Quantised twins: a layer's own class with quantisers inside.

The twin of `Conv2D`, registered as `keras_trt>QuantizedConv2D`, is a `Conv2D`: same name, weights, config
and connections, so float checkpoints load and `get_layer` works. The twin of a user's class is registered
under all that is known of that class (`keras_trt>Quantized[package>Block]`): two may have one bare name.
While its `call` runs, reading `self.kernel` gives the kernel on the int8 grid; at any other time it gives
the float variable. A twin is made by swapping the class of a live layer (`quantize_layer`) or from a config
(loading).
"""

from __future__ import annotations

import functools
import inspect
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import asdict
from typing import Any, TypeGuard

from keras_trt._base.private import private
from keras_trt._keras.calls.exporting import is_exporting
from keras_trt._keras.calls.functions import inlined
from keras_trt._keras.calls.running import running
from keras_trt._keras.calls.time_steps import all_steps, can_be_at_once
from keras_trt._keras.flavor import Flavor
from keras_trt._keras.flavor_of import flavor_of
from keras_trt._keras.kernels import adds_bias, calls_by_keras, is_keras_own, rows_of
from keras_trt._keras.types import Layer, Tensor
from keras_trt.twins.attention import OPERANDS, attention, is_attention
from keras_trt.twins.einsum_dense import as_product
from keras_trt.twins.quantizer import activation_quantizer, is_observing
from keras_trt.twins.separable import separable_call
from keras_trt.twins.switch import is_on, state, switch_layer
from keras_trt.twins.types import LayerScheme, Quantizer, Twin
from keras_trt.twins.weight_property import bias_property, kernel_property

_INSIDE: ContextVar[bool] = ContextVar("keras_trt_inside_container", default=False)


def is_twin(layer: object) -> TypeGuard[Twin]:
    """Whether the layer is quantised, or remembers quantised layers below it."""
    return getattr(type(layer), "_float_class", None) is not None


def float_class(layer: object) -> type:
    """The layer's class without its quantisation."""
    return getattr(type(layer), "_float_class", None) or type(layer)


def is_quantized(layer: Layer) -> TypeGuard[Twin]:
    """Whether anything of the layer itself is quantised and switched on."""
    return is_twin(layer) and layer.quantization.own and not is_silent(layer)


def is_silent(layer: Layer) -> TypeGuard[Twin]:
    """Whether a twin's switch is off: it has quantisers, and computes in float."""
    return (
        is_twin(layer)
        and layer.quantization.own
        and not is_on(flavor_of(layer), layer.quantization_switch.on)
    )


def set_silent(layer: Twin, silent: bool) -> None:
    """Turns the switch of a twin; steps that were traced for training must be traced anew."""
    layer.quantization_switch.on.assign(0.0 if silent else 1.0)


def quantize_layer(layer: Layer, scheme: LayerScheme) -> None:
    """Turns a layer into its quantised twin, in place."""
    layer.__class__ = twin_class(float_class(layer))
    _attach(flavor_of(layer), layer, scheme)


def spared_because(layer: Layer) -> str:
    """Why a layer was left in float that could be quantised (see `leave_float`); empty for any other."""
    return layer.quantization.reason if is_twin(layer) else ""


def leave_float(layer: Twin, reason: str) -> None:
    """Takes the quantisers out of a twin, in place; it remembers why, and what is quantised below it."""
    children = layer.quantization.children
    dequantize_layer(layer)
    quantize_layer(layer, LayerScheme(children=children, reason=reason))


def dequantize_layer(layer: Twin) -> None:
    """Takes the quantisers out again, in place; the float weights stay as they are."""
    flavor = flavor_of(layer)
    layer.__class__ = float_class(layer)
    with flavor.unlocked(layer):
        switches = [layer.quantization_switch] if layer.quantization_switch is not None else []
        flavor.forget_sublayers(layer, [*layer.input_quantizers, *layer.inner_quantizers, *switches])
        del layer.quantization_switch
        del layer.input_quantizers
        del layer.inner_quantizers
        del layer.quantization


@functools.cache
def twin_class(base: Any) -> type:
    """The quantised subclass of a layer class, registered under the package `keras_trt`."""
    flavor = flavor_of(base)
    body = {
        "__doc__": f"{base.__name__} with fake quantisation of its inputs and weights.",
        # Keras files address a layer's weights by its class's name: keeping it lets float checkpoints load.
        "__qualname__": f"Quantized{base.__name__}",
        "_float_class": base,
        "call": _call(flavor, base),
        **_serialisation(flavor, base),
        **{name: _adopting(flavor, base, name) for name in flavor.makers(base)},
        **{row.name: kernel_property(flavor, base, row.name) for row in rows_of(base)},
    }
    if adds_bias(base):
        body["bias"] = bias_property(flavor, base)
    if is_attention(base):
        body["_compute_attention"] = _compute_attention(flavor, base)
    cls = types.new_class(base.__name__, (base,), exec_body=lambda namespace: namespace.update(body))
    register = flavor.keras.saving.register_keras_serializable
    return register(package="keras_trt", name=_identity(flavor, base))(cls)


def _identity(flavor: Flavor, base: Any) -> str:
    """The name that no twin of another class has: Keras's own classes need no more than their own."""
    name, public = base.__name__, getattr(flavor.keras.layers, base.__name__, base)
    if is_keras_own(base) and public is base:
        return f"Quantized{name}"
    registered = flavor.keras.saving.get_registered_name(base)
    known = f"{base.__module__}.{base.__qualname__}" if registered == name else registered
    return f"Quantized[{known}]"


def _call(flavor: Flavor, base: Any) -> Callable[..., Any]:
    def call(self: Twin, *args: object, **kwargs: object) -> Any:
        args, kwargs = _quantized_inputs(flavor, self, args, kwargs)
        below = [layer for _, layer in flavor.walk(self) if is_twin(layer)]  # a parent may read their kernels
        with running(self, *below), inlined():  # a trace would keep kernels that were float when it was made
            if _computes_inside(flavor, self) and not is_attention(base):
                return separable_call(flavor, self, args[0] if args else kwargs["inputs"])
            if is_exporting() and hasattr(self, "equation") and calls_by_keras(base):
                product = as_product(flavor, self, args[0] if args else kwargs["inputs"])
                if product is not None:
                    return product
            if can_be_at_once(flavor, self, kwargs.get("training", args[1] if len(args) > 1 else None)):
                return all_steps(flavor, self)(*args, **kwargs)
            return base.call(self, *args, **kwargs)

    call.__signature__ = inspect.signature(base.call)  # type: ignore[attr-defined]
    return call


def _compute_attention(flavor: Flavor, base: Any) -> Callable[..., Any]:
    def _compute_attention(
        self: Twin, query: Tensor, key: object, value: object, *args: object, **kwargs: object
    ) -> Any:
        if not _computes_inside(flavor, self):
            return base._compute_attention(self, query, key, value, *args, **kwargs)
        signature = inspect.signature(base._compute_attention)
        bound = signature.bind(self, query, key, value, *args, **kwargs)
        bound.apply_defaults()
        given = bound.arguments
        wanted = ("attention_mask", "training", "use_causal_mask", "return_attention_scores")
        options = {name: given[name] for name in wanted if name in given}
        return attention(flavor, self, query, key, value, **options)

    return _compute_attention


def _computes_inside(flavor: Flavor, layer: Twin) -> bool:
    """Whether the products inside the layer are computed here, with their quantisers, and not by its base."""
    if not layer.quantization.inner:
        return False
    if layer.quantization.scheme.learned_ranges:  # read also in float: an optimizer wants their gradients
        return True
    return is_observing() or state(flavor, layer.quantization_switch.on) is not False


def _serialisation(flavor: Flavor, base: Any) -> dict[str, Any]:
    """`get_config` and `from_config` that carry the layer's scheme beside what the base's carry."""

    def get_config(self: Twin) -> dict[str, Any]:
        name = flavor.keras.saving.get_registered_name(base)
        with _inside_container(bool(self.quantization.children)):
            config = base.get_config(self)
        if _INSIDE.get():  # the container remembers this layer's scheme; the float class could not read it
            return config
        # The hint is for those who read Keras's error about a class it does not know: it shows the config.
        hint = {"load_with": "keras_trt.load_model"}
        known = {**hint, **asdict(self.quantization), "base": [base.__module__, base.__qualname__, name]}
        return {**config, "quantization": known}

    def from_config(cls: Any, config: dict[str, Any], *args: object, **kwargs: object) -> Any:
        config = dict(config)
        known = config.pop("quantization", None)
        scheme = LayerScheme() if known is None else LayerScheme.from_config(known)
        layer = base.from_config.__func__(cls, config, *args, **kwargs)
        _attach(flavor, layer, scheme)
        _adopt(flavor, layer)
        return layer

    private(flavor.keras.layers.Layer.get_config, "_is_default", flavor.keras.__name__)
    get_config._is_default = getattr(base.get_config, "_is_default", False)  # type: ignore[attr-defined]
    return {"get_config": get_config, "from_config": classmethod(from_config)}


@contextmanager
def _inside_container(inside: bool) -> Iterator[None]:
    """While open, twins write the config of their float class."""
    token = _INSIDE.set(_INSIDE.get() or inside)
    try:
        yield
    finally:
        _INSIDE.reset(token)


def _adopting(flavor: Flavor, base: type, name: str) -> Callable[..., Any]:
    """The base's method, after which new sub-layers get the quantisation that is remembered for them."""
    original = getattr(base, name)

    def make(self: Layer, *args: object, **kwargs: object) -> Layer:
        result = original(self, *args, **kwargs)
        _adopt(flavor, self)
        return result

    return make


def _adopt(flavor: Flavor, layer: Layer) -> None:
    """Quantises those sub-layers that the layer remembers as quantised and that exist by now."""
    scheme = getattr(layer, "quantization", None)
    for position, child_scheme in scheme.children if scheme is not None else ():
        child = layer
        for i in position:
            below = numbered(flavor, child)
            if i >= len(below):
                break
            child = below[i]
        else:
            if not is_twin(child) or child.quantization != child_scheme:
                quantize_layer(child, child_scheme)
                _adopt(flavor, child)


def numbered(flavor: Flavor, layer: Layer) -> list[Any]:
    """The sub-layers that positions count: a Sequential gets its InputLayer only when it is built."""
    skipped = flavor.keras.layers.InputLayer
    return [c for c in flavor.children(layer) if not (flavor.is_quantizer(c) or isinstance(c, skipped))]


def _attach(flavor: Flavor, layer: Any, scheme: LayerScheme) -> None:
    """Gives a twin its scheme and its quantisers, built at once: they are scalars."""
    formats, several = scheme.scheme, len(scheme.inputs) > 1

    def quantizer(suffix: str) -> Quantizer:
        made = activation_quantizer(flavor)(
            dtype_name=formats.activations,
            momentum=formats.momentum,
            learned=formats.learned_ranges,
            name=f"{layer.name}{suffix}_quantizer",
        )
        made.build(())
        made.trainable = layer.trainable
        vars(made)["switch"] = switch.on
        return made

    switch: Any = None
    if scheme.own:
        switch = switch_layer(flavor)(scheme.shift, scheme.gain, name=f"{layer.name}_switch")
        switch.build(())
    inner: tuple[str, ...] = ()
    if scheme.inner:
        inner = OPERANDS if is_attention(type(layer)) else ("_inner",)
    inputs = [quantizer(f"_{position}" if several else "") for position in scheme.inputs]
    products = [quantizer(suffix) for suffix in inner]
    with flavor.unlocked(layer):
        layer.quantization = scheme
        layer.quantization_switch = switch
        layer.input_quantizers = inputs
        layer.inner_quantizers = products
    for kind, group in (("input", inputs), ("inner", products)):
        for i, one in enumerate(group):
            flavor.checkpoint_with(layer, f"{kind}_quantizer_{i}", one)


def _quantized_inputs(flavor: Flavor, layer: Any, args: Any, kwargs: Any) -> tuple[Any, Any]:
    """The call's arguments with the first one, a tensor or a nest of them, quantised as the scheme says."""
    if not layer.quantization.inputs:
        return args, kwargs
    name = None if args else next(iter(inspect.signature(layer.call).parameters))
    first = args[0] if name is None else kwargs[name]
    tensors = flavor.ops.nest.flatten(first)
    for position, quantizer in zip(layer.quantization.inputs, layer.input_quantizers, strict=True):
        tensors[position] = quantizer(tensors[position])
    first = flavor.ops.nest.pack_sequence_as(first, tensors)
    return ((first, *args[1:]), kwargs) if name is None else (args, {**kwargs, name: first})
