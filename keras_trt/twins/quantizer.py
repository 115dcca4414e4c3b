"""The activation quantiser: a small Keras layer that owns one range, written once for both Kerases."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from types import ModuleType
from typing import Any

from keras_trt._keras.calls.exporting import is_exporting
from keras_trt._keras.calls.functions import inlined
from keras_trt._keras.flavor import Flavor
from keras_trt._keras.types import Tensor, Variable
from keras_trt.errors import ExportError
from keras_trt.twins import switch
from keras_trt.twins.fake_quant import TINY, TOP, fake_quantize, jittered, quantize_dequantize
from keras_trt.twins.types import Quantizer, Twin

Observer = Callable[[Quantizer, Tensor], Tensor | None]
WeightObserver = Callable[[Twin, Tensor, Tensor], Tensor]
_OBSERVER: ContextVar[Observer | None] = ContextVar("keras_trt_observer", default=None)
_KERNEL_OBSERVER: ContextVar[WeightObserver | None] = ContextVar("keras_trt_kernel_observer", default=None)
_BIAS_OBSERVER: ContextVar[WeightObserver | None] = ContextVar("keras_trt_bias_observer", default=None)
_CORRECTED: ContextVar[bool] = ContextVar("keras_trt_corrected", default=True)


@contextmanager
def observing(
    observer: Observer,
    kernels: WeightObserver | None = None,
    biases: WeightObserver | None = None,
    *,
    corrected: bool = True,
) -> Iterator[None]:
    """While open, quantisers show `observer(quantizer, tensor)` what they see, and round nothing.

    A tensor that the observer returns goes on in its place. Kernels are rounded and biases corrected; with
    `kernels`, what `kernels(layer, kernel, rounded)` returns is computed with, and so with `biases`. Without
    `corrected`, layers compute as if none had a correction.
    """
    given: dict[ContextVar[Any], Any] = {
        _OBSERVER: observer,
        _KERNEL_OBSERVER: kernels,
        _BIAS_OBSERVER: biases,
        _CORRECTED: corrected,
    }
    tokens = [(variable, variable.set(value)) for variable, value in given.items()]
    try:
        with inlined():
            yield
    finally:
        for variable, token in tokens:
            variable.reset(token)


def is_observing() -> bool:
    """Whether quantisers only look, as while calibrating."""
    return _OBSERVER.get() is not None


def is_corrected() -> bool:
    """Whether corrections count, as everywhere but where they are measured."""
    return _CORRECTED.get()


def observed_kernel(layer: Twin, kernel: Tensor, rounded: Tensor) -> Tensor:
    """The kernel that a twin computes with: the rounded one, unless somebody who observes wants another."""
    observer = _KERNEL_OBSERVER.get()
    return rounded if observer is None else observer(layer, kernel, rounded)


def observed_bias(layer: Twin, bias: Tensor, corrected: Tensor) -> Tensor:
    """The bias that a twin computes with: the corrected one, unless somebody who observes wants another."""
    observer = _BIAS_OBSERVER.get()
    return corrected if observer is None else observer(layer, bias, corrected)


_JITTER: ContextVar[tuple[float, int] | None] = ContextVar("keras_trt_jitter", default=None)


@contextmanager
def jittering(steps: float, seed: int) -> Iterator[None]:
    """While open, what quantisers round is moved by up to `steps` of a step before, at random."""
    token = _JITTER.set((steps, seed))
    try:
        yield
    finally:
        _JITTER.reset(token)


@functools.cache
def activation_quantizer(flavor: Flavor) -> type:
    """The `ActivationQuantizer` layer class of one Keras, registered for loading."""
    keras = flavor.keras

    @keras.saving.register_keras_serializable(package="keras_trt")
    class ActivationQuantizer(keras.layers.Layer):  # type: ignore[name-defined]
        """Fake-quantises a tensor with one range.

        The range `amax` starts from calibration or from the first training batch and then follows the
        batches' maxima as a moving average; with `trainable=False` it stands still once it is known. Until
        it has seen data, and while the switch of its twin is off, the layer lets floats through.

        Args:
            dtype_name: The number format, `"int8"` or `"fp8"`.
            momentum: Weight of the old range in the moving average.
            learned: Whether the range is trained by gradient once the first batch has set it.
        """

        is_keras_trt_quantizer = True
        switch: Variable | None = None  # the variable of its twin, which stores it: set past Keras's tracking

        def __init__(
            self, dtype_name: str = "int8", momentum: float = 0.99, learned: bool = False, **kwargs: object
        ) -> None:
            super().__init__(autocast=False, **kwargs)  # what comes in goes out, in its own dtype
            self.supports_masking = True
            self.dtype_name = dtype_name
            self.momentum = momentum
            self.learned = learned

        def build(self, input_shape: object = None) -> None:
            constraint = _constraint(flavor, self)
            self.amax = flavor.add_state(self, "amax", 0.0, trainable=self.learned, constraint=constraint)
            self.observe = flavor.add_state(self, "observe", 1.0)
            self.built = True

        def call(self, x: Tensor, training: object = None) -> Any:
            observer = _OBSERVER.get()
            if observer is not None:
                seen = observer(self, x)
                return x if seen is None else seen
            on = switch.state(flavor, self.switch)
            if on is False:
                return _untouched(flavor, self, x, training)
            if is_exporting():
                return _exported(flavor.ops, x, _value(flavor, self.amax), self.dtype_name)
            if training:
                return fake_quantize(flavor.ops, x, _followed(flavor, self, x), self.dtype_name, self.learned)
            return _predicted(flavor, self, x, on)

        def range(self) -> float:
            """The range as a number.

            Raises:
                ExportError: The quantiser has seen no data yet.
            """
            return _known(self.name, _value(flavor, self.amax))

        def set_range(self, amax: float) -> None:
            """Sets the range from outside (calibration, or by hand)."""
            self.amax.assign(max(float(amax), TINY))
            _hold_again(flavor, self)

        def hold(self) -> None:
            """Keeps the range as it is from now on."""
            self.observe.assign(_when_held(flavor, self))

        def load_own_variables(self, store: Any) -> None:
            """Keeps its state when a float checkpoint, which knows no quantisers, is loaded."""
            if len(store.keys()):
                super().load_own_variables(store)

        def get_config(self) -> dict[str, Any]:
            ours = {"dtype_name": self.dtype_name, "momentum": self.momentum, "learned": self.learned}
            return {**super().get_config(), **ours}

    return ActivationQuantizer


def rounded(flavor: Flavor, quantizer: Quantizer, x: Tensor) -> Tensor:
    """`x` on the grid of a quantiser's range as it is."""
    return fake_quantize(flavor.ops, x, flavor.value(quantizer.amax), quantizer.dtype_name)


