"""How far a student's output is from the teacher's, by the operation that the output leaves."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

from keras_trt._keras.types import Tensor

Divergence = Callable[[ModuleType, Tensor, Tensor, float], Tensor]
_SMALLEST = 1e-7  # of a probability, as in Keras's losses
_MOVES = ("Cast", "ExpandDims", "Identity", "Reshape", "Squeeze")


def divergence_of(output: Any) -> Divergence:
    """The function of (TensorFlow, teacher's output, student's output, temperature) that measures it.

    Args:
        output: The teacher's output in the graph that makes it.
    """
    operation = output.op
    while operation.type in _MOVES:
        operation = operation.inputs[0].op
    return {"Softmax": _of_classes, "Sigmoid": _of_events}.get(operation.type, _of_numbers)


def _of_classes(tf: ModuleType, teacher: Tensor, student: Tensor, temperature: float) -> Tensor:
    """T^2 KL(p || q) of tempered probabilities (Hinton, Vinyals, Dean 2015, arXiv:1503.02531, section 2)."""
    logs = [tf.nn.log_softmax(_log(tf, each) / temperature) for each in (teacher, student)]
    divergence = tf.reduce_sum(tf.exp(logs[0]) * (logs[0] - logs[1]), axis=-1)
    return temperature**2 * tf.reduce_mean(divergence)


def _of_events(tf: ModuleType, teacher: Tensor, student: Tensor, temperature: float) -> Tensor:
    """The same for outputs that are each the probability of one event."""
    teacher, student = _floats(tf, teacher), _floats(tf, student)
    teacher, student = (tf.stack([each, 1 - each], axis=-1) for each in (teacher, student))
    return _of_classes(tf, teacher, student, temperature)


def _of_numbers(tf: ModuleType, teacher: Tensor, student: Tensor, temperature: float) -> Tensor:
    """Half the squared error over the teacher's variance; of logits it is what a high temperature does."""
    teacher, student = _floats(tf, teacher), _floats(tf, student)
    error = tf.reduce_mean(tf.square(teacher - student))
    return error / (2 * tf.maximum(tf.math.reduce_variance(teacher), _SMALLEST))


def _log(tf: ModuleType, probabilities: Tensor) -> Tensor:
    return tf.math.log(tf.maximum(_floats(tf, probabilities), _SMALLEST))


def _floats(tf: ModuleType, values: Tensor) -> Tensor:
    return tf.cast(values, tf.float32)
