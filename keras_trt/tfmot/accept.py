"""What every public function begins with: which Keras made the model it is given, and its plain form."""

from __future__ import annotations

from typing import Any, NamedTuple

from keras_trt._keras.flavor import Flavor
from keras_trt._keras.flavor_of import check_model
from keras_trt._keras.types import Model
from keras_trt.tfmot.range_loss import made_symmetric
from keras_trt.tfmot.wrapped import refuse_wrapped


class Accepted(NamedTuple):
    """A model of a user's.

    Attributes:
        flavor: Which Keras made it.
        model: The model itself, or what `from_tfmot` makes of it when TF-MOT has wrapped its layers.
        notes: What taking the wrappers off has cost, in sentences.
    """

    flavor: Flavor
    model: Any
    notes: tuple[str, ...]


def accept(model: Model, data: object = None, *, in_place: bool = False) -> Accepted:
    """A user's model, checked and without TF-MOT's wrappers.

    Args:
        model: What the user gave.
        data: Data of the user; labelled data also gives the accuracy before and after wrappers went.
        in_place: Whether the model itself will be changed; wrappers cannot be taken off it then.

    Raises:
        ModelError: It is not a built Keras model, or wrapped in a way that cannot be taken off.
    """
    flavor = check_model(model)
    if in_place:
        refuse_wrapped(flavor, model)
        return Accepted(flavor, model, ())
    plain, notes = made_symmetric(model, data)
    return Accepted(flavor, plain, tuple(notes))