def rounded_in_range(flavor: Flavor, quantizer: Quantizer, x: Tensor, when: object = True) -> Tensor:
    """`x` on the grid of a range that is known, if `when`; no gradient."""
    ops, amax = flavor.ops, flavor.value(quantizer.amax)
    on_grid = quantize_dequantize(ops, ops.cast(x, "float32"), amax, quantizer.dtype_name)
    return ops.where(ops.logical_and(when, amax > 0), ops.cast(on_grid, x.dtype), x)


def _value(flavor: Flavor, amax: Variable) -> float:
    return float(flavor.ops.settled(lambda: flavor.value(amax)))


def _exported(ops: ModuleType, x: Tensor, amax: float, dtype: str) -> Tensor:
    """The rounding as an op that leaves as Q/DQ. Without a range, `export` looks if the outputs need one."""
    # fp8 is written as the int8 op of its scale; the export turns it into fp8.
    known = ops.constant((amax or 1.0) * TOP["int8"] / TOP[dtype], "float32")
    return ops.cast(quantize_dequantize(ops, ops.cast(x, "float32"), known), x.dtype)


def _untouched(flavor: Flavor, layer: Quantizer, x: Tensor, training: object) -> Tensor:
    """A tensor as it is; the optimizer wants a gradient of all that it trains, and gets 0 of the range."""
    if not (training and layer.learned and layer.trainable):
        return x
    return flavor.ops.without_slope(x, flavor.value(layer.amax))


