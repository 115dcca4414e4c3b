"""What models begin with alike is computed once."""

import numpy as np
import pytest

import keras_trt
from keras_trt.fuse import merge_models, merge_report
from keras_trt.twins.twins import is_twin

X = np.random.default_rng(0).random((4, 8, 8, 3), dtype="float32")


def backbone(k, name="backbone"):
    inputs = k.Input((8, 8, 3))
    h = k.layers.Conv2D(4, 3, activation="relu")(inputs)
    h = k.layers.BatchNormalization()(k.layers.Conv2D(4, 3, padding="same")(h))
    return k.Model(inputs, h, name=name)


def headed(k, trunk, name, units=3):
    inputs = k.Input((8, 8, 3), name="image")
    h = k.layers.GlobalAveragePooling2D()(trunk(inputs))
    return k.Model(inputs, k.layers.Dense(units, name="head")(h), name=name)


def check(merged, models, x=X):
    out = merged.predict(x, verbose=0)
    for model in models:
        assert np.allclose(out[model.name], model.predict(x, verbose=0), atol=1e-6), model.name


def convolutions(merged):
    """How many convolutions the merged model holds, each once."""
    return len({id(layer) for layer in merged._flatten_layers() if type(layer).__name__ == "Conv2D"})


def loaded_copy(k, model, tmp_path):
    model.save(tmp_path / "m.keras")
    return k.models.load_model(tmp_path / "m.keras")


def test_two_heads_on_one_backbone_compute_it_once(k):
    trunk = backbone(k)
    models = [headed(k, trunk, "a"), headed(k, trunk, "b", 5)]
    merged = merge_models(models)
    check(merged, models)
    assert convolutions(merged) == 2
    assert sorted(layer.name for layer in merged.layers) == ["a", "b", "image", "shared"]
    assert merged.count_params() == sum(m.count_params() for m in models) - trunk.count_params()
    assert merged.get_layer("b").get_layer("head").units == 5


def test_equal_weights_in_layers_of_other_names_are_enough(k, tmp_path):
    trunk = backbone(k)
    other = backbone(k, "other")  # Keras numbers its layers on
    other.set_weights(trunk.get_weights())
    models = [headed(k, trunk, "a"), headed(k, loaded_copy(k, trunk, tmp_path), "b"), headed(k, other, "c")]
    merged = merge_models(models)
    check(merged, models)
    assert convolutions(merged) == 2


def test_layers_at_the_top_are_shared_as_far_as_they_go(k):
    def flat(name, seed):
        k.utils.set_random_seed(0)
        inputs = k.Input((8, 8, 3))
        first = k.layers.Conv2D(4, 3, activation="relu")(inputs)
        second = k.layers.Conv2D(4, 3, padding="same")(first)
        k.utils.set_random_seed(seed)
        h = k.layers.Add()([k.layers.Conv2D(4, 3, padding="same")(second), first])  # reads both
        return k.Model(inputs, h, name=name)

    models = [flat("a", 1), flat("b", 2)]
    merged = merge_models(models)
    check(merged, models)
    assert convolutions(merged) == 4
    row = merge_report(models).rows[0]
    assert (row["models"], row["layers"]) == ("a, b", 2)
    assert row["differs"].endswith("its weights differ")


def test_only_models_that_begin_alike_go_together(k):
    one, two = backbone(k), backbone(k)
    models = [
        headed(k, t, n) for t, n in ((one, "a"), (two, "b"), (one, "c"), (two, "d"), (backbone(k), "e"))
    ]
    merged = merge_models(models)
    check(merged, models)
    assert convolutions(merged) == 6
    assert [row["models"] for row in merge_report(models).rows] == ["a, c", "b, d", "e"]


def test_equal_models_are_computed_once_as_a_whole(k):
    model = headed(k, backbone(k), "a")
    merged = merge_models([model, model])
    out = merged.predict(X, verbose=0)
    assert np.array_equal(out["a"], out["a_1"])
    assert convolutions(merged) == 2


@pytest.mark.parametrize("change", ["activation", "weights", "trainable", "stride"])
def test_what_differs_is_not_shared(k, change):
    def net(name, changed=False):
        k.utils.set_random_seed(0)
        inputs = k.Input((8, 8, 3))
        stride, activation = (2 if changed and change == "stride" else 1), "relu"
        if changed and change == "activation":
            activation = "elu"
        layer = k.layers.Conv2D(4, 3, strides=stride, padding="same", activation=activation)
        model = k.Model(inputs, layer(inputs), name=name)
        if changed and change == "weights":
            layer.set_weights([w + 1e-6 for w in layer.get_weights()])
        layer.trainable = not (changed and change == "trainable")
        return model

    models = [net("a"), net("b", changed=True)]
    merged = merge_models(models)
    check(merged, models)
    assert convolutions(merged) == 2
    assert [row["layers"] for row in merge_report(models).rows] == [0, 0]


