"""A model that learns from its own float self while it trains quantised."""

from __future__ import annotations

import math
import weakref
from collections.abc import Mapping, Sequence
from typing import Any

from keras_trt._base.arguments import is_number, wrong_argument
from keras_trt._keras.calls.training_loss import add_training_loss, has_training_loss
from keras_trt._keras.flavor import Flavor
from keras_trt._keras.types import Model, Tensor
from keras_trt.distillation.teacher import Teacher
from keras_trt.models.strip import strip


class SelfDistillation:
    """The loss that a float self adds, and its weight; of no effect where the weight is False or 0.

    Args:
        weight: What the loss is multiplied by; True is 1.
        temperature: See `Teacher`.

    Raises:
        InputError: The weight is negative, or the temperature not positive.

    Attributes:
        is_heard: Whether gradients have been taken of the loss.
    """

    def __init__(self, weight: bool | float, temperature: float) -> None:
        if not (isinstance(weight, bool) or _is_finite(weight)) or weight < 0:
            raise wrong_argument("distill", "True, False or a weight of at least 0", weight)
        if not _is_finite(temperature) or temperature <= 0:
            raise wrong_argument("temperature", "a number above 0", temperature)
        self._weight, self._temperature = float(weight), float(temperature)
        self._teachers: weakref.WeakKeyDictionary[Any, Teacher] = weakref.WeakKeyDictionary()
        self.is_heard = False

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled without its teachers: they belong to models of this process."""
        return type(self), (self._weight, self._temperature)

    def begin(self, flavor: Flavor, model: Model) -> bool:
        """Adds the loss to a model, whose float self becomes the teacher the first time.

        Returns:
            Whether it was added, so that the model's steps must be traced anew.
        """
        if not self._weight or has_training_loss(model):
            return False
        if model not in self._teachers:
            with flavor.strategy_scope(model):
                self._teachers[model] = Teacher(flavor, strip(model), self._temperature)
        teacher, self.is_heard = self._teachers[model], False

        def loss(args: Sequence[object], options: Mapping[str, object], outputs: object) -> Tensor:
            return self._weight * self._listened(flavor, teacher.loss(args, options, outputs))

        add_training_loss(flavor, model, loss)
        return True

    def is_missed(self, model: Model) -> bool:
        """Whether a model has trained with the loss and its training step has not taken it."""
        return has_training_loss(model) and not self.is_heard

    def _listened(self, flavor: Flavor, loss: Tensor) -> Tensor:
        """The loss, which notes when a gradient is taken of it."""

        def gradient(upstream: Tensor) -> Tensor:
            self.is_heard = True
            return upstream

        return flavor.tf.custom_gradient(lambda x: (flavor.tf.identity(x), gradient))(loss)


def _is_finite(value: Any) -> bool:
    return is_number(value) and math.isfinite(value)