def _predicted(flavor: Flavor, layer: Quantizer, x: Tensor, on: Tensor | bool) -> Tensor:
    """The rounding of inference: with the range as it is, where there is one and the switch is on."""
    ops, amax = flavor.ops, flavor.value(layer.amax)
    x = jittered(ops, x, amax, layer.dtype_name, _JITTER.get())
    active = amax > 0 if on is True else ops.logical_and(on, amax > 0)
    rounded = functools.partial(fake_quantize, ops, x, amax, layer.dtype_name, layer.learned)
    return ops.cond(active, rounded, lambda: ops.identity(x))


def _followed(flavor: Flavor, layer: Quantizer, x: Tensor) -> Tensor:
    """Moves the range towards this batch's, and returns the new range."""
    old, new = _moved(flavor, layer, x)
    layer.amax.assign(new)
    # A learned range is read before the assignment: that reading carries the gradient.
    ops = flavor.ops
    return ops.maximum(ops.where(old > 0, old, new) if layer.learned else new, TINY)


def _moved(flavor: Flavor, layer: Quantizer, x: Tensor) -> tuple[Tensor, Tensor]:
    """A quantiser's range before and after one more batch."""
    old, observe = (flavor.value(v) for v in (layer.amax, layer.observe))
    if not layer.trainable:  # as the statistics of batch normalisation in a frozen layer
        observe = flavor.ops.zeros_like(observe)
    return old, moved_range(flavor.ops, x, old, observe, 1.0 if layer.learned else layer.momentum)


def moved_range(ops: ModuleType, x: Tensor, old: Tensor, observe: Tensor, momentum: float) -> Tensor:
    """The range after one more batch: its maximum at first, a moving average later, or held still."""
    largest = ops.maximum(ops.max(x), -ops.min(x))  # no copy of x for its magnitudes
    batch = ops.maximum(ops.cast(ops.stop_gradient(largest), "float32"), TINY)
    moved = ops.where(observe > 0, momentum * old + (1.0 - momentum) * batch, old)
    new = ops.where(old > TINY, moved, batch)  # a batch of zeros says nothing to average with
    return ops.where(ops.isfinite(batch), new, old)  # a loss-scaling overflow must not stick


def _constraint(flavor: Flavor, layer: Quantizer) -> Callable[[Tensor], Tensor] | None:
    """What an optimizer does to a learned range after each update; JAX's steps see no other variable."""
    return functools.partial(_held, flavor, layer) if layer.learned and flavor.has_graphs else None


def _when_held(flavor: Flavor, layer: Quantizer) -> float:
    """What `observe` is for a range that is held: 0, or minus what a learned one goes back to."""
    return 0.0 if _constraint(flavor, layer) is None else -_value(flavor, layer.amax)


def _hold_again(flavor: Flavor, layer: Quantizer) -> None:
    """Has a learned range that is held, and has been set to another, go back to that one."""
    if _value(flavor, layer.observe) < 0:
        layer.hold()


def _held(flavor: Flavor, layer: Quantizer, amax: Tensor) -> Tensor:
    """The constraint of a learned range: above 0 once it is known, and where it was while it is held."""
    ops, observe = flavor.ops, flavor.value(layer.observe)
    above = ops.where(amax == 0, amax, ops.maximum(amax, TINY))
    return ops.where(observe < 0, -observe, above)


def _known(name: str, amax: float) -> float:
    if amax <= 0:
        raise ExportError(
            f"Layer {name.removesuffix('_quantizer')!r} is quantised but has no range yet. "
            "Run `keras_trt.calibrate(model, data)`, or train it for at least one step."
        )
    return amax