def test_a_layer_that_is_called_again_behind_where_models_part_stays_one(k):
    def net(name):
        k.utils.set_random_seed(0)
        inputs = k.Input((6,))
        tied = k.layers.Dense(6, name="tied")
        first = k.layers.Dense(6, name="first")(inputs)
        h = tied(first)
        k.utils.set_random_seed(1 if name == "a" else 2)
        return k.Model(inputs, tied(k.layers.Dense(6)(h)), name=name)

    models = [net("a"), net("b")]
    merged = merge_models(models)
    x = X.reshape(4, -1)[:, :6]
    check(merged, models, x)
    assert [layer.name for layer in merged.get_layer("shared").layers if layer.weights] == ["first"]
    assert merge_report(models).rows[0]["differs"] == "tied: it is called again where the models differ"


def test_a_number_that_a_config_does_not_tell_tells_layers_apart(k):
    class Scale(k.layers.Layer):
        def __init__(self, factor=1.0, **kwargs):
            super().__init__(**kwargs)
            self.factor = factor

        def call(self, x):
            return x * self.factor

        def get_config(self):
            return super().get_config()

    def net(name, factor):
        k.utils.set_random_seed(0)
        inputs = k.Input((6,))
        return k.Model(inputs, k.layers.Dense(3)(Scale(factor)(inputs)), name=name)

    models = [net("a", 2.0), net("b", 3.0)]
    check(merge_models(models), models, X.reshape(4, -1)[:, :6])


def test_padding_masks_go_on_behind_the_trunk(k):
    embedding = k.layers.Embedding(9, 4, mask_zero=True)

    def net(name):
        inputs = k.Input((5,), dtype="int32")
        return k.Model(inputs, k.layers.LSTM(3)(embedding(inputs)), name=name)

    models = [net("a"), net("b")]
    merged = merge_models(models)
    x = np.array([[1, 2, 3, 0, 0], [4, 5, 0, 0, 0]], "int32")
    check(merged, models, x)
    assert "shared" in [layer.name for layer in merged.layers]


@pytest.mark.parametrize("structures", [(list, list), (dict, dict), (dict, list)])
def test_inputs_are_paired_in_each_models_own_structure(k, structures):
    def net(name, structure, seed):
        k.utils.set_random_seed(0)
        a, b = k.Input((4,), name="a"), k.Input((4,), name="b")
        h = k.layers.Dense(4)(a) * 2.0 - b
        k.utils.set_random_seed(seed)
        nest = {"a": a, "b": b} if structure is dict else [a, b]
        return k.Model(nest, [k.layers.Dense(2)(h), h], name=name)

    models = [
        net(name, structure, i) for i, (name, structure) in enumerate(zip("mn", structures, strict=True))
    ]
    merged = merge_models(models)
    x = {"a": X.reshape(4, -1)[:, :4], "b": X.reshape(4, -1)[:, 4:8]}
    out = merged.predict(x if structures[0] is dict else list(x.values()), verbose=0)
    for model, structure in zip(models, structures, strict=True):
        expected = model.predict(x if structure is dict else list(x.values()), verbose=0)
        for i, each in enumerate(expected):
            assert np.allclose(out[f"{model.name}/{i}"], each, atol=1e-6)
    row = merge_report(models).rows[0]
    assert (row["models"], row["weights"]) == ("m, n", 20)  # the first Dense


def test_quantised_and_pruned_trunks_stay_so_train_save_and_export(k, tmp_path):
    trunk = keras_trt.prune_model(backbone(k), 0.5)
    trunk = keras_trt.quantize_model(trunk, calibration_data=X, verbose=0)
    models = [headed(k, trunk, "a"), headed(k, trunk, "b")]
    merged = merge_models(models)
    check(merged, models)
    merged.compile("sgd", {"a": "mse", "b": "mse"})
    merged.fit(X, {"a": np.zeros((4, 3)), "b": np.zeros((4, 3))}, verbose=0)
    inner = next(layer for layer in merged._flatten_layers() if is_twin(layer))
    assert (inner.kernel.numpy() == 0).mean() == 0.5
    keras_trt.save_model(merged, tmp_path / "m.keras")
    again = keras_trt.load_model(tmp_path / "m.keras")
    expected = merged.predict(X, verbose=0)
    assert np.array_equal(again.predict(X, verbose=0)["b"], expected["b"])
    keras_trt.export(merged, tmp_path / "bundle", engine=None, verbose=0)
    assert np.allclose(
        keras_trt.load(tmp_path / "bundle").predict(X, verbose=0)["a"], expected["a"], atol=1e-2
    )


def test_sharing_can_be_left_out(k):
    trunk = backbone(k)
    models = [headed(k, trunk, "a"), headed(k, trunk, "b")]
    merged = merge_models(models, share_layers=False)
    check(merged, models)
    assert convolutions(merged) == 4
