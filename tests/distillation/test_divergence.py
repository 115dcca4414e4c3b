"""What a student's output is compared by."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from keras_trt.distillation.divergence import divergence_of

LOGITS = np.array([[2.0, 0.5, -1.0], [0.0, 3.0, 1.0]], np.float32)
OTHERS = np.array([[1.0, 1.5, -1.0], [0.5, 2.0, 2.0]], np.float32)


def softmax(z):
    return np.exp(z) / np.exp(z).sum(-1, keepdims=True)


def measured(last, teacher, student, temperature=1.0):
    graph = tf.function(last).get_concrete_function(tf.TensorSpec((None, 3))).graph
    return float(divergence_of(graph.outputs[0])(tf, last(teacher), last(student), temperature))


@pytest.mark.parametrize("temperature", [1.0, 4.0])
@pytest.mark.parametrize(
    "last", [tf.nn.softmax, lambda z: tf.reshape(tf.cast(tf.nn.softmax(z), tf.float32), (2, 3))]
)
def test_classes_are_compared_as_tempered_probabilities(last, temperature):
    p, q = softmax(LOGITS / temperature), softmax(OTHERS / temperature)
    right = temperature**2 * (p * np.log(p / q)).sum(-1).mean()
    assert measured(last, LOGITS, OTHERS, temperature) == pytest.approx(right, rel=1e-4)


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_events_are_compared_one_by_one(temperature):
    p, q = (1 / (1 + np.exp(-z / temperature)) for z in (LOGITS, OTHERS))
    right = temperature**2 * (p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))).mean()
    assert measured(tf.sigmoid, LOGITS, OTHERS, temperature) == pytest.approx(right, rel=1e-4)


def test_numbers_are_compared_by_squares_over_their_variance():
    right = ((LOGITS - OTHERS) ** 2).mean() / (2 * LOGITS.var())
    assert measured(tf.identity, LOGITS, OTHERS) == pytest.approx(right, rel=1e-5)


@pytest.mark.parametrize("last", [tf.nn.softmax, tf.sigmoid, tf.identity])
def test_equal_outputs_and_certain_ones_give_no_loss_and_no_nan(last):
    certain = np.array([[200.0, -200.0, 0.0]], np.float32)
    assert measured(last, LOGITS, LOGITS) == pytest.approx(0, abs=1e-6)
    assert np.isfinite(measured(last, certain, -certain))
