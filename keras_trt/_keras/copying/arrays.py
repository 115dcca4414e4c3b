"""How variables of Keras 3 are copied where they hold arrays of a backend other than TensorFlow."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

from keras_trt._keras.copying.instance import Instance
from keras_trt._keras.copying.walk import Copier, Kind


class Array(Kind[Any]):
    """An array: a training step may be given its memory, so that every model has its own."""

    own = True

    def shell(self, obj: Any, copy: Copier) -> Any:
        return obj.copy()


class Parameter(Kind[Any]):
    """A tensor of PyTorch."""

    own = True

    def shell(self, obj: Any, copy: Copier) -> Any:
        import torch

        new = obj.detach().clone()
        if isinstance(obj, torch.nn.Parameter):
            return torch.nn.Parameter(new, requires_grad=obj.requires_grad)
        return new.requires_grad_(obj.requires_grad)


def kinds() -> Iterator[tuple[type, Kind[Any]]]:
    """The classes of those backends that are imported, each before its bases."""
    import keras

    yield keras.Variable, Instance(own=True)
    if (jax := sys.modules.get("jax")) is not None:
        yield jax.Array, Array()
    if (torch := sys.modules.get("torch")) is not None:
        yield torch.Tensor, Parameter()
        yield torch.nn.Module, Instance(follows=True)
