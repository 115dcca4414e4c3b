"""Keras 3 on a backend other than TensorFlow: JAX, PyTorch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from types import ModuleType
from typing import Any

import numpy as np

from keras_trt._base.private import private
from keras_trt._keras.copying import arrays
from keras_trt._keras.keras3 import Keras3
from keras_trt._keras.types import Layer, Model, Variable
from keras_trt.errors import ModelError


class HeldMask:
    """A mask as an array; steps read it off the weights (`masks.noted`)."""

    def __init__(self, mask: np.ndarray) -> None:
        self.assign(mask)

    def assign(self, mask: np.ndarray) -> None:
        """Takes another mask."""
        self._mask = np.array(mask, bool)

    def numpy(self) -> np.ndarray:
        """The mask."""
        return self._mask

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self._mask, dtype)


class Keras3AnyBackend(Keras3):
    """What Keras 3 does another way where its tensors are not TensorFlow's."""

    has_graphs = False

    @property
    def ops(self) -> ModuleType:
        from keras_trt._keras.backends import keras_ops

        return keras_ops

    @property
    def tf(self) -> ModuleType:
        raise ModelError(
            "This part of keras_trt reads TensorFlow's graphs, so it takes models of Keras's TensorFlow "
            f"backend only. Received: a model on the {self.keras.backend.backend()!r} backend. Save it with "
            "`keras_trt.save_model(model, 'model.keras')`, then load it in a process started with "
            "KERAS_BACKEND=tensorflow."
        )

    def copy_kinds(self) -> Iterator[tuple[type, Any]]:
        yield from super().copy_kinds()
        yield from arrays.kinds()

    def strategy_scope(self, model: Model) -> AbstractContextManager[Any]:
        return nullcontext()

    def checkpoint_with(self, layer: Layer, name: str, child: object) -> None:
        """Keras's own files hold all of it."""

    def raw(self, variable: Variable) -> Any:
        return variable

    def value(self, variable: Variable) -> Any:
        from keras.src.backend.common.variables import AutocastScope

        with AutocastScope(None):
            return self.ops.convert_to_tensor(variable)

    def array(self, variable: Variable) -> Any:
        return self.ops.to_numpy(self.value(variable))

    def spec_classes(self) -> tuple[type, ...]:
        return ()

    def mask_variable(self, mask: np.ndarray) -> Any:
        return HeldMask(mask)

    def number(self, variable: Variable) -> float | None:
        value = self.value(variable)
        return float(self.array(variable)) if self.ops.is_eager(value) else None

    def is_settled(self, variable: Variable) -> bool:
        return bool(self.ops.is_eager(self.value(variable)))

    def bring_up_to_date(self, model: Model) -> None:
        sync = getattr(model, "jax_state_sync", None)
        if sync is not None:
            sync()

    def list_weights_anew(self, model: Any) -> None:
        # PyTorch's `parameters()` and `state_dict()` read what each layer listed when it was built.
        for layer in (model, *(layer for _, layer in self.walk(model))):
            for module in layer.modules() if hasattr(layer, "named_children") else ():
                if "_torch_params" in dict(module.named_children()):
                    private(module, "_track_variables", "keras")()
