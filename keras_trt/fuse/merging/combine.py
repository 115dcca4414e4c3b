"""One answer of several models: the mean of their outputs, or how many of them decide for each class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from keras_trt._base.nests import Nest
from keras_trt._keras.flavor import Flavor
from keras_trt.errors import InputError

COMBINE = ("mean", "vote")


def combined(flavor: Flavor, how: str, outputs: Sequence[tuple[str, Nest]]) -> Nest:
    """The outputs of models as one, in the nest of the first.

    `"mean"` is their mean. `"vote"` is the share of the models for which a class (last axis) has the largest
    value, so that `argmax` is the majority's and, in a tie, the first of those classes; for a last axis of
    one, the share of the models above 0.5.

    Args:
        flavor: The models' flavour.
        how: `"mean"` or `"vote"`.
        outputs: Names and outputs of the models.

    Raises:
        InputError: The outputs differ in structure or shape.
    """
    nest = flavor.ops.nest
    flat = [nest.flatten(each) for _, each in outputs]
    shapes = [[tuple(tensor.shape) for tensor in tensors] for tensors in flat]
    if any(shape != shapes[0] for shape in shapes):
        given = "; ".join(f"{name}: {shape}" for (name, _), shape in zip(outputs, shapes, strict=True))
        raise InputError(
            f"`combine={how!r}` needs models whose outputs agree in number and shape. Received: {given}. "
            "Leave `combine` out to have all outputs side by side."
        )
    mean = flavor.keras.layers.Average
    if how == "vote":
        flat = [[_votes(flavor, tensor) for tensor in tensors] for tensors in flat]
    answers = [mean()(list(tensors)) for tensors in zip(*flat, strict=True)]
    return nest.pack_sequence_as(outputs[0][1], answers)


def _votes(flavor: Flavor, tensor: Any) -> Any:
    """1 where the model decides for a class, 0 elsewhere."""
    ops = flavor.graph_ops
    classes = tensor.shape[-1]
    if classes == 1:
        return ops.cast(tensor > 0.5, tensor.dtype)
    return ops.cast(ops.one_hot(ops.argmax(tensor, axis=-1), classes), tensor.dtype)
