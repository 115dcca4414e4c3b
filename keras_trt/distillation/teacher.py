"""A float model that tells a quantised one, batch by batch, what it answers itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from keras_trt._keras.calls.functions import inlined
from keras_trt._keras.flavor import Flavor
from keras_trt._keras.types import Model, Tensor
from keras_trt.distillation.divergence import divergence_of


class Teacher:
    """How far a model's answers are from those of a teacher.

    Args:
        flavor: The Keras of both models.
        model: The teacher; it does not train.
        temperature: By what logits are divided before they are probabilities again.
    """

    def __init__(self, flavor: Flavor, model: Model, temperature: float) -> None:
        self.model = model
        self._flavor, self._temperature = flavor, temperature
        self._answers = flavor.tf.function(self._answer, reduce_retracing=True)

    def loss(self, args: Sequence[object], options: Mapping[str, object], outputs: object) -> Tensor:
        """How far the outputs are from the teacher's: the sum over the floating ones, a float32 scalar.

        Args:
            args: What the model was called with.
            options: The same by name.
            outputs: What it returned for that.
        """
        tf = self._flavor.tf
        options = {name: value for name, value in options.items() if name != "training"}
        answers = self._answers(*args, **options)
        origins = self._answers.get_concrete_function(*args, **options).graph.structured_outputs
        total = tf.zeros((), tf.float32)
        for answer, origin, student in zip(answers, origins, self._flat(outputs), strict=True):
            if answer.dtype.is_floating:
                total += divergence_of(origin)(tf, answer, student, self._temperature)
        return total

    def _answer(self, *args: object, **options: object) -> list[Any]:
        with inlined():
            answers: Any = self.model(*args, **options, **self._flavor.inference_arguments(self.model))
        return self._flat(answers)

    def _flat(self, outputs: object) -> list[Any]:
        tf = self._flavor.tf
        return list(map(tf.convert_to_tensor, tf.nest.flatten(outputs, expand_composites=True)))
