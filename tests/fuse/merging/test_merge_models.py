"""Several models become one that gives all their outputs."""

import numpy as np
import pytest

import keras_trt
from keras_trt.errors import InputError, ModelError
from keras_trt.fuse import merge_models
from keras_trt.twins.twins import is_twin

X = np.random.default_rng(0).random((4, 8, 8, 3), dtype="float32")


def net(k, name, units=3, shape=(8, 8, 3)):
    inputs = k.Input(shape, name="image")
    h = k.layers.Conv2D(4, 3, activation="relu", name="conv")(inputs)
    return k.Model(inputs, k.layers.Dense(units, name="head")(k.layers.Flatten()(h)), name=name)


def test_one_input_serves_all_models(k):
    a, b = net(k, "a"), net(k, "b", 5)
    merged = merge_models([a, b])
    out = merged.predict(X, verbose=0)
    assert list(out) == ["a", "b"]
    for model in (a, b):
        assert np.allclose(out[model.name], model.predict(X, verbose=0), atol=1e-6)
    assert len(merged.inputs) == 1
    assert merged.layers[0].name == "image"
    assert merged.name == "merged"


def test_every_model_may_keep_its_own_inputs(k):
    a, b = net(k, "a"), net(k, "b", 5, (6, 6, 3))
    merged = merge_models([a, b], share_inputs=False, name="pair")
    x = {"a_image": X, "b_image": X[:, :6, :6]}
    out = merged.predict([x["a_image"], x["b_image"]], verbose=0)
    assert np.allclose(out["b"], b.predict(x["b_image"], verbose=0), atol=1e-6)
    assert sorted(layer.name for layer in merged.layers) == ["a", "a_image", "b", "b_image"]


def test_models_of_the_same_name_are_numbered(k):
    merged = merge_models([net(k, "m"), net(k, "m"), net(k, "m_1")])
    assert sorted(merged.predict(X, verbose=0)) == ["m", "m_1", "m_1_1"]


def test_several_outputs_get_names_of_their_own(k):
    inputs = k.Input((8, 8, 3))
    h = k.layers.Flatten()(inputs)
    two = k.Model(inputs, {"x": k.layers.Dense(2)(h), "y": k.layers.Dense(3)(h)}, name="two")
    pair = k.Model(inputs, [k.layers.Dense(2)(h), k.layers.Dense(3)(h)], name="pair")
    merged = merge_models([two, pair])
    assert sorted(merged.predict(X, verbose=0)) == ["pair/0", "pair/1", "two/x", "two/y"]


def test_dict_inputs_are_shared_in_each_models_own_structure(k, rng):
    def made(name, structure):
        a, b = k.Input((4,), name="a"), k.Input((4,), name="b")
        nest = {"a": a, "b": b} if structure is dict else [a, b]
        return k.Model(nest, k.layers.Subtract()([a, b]), name=name)

    merged = merge_models([made("m", dict), made("n", list)])
    x = {"a": rng.random((2, 4)), "b": rng.random((2, 4))}
    out = merged.predict(x, verbose=0)
    assert np.allclose(out["m"], x["a"] - x["b"], atol=1e-6)
    assert np.allclose(out["n"], out["m"])


def test_the_arguments_do_not_change_and_nothing_is_shared(k):
    a, b = net(k, "m"), net(k, "m")
    merged = merge_models([a, b])
    merged.set_weights([w * 0 for w in merged.get_weights()])
    assert (a.name, b.name) == ("m", "m")
    assert np.abs(a.get_weights()[0]).max() > 0


def test_quantised_and_pruned_models_stay_so_and_train(k):
    pruned = keras_trt.prune_model(net(k, "a"), 0.5)
    quantised = keras_trt.quantize_model(net(k, "b"), calibration_data=X, verbose=0)
    merged = merge_models([pruned, quantised])
    merged.compile("adam", {"a": "mse", "b": "mse"})
    merged.fit(X, {"a": np.zeros((4, 3)), "b": np.zeros((4, 3))}, verbose=0)
    kernel = merged.get_layer("a").get_layer("conv").kernel.numpy()
    assert (kernel == 0).mean() == 0.5
    assert is_twin(merged.get_layer("b").get_layer("conv"))


def test_a_merged_model_exports(k, tmp_path):
    merged = merge_models([net(k, "a"), net(k, "b")])
    keras_trt.export(merged, tmp_path / "b", engine=None, verbose=0)
    out = keras_trt.load(tmp_path / "b").predict(X, verbose=0)
    assert np.allclose(out["b"], merged.predict(X, verbose=0)["b"], atol=1e-5)


def test_inputs_that_differ_are_not_shared(k):
    with pytest.raises(InputError, match=r"a: .*8, 8, 3.*b: .*6, 6, 3.*share_inputs=False"):
        merge_models([net(k, "a"), net(k, "b", shape=(6, 6, 3))])


def test_one_model_is_no_merge(k):
    with pytest.raises(InputError, match="At least two models"):
        merge_models([net(k, "a")])


def test_models_of_both_kerases_are_refused():
    import keras
    import tf_keras

    with pytest.raises(InputError, match=r"a \(keras3\), b \(legacy\)"):
        merge_models([net(keras, "a"), net(tf_keras, "b")])


def test_a_subclassed_model_is_refused_with_the_way_out(k):
    class Net(k.Model):
        def call(self, x):
            return x * 2

    subclassed = Net(name="s")
    subclassed(X)
    with pytest.raises(ModelError, match=r"'s' \(Net\)\. Wrap it"):
        merge_models([net(k, "a"), subclassed])
