"""One answer of several models."""

import numpy as np
import pytest

import keras_trt
from keras_trt.errors import InputError
from keras_trt.fuse import merge_models


def answering(k, name, rows):
    """A model that answers its input plus a row of numbers."""
    inputs = k.Input((len(rows),))
    layer = k.layers.Dense(len(rows), kernel_initializer="identity")
    model = k.Model(inputs, layer(inputs), name=name)
    layer.set_weights([np.eye(len(rows), dtype="float32"), np.array(rows, "float32")])
    return model


def test_the_mean_is_shaped_as_one_models_output(k):
    models = [answering(k, "a", [1, 2, 3]), answering(k, "b", [3, 0, 0])]
    x = np.zeros((2, 3), "float32")
    assert np.allclose(merge_models(models, combine="mean").predict(x, verbose=0), [[2, 1, 1.5]] * 2)


def test_the_majority_decides_a_vote(k, tmp_path):
    models = [answering(k, n, r) for n, r in (("a", [0, 5, 0]), ("b", [9, 0, 0]), ("c", [0, 1, 0]))]
    x = np.zeros((2, 3), "float32")
    merged = merge_models(models, combine="vote")
    votes = merged.predict(x, verbose=0)
    assert np.allclose(votes, [[1 / 3, 2 / 3, 0]] * 2)  # the mean would be for class 0
    keras_trt.export(merged, tmp_path / "b", engine=None, verbose=0)
    assert np.allclose(keras_trt.load(tmp_path / "b").predict(x, verbose=0), votes)
    keras_trt.save_model(merged, tmp_path / "m.keras")
    assert np.array_equal(keras_trt.load_model(tmp_path / "m.keras").predict(x, verbose=0), votes)


def test_the_first_class_wins_a_tie(k):
    models = [answering(k, "a", [0, 1, 0]), answering(k, "b", [0, 0, 1])]
    votes = merge_models(models, combine="vote").predict(np.zeros((1, 3), "float32"), verbose=0)
    assert votes.argmax() == 1


def test_one_number_is_voted_on_at_a_half(k):
    models = [answering(k, n, [r]) for n, r in (("a", 0.9), ("b", 0.6), ("c", 0.1))]
    votes = merge_models(models, combine="vote").predict(np.zeros((1, 1), "float32"), verbose=0)
    assert np.allclose(votes, 2 / 3)


def test_outputs_in_a_dict_stay_one(k):
    def net(name, shift):
        inputs = k.Input((2,))
        return k.Model(inputs, {"x": inputs + shift, "y": inputs * 2.0}, name=name)

    out = merge_models([net("a", 1.0), net("b", 3.0)], combine="mean").predict(np.ones((1, 2)), verbose=0)
    assert np.allclose(out["x"], 3)
    assert np.allclose(out["y"], 2)


def test_outputs_that_differ_are_refused_with_their_shapes(k):
    with pytest.raises(InputError, match=r"a: \[\(None, 2\)\]; b: \[\(None, 3\)\]\. Leave `combine` out"):
        x = k.Input((2,))
        models = [k.Model(x, k.layers.Dense(n)(x), name=name) for name, n in (("a", 2), ("b", 3))]
        merge_models(models, combine="mean")


def test_another_way_is_refused(k):
    with pytest.raises(InputError, match="combine"):
        merge_models([answering(k, "a", [1]), answering(k, "b", [1])], combine="max")
