"""The switch of a twin: one variable that says whether its layer computes quantised or still in float.

Beside it lies what is added to the layer's bias and what multiplies its weights' scales while it is on, where
they are corrected (`correction`). All are weights, so they are stored and restored with the model: by files,
checkpoints, and callbacks that keep weights. A training step is traced for how the switch stands, so float
epochs hold no rounding; whoever turns it makes the model trace anew. All else follows the variable.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from keras_trt._keras.calls.exporting import is_exporting
from keras_trt._keras.flavor import Flavor
from keras_trt._keras.types import Tensor, Variable
from keras_trt.errors import InputError

_NEUTRAL = {"shift": 0.0, "gain": 1.0}


@functools.cache
def switch_layer(flavor: Flavor) -> type:
    """The layer class that owns the variable; the twin's own weights stay those of its float class."""
    keras = flavor.keras

    class QuantizationSwitch(keras.layers.Layer):  # type: ignore[name-defined]
        """Owns `on`: 1 where the layer computes quantised, 0 where it still computes in float.

        Args:
            shift: The shape of `shift`, which is the bias's; empty for a bias that is not corrected.
            gain: The shape of `gain`, which broadcasts to the kernel's; empty for one that is not corrected.
        """

        is_keras_trt_quantizer = True

        def __init__(self, shift: tuple[int, ...] = (), gain: tuple[int, ...] = (), **kwargs: object) -> None:
            super().__init__(**kwargs)
            self.shapes = {"shift": shift, "gain": gain}

        def build(self, input_shape: object = None) -> None:
            self.on = flavor.add_state(self, "on", 1.0)
            for name, shape in self.shapes.items():
                made = flavor.add_state(self, name, _NEUTRAL[name], shape=shape) if shape else None
                setattr(self, name, made)
            self.built = True

        def call(self, x: Tensor) -> Any:
            return x

        def save_own_variables(self, store: Any) -> None:
            """By names, since any of them may be missing; the first was alone once and had a number."""
            for name, variable in self._named().items():
                store[name] = flavor.array(variable)

        def load_own_variables(self, store: Any) -> None:
            """Stays on where a file knows no switch: one of a float model or of an earlier version.

            A correction that the file does not know was measured with other weights than the file's.
            """
            known, own = set(store.keys()), self._named()
            if beyond := known - own.keys():
                raise InputError(
                    f"The weights hold corrections ({', '.join(sorted(beyond))}); the model has no place for "
                    f"them. Received: {self.name!r}. "
                    "Quantise the model with `recover='auto'` before loading them."
                )
            for name, variable in own.items():
                if name in known:
                    variable.assign(store[name])
                elif name in _NEUTRAL:
                    variable.assign(np.full(variable.shape, _NEUTRAL[name], np.float32))

        def _named(self) -> dict[str, Variable]:
            variables = {"0": self.on, "shift": self.shift, "gain": self.gain}
            return {name: variable for name, variable in variables.items() if variable is not None}

    return QuantizationSwitch


def is_on(flavor: Flavor, variable: Variable | None) -> bool:
    """How a switch stands now, as a fact; one that is only being made is on."""
    if variable is None:
        return True
    value = flavor.number(variable)
    return value is None or value > 0


def state(flavor: Flavor, variable: Variable | None) -> bool | Tensor:
    """How a switch stands: True or False where that is settled now, else a boolean tensor."""
    if variable is None or is_exporting() or flavor.is_settled(variable):
        return is_on(flavor, variable)
    return flavor.value(variable) > 0


def either(
    flavor: Flavor, on: bool | Tensor, quantized: Callable[[], Tensor], plain: Callable[[], Tensor]
) -> Tensor:
    """One of two results; both are in the graph where `on` is a tensor."""
    if isinstance(on, bool):
        return quantized() if on else plain()
    return flavor.ops.cond(on, quantized, plain)
