"""Which weights are zero before an optimiser's step, where that step is given weights and no masks.

JAX's training step hands an optimiser its own variables and the model's trainable ones, nothing else. But a
mask is where the weights are zero (`values`): so it is read off the weights as the step begins, in the step
itself. Nothing is compiled anew when other weights become zero.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from contextvars import ContextVar
from typing import Any

from keras_trt._base.private import private
from keras_trt._keras.flavor import Flavor
from keras_trt._keras.types import Tensor, Variable
from keras_trt._machine.process import alone

_NOTED: ContextVar[dict[int, Any] | None] = ContextVar("keras_trt_noted_masks", default=None)


def noted_mask(variable: Variable) -> Tensor | None:
    """Where a variable was not zero as the running step began; None outside a step."""
    return (_NOTED.get() or {}).get(id(variable))


def note_masks(flavor: Flavor) -> None:
    """Teaches the optimizers of a Keras, once, to note masks."""
    base: Any = flavor.keras.optimizers.Optimizer
    owner = next(cls for cls in base.__mro__ if "apply" in vars(cls))
    with alone():
        original = vars(owner)["apply"]
        if not hasattr(original, "__wrapped__"):
            owner.apply = _noting(flavor, original)


def _noting(flavor: Flavor, original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def apply(self: Any, grads: Any, trainable_variables: Iterable[Any] | None = None) -> Any:
        variables = trainable_variables if trainable_variables is None else list(trainable_variables)
        updated = private(self, "_trainable_variables", "keras") if variables is None else variables
        masked = [v for v in updated if hasattr(getattr(v, "constraint", None), "mask_for")]
        token = _NOTED.set({id(v): flavor.value(v) != 0 for v in masked})
        try:
            return original(self, grads, variables)
        finally:
            _NOTED.reset(token)

    return apply
