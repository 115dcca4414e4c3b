"""What a model without a layer graph is called on: said by data, or remembered by Keras from a call."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from keras_trt._base.nests import Nest, leaves_of, map_nest
from keras_trt._base.tensors import BATCH_AXIS
from keras_trt._keras.arguments import check_one_argument
from keras_trt._keras.flavor import Flavor
from keras_trt._keras.types import Model, Tensor
from keras_trt.data.batches import batches
from keras_trt.errors import ModelError
from keras_trt.trace.asked_shapes import is_shape


@dataclass(frozen=True)
class Called:
    """One tensor that a model is called on.

    Attributes:
        shape: Its axes, the batch open.
        dtype: Its type, or None where nobody knows: Keras 3 remembers shapes only.
    """

    shape: tuple[int | None, ...]
    dtype: str | None


def called_on(flavor: Flavor, model: Model, data: object = None) -> tuple[Nest, list[str]]:
    """The nest of `Called` tensors, and what to say about it.

    The data decides about the shapes, and the first call where there is none. Integers in the data decide
    nothing, as Keras takes them for floats too.

    Args:
        flavor: The model's Keras.
        model: A model without a layer graph.
        data: Data as for `calibrate`, or None.

    Returns:
        None and no notes for a model that was never called.
    """
    check_one_argument(model)
    recorded = _recorded(flavor, model)
    if data is None:
        return recorded, []
    first = next(iter(batches(flavor, model, data, batch_size=1, steps=1)))
    before = [] if recorded is None else list(leaves_of(recorded))
    given = list(leaves_of(first))
    if len(before) != len(given):
        before = [None] * len(given)
    notes = [_note(x, call) for x, call in zip(given, before, strict=True) if call is not None]
    known = iter(before)
    return map_nest(lambda x, _: _given(x, next(known)), first), [note for note in notes if note]


def _given(x: Tensor, recorded: Called | None) -> Called:
    if x.dtype.is_floating:
        return Called((None, *x.shape[1:]), "float32")
    return Called((None, *x.shape[1:]), None if recorded is None else recorded.dtype)


def _note(x: Tensor, call: Called) -> str:
    if tuple(x.shape[1:]) == call.shape[1:]:
        return ""
    return (
        f"An input has the shape {_text(x.shape[1:])} of `calibration_data`; the model was first called on "
        f"{_text(call.shape[1:])}. Another one can be given as `input_shapes`."
    )


def _text(shape: Sequence[object]) -> str:
    return f"({', '.join([BATCH_AXIS, *map(str, shape)])})"


def _recorded(flavor: Flavor, model: Model) -> Nest:
    """The nest of tensors of the first call, or None."""
    arguments = flavor.first_call(model)
    return map_nest(_called, _only_argument(model, arguments), is_leaf=is_shape) if arguments else None


def _called(spec: Any, _: object) -> Called:
    if hasattr(spec, "shape"):
        return Called(tuple(spec.shape), spec.dtype.name)
    return Called((None, *tuple(spec)[1:]), None)


def _only_argument(model: Model, arguments: list[object]) -> Any:
    if len(arguments) > 1:
        raise ModelError(
            f"The model {model.name!r} was called with {len(arguments)} arguments. Only models that take "
            "their inputs as one argument (a tensor, list or dict, as `fit` gives it) can be exported."
        )
    return arguments[0]
