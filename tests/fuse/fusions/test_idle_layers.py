"""What does nothing at inference goes; what names an output stays."""

import numpy as np

from keras_trt.fuse import fuse_model
from tests.fuse.fused import fused_layers, layers_of


def test_dropout_noise_and_identities_go(k):
    layers = k.layers
    x = k.Input((6,))
    y = layers.Dropout(0.5)(layers.Dense(4, name="a")(x))
    y = layers.GaussianNoise(0.1)(layers.Activation("linear")(layers.GaussianDropout(0.1)(y)))
    y = layers.Dense(3, activation="relu", name="b")(layers.Activation("tanh", name="t")(y))
    names, kinds = fused_layers(k.Model(x, y))
    assert (names, kinds) == (["a", "t", "b"], {"does nothing at inference"})


def test_in_nested_and_sequential_models_too(k):
    inner = k.Sequential(
        [k.Input((6,)), k.layers.Dropout(0.5), k.layers.Dense(4, name="a", activation="relu")]
    )
    model = k.Sequential([k.Input((6,)), inner, k.layers.Dropout(0.1), k.layers.Dense(3, name="b")])
    names, _ = fused_layers(model)
    assert [name.split("/")[-1] for name in names] == ["a", "b"]


def test_one_that_makes_an_output_stays(k):
    x = k.Input((6,), name="x")
    y = k.layers.Dropout(0.5, name="first")(k.layers.Dense(4, name="a")(x))
    model = k.Model(x, [y, k.layers.Dense(2, name="b")(y)])
    names, _ = fused_layers(model)
    assert names == ["a", "first", "b"]


def test_a_layer_of_ones_own_stays(k):
    class Half(k.layers.Dropout):
        def call(self, x, training=None):
            return x / 2

    model = k.Sequential([k.Input((6,)), Half(0.5, name="half"), k.layers.Dense(2, name="b")])
    assert fused_layers(model)[0] == ["half", "b"]


def test_masks_survive(k):
    ids = k.Input((5,), dtype="int32")
    y = k.layers.Dropout(0.5)(k.layers.Embedding(9, 4, mask_zero=True, name="e")(ids))
    model = k.Model(ids, k.layers.LSTM(3, name="lstm")(y))
    fused = fuse_model(model)
    assert layers_of(fused)[:2] == ["e", "lstm"]
    x = np.array([[1, 2, 0, 0, 0], [3, 4, 5, 6, 7]])
    np.testing.assert_allclose(fused(x), model(x), rtol=1e-6)
