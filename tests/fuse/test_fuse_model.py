"""`fuse_model`: BatchNormalization is gone and the predictions are the same."""

import numpy as np
import pytest

from keras_trt._keras.flavor_of import flavor_of
from keras_trt._keras.masks.masking import value_of
from keras_trt.errors import ModelError
from keras_trt.fuse import fuse_model, fusion_report
from keras_trt.prune import prune_model
from tests.fuse.fused import assert_same, randomise


def batchnorms(model):
    flavor = flavor_of(model)
    return [p for p, layer in flavor.walk(model) if isinstance(layer, flavor.keras.layers.BatchNormalization)]


LAYERS = [
    ("Conv1D", (16, 3), {"filters": 4, "kernel_size": 3}),
    ("Conv2D", (8, 8, 4), {"filters": 6, "kernel_size": 3, "use_bias": False}),
    ("Conv2D", (8, 8, 4), {"filters": 6, "kernel_size": 3, "padding": "same", "strides": 2}),
    ("Conv2D", (8, 8, 4), {"filters": 6, "kernel_size": 3, "groups": 2}),
    ("Conv3D", (4, 4, 4, 3), {"filters": 4, "kernel_size": 2}),
    ("Conv1DTranspose", (8, 3), {"filters": 4, "kernel_size": 3}),
    ("Conv2DTranspose", (5, 5, 3), {"filters": 4, "kernel_size": 3, "strides": 2}),
    ("Conv3DTranspose", (3, 3, 3, 2), {"filters": 3, "kernel_size": 2}),
    ("DepthwiseConv1D", (8, 3), {"kernel_size": 3, "depth_multiplier": 2}),
    ("DepthwiseConv2D", (8, 8, 3), {"kernel_size": 3, "depth_multiplier": 2, "use_bias": False}),
    ("SeparableConv1D", (8, 3), {"filters": 4, "kernel_size": 3}),
    ("SeparableConv2D", (8, 8, 3), {"filters": 4, "kernel_size": 3, "use_bias": False}),
    ("Dense", (7,), {"units": 5}),
]


@pytest.mark.parametrize("cls,shape,kwargs", LAYERS, ids=[f"{c[0]}-{i}" for i, c in enumerate(LAYERS)])
def test_every_foldable_layer_takes_its_batchnorm(k, cls, shape, kwargs, rng):
    inputs = k.Input(shape)
    h = getattr(k.layers, cls)(name="layer", **kwargs)(inputs)
    model = randomise(k.Model(inputs, k.layers.ReLU()(k.layers.BatchNormalization(name="bn")(h))))
    fused = fuse_model(model)
    assert batchnorms(fused) == []
    assert fused.get_layer("layer").use_bias
    assert_same(model, fused, rng.normal(size=(2, *shape)).astype("float32"))


@pytest.mark.parametrize(
    "options", [{"scale": False}, {"center": False}, {"epsilon": 0.1}, {"trainable": False}]
)
def test_options_of_batchnorm_are_respected(k, options, rng):
    layers = [k.layers.Conv2D(4, 3), k.layers.BatchNormalization(**options)]
    model = randomise(k.Sequential([k.Input((8, 8, 3)), *layers]))
    assert_same(model, fuse_model(model), rng.random((2, 8, 8, 3), dtype="float32"))


def block(k, h, width, name):
    y = k.layers.Conv2D(width, 3, padding="same", use_bias=False, name=f"{name}_a")(h)
    y = k.layers.ReLU()(k.layers.BatchNormalization(name=f"{name}_a_bn")(y))
    y = k.layers.Conv2D(width, 3, padding="same", use_bias=False, name=f"{name}_b")(y)
    y = k.layers.BatchNormalization(name=f"{name}_b_bn")(y)
    return k.layers.ReLU()(k.layers.Add()([h, y]))


def nested(k):
    inner_inputs = k.Input((8, 8, 4))
    inner = k.Model(inner_inputs, block(k, inner_inputs, 4, "in"), name="backbone")
    stem = k.Sequential(
        [k.Input((8, 8, 3)), k.layers.Conv2D(4, 1, name="stem"), k.layers.BatchNormalization(name="stem_bn")],
        name="stem_model",
    )
    inputs = k.Input((8, 8, 3), name="image")
    h = k.layers.Concatenate()([inner(stem(inputs)), k.layers.BatchNormalization(name="lonely")(inputs)])
    h = k.layers.GlobalAveragePooling2D()(h)
    return randomise(k.Model(inputs, k.layers.Dense(5, name="head")(h), name="net"))


def test_nested_models_are_fused_and_names_stay(k, rng):
    model = nested(k)
    before = model.get_weights()
    fused = fuse_model(model)
    assert batchnorms(fused) == ["lonely"]
    assert fused.name == "net"
    flavor = flavor_of(model)
    gone = {"stem_model/stem_bn", "backbone/in_a_bn", "backbone/in_b_bn"}
    assert [p for p, _ in flavor.walk(fused)] == [p for p, _ in flavor.walk(model) if p not in gone]
    assert_same(model, fused, rng.random((2, 8, 8, 3), dtype="float32"))
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))


def test_the_report_says_what_folds_and_why_the_rest_stays(k):
    report = fusion_report(nested(k))
    rows = {row["layer"]: row for row in report.rows}
    assert rows["backbone/in_a_bn"]["folds_into"] == "backbone/in_a"
    stays = {"layer": "lonely", "folds_into": None, "reason": "it follows a model input", "fusion": None}
    assert rows["lonely"] == stays
    assert "3 of 4" in report.title


def test_names_with_slashes_are_no_nested_models():
    import tf_keras as k  # Keras 3 allows no slash in names

    layers = [k.layers.Conv2D(4, 1, name="block/conv"), k.layers.BatchNormalization(name="block/conv/bn")]
    assert batchnorms(fuse_model(k.Sequential([k.Input((8, 8, 3)), *layers]))) == []


def test_a_layer_called_twice_with_its_batchnorm_folds_once(k, rng):
    conv, bn = k.layers.Conv2D(3, 3, padding="same", name="c"), k.layers.BatchNormalization(name="bn")
    inputs = k.Input((8, 8, 3))
    model = randomise(k.Model(inputs, bn(conv(k.layers.ReLU()(bn(conv(inputs)))))))
    fused = fuse_model(model)
    assert batchnorms(fused) == []
    assert_same(model, fused, rng.random((2, 8, 8, 3), dtype="float32"))


def test_a_second_use_of_the_output_keeps_the_batchnorm(k, rng):
    inputs = k.Input((8, 8, 3))
    h = k.layers.Conv2D(3, 3)(inputs)
    model = randomise(k.Model(inputs, [k.layers.BatchNormalization()(h), h]))
    fused = fuse_model(model)
    assert len(batchnorms(fused)) == 1
    x = rng.random((2, 8, 8, 3), dtype="float32")
    assert all(np.allclose(a, b) for a, b in zip(model(x), fused(x), strict=True))


def test_several_inputs_in_a_dict_and_operations_keep_their_structure(k, rng):
    inputs = {"a": k.Input((4,), name="a"), "b": k.Input((4,), name="b")}
    h = k.layers.BatchNormalization(name="bn")(k.layers.Dense(4, name="d")(inputs["a"])) * 2.0 + inputs["b"]
    model = randomise(k.Model(inputs, {"out": h}))
    fused = fuse_model(model)
    x = {name: rng.random((3, 4), dtype="float32") for name in "ab"}
    assert np.allclose(model(x)["out"], fused(x)["out"], atol=1e-5)
    assert batchnorms(fused) == []


def test_a_batchnorm_over_another_axis_stays(k):
    model = randomise(
        k.Sequential([k.Input((8, 3)), k.layers.Conv1D(4, 1), k.layers.BatchNormalization(axis=1)])
    )
    assert fusion_report(model).rows[0]["reason"] == "it normalises axis 1, not the channels"
    assert len(batchnorms(fuse_model(model))) == 1


def test_a_layer_with_a_call_of_its_own_is_not_trusted(k):
    class Standardised(k.layers.Conv2D):
        def call(self, x):
            return super().call(x) * 2

    model = k.Sequential([k.Input((8, 8, 3)), Standardised(4, 3, name="s"), k.layers.BatchNormalization()])
    assert fusion_report(model).rows[0]["reason"] == "s (Standardised) has a `call` of its own"


def test_zeros_of_pruning_stay_and_hold_through_fit(k, rng):
    model = randomise(
        k.Sequential(
            [
                k.Input((8, 8, 4)),
                k.layers.Conv2D(8, 3, name="c"),
                k.layers.BatchNormalization(),
                k.layers.GlobalAveragePooling2D(),
                k.layers.Dense(5, activation="softmax"),
            ]
        )
    )
    fused = fuse_model(prune_model(model, 0.75))
    assert (value_of(fused.get_layer("c").kernel) == 0).mean() == 0.75
    fused.compile("adam", "sparse_categorical_crossentropy")
    fused.fit(rng.random((16, 8, 8, 4)), rng.integers(0, 5, 16), verbose=0)
    assert (value_of(fused.get_layer("c").kernel) == 0).mean() == 0.75


def test_frozen_layers_stay_frozen(k):
    model = k.Sequential([k.Input((8, 8, 3)), k.layers.Conv2D(4, 3, name="c"), k.layers.BatchNormalization()])
    model.get_layer("c").trainable = False
    assert not fuse_model(model).get_layer("c").trainable


def test_the_fused_model_saves_and_loads(k, tmp_path, rng):
    fused = fuse_model(nested(k))
    fused.save(tmp_path / "m.keras")
    x = rng.random((2, 8, 8, 3), dtype="float32")
    assert np.array_equal(fused(x), k.models.load_model(tmp_path / "m.keras")(x))


def test_a_compiled_model_gives_an_uncompiled_one_and_stays_compiled(k):
    model = nested(k)
    model.compile("adam", lambda y, p: p)
    fused = fuse_model(model)
    assert getattr(fused, "optimizer", None) is None
    assert model.optimizer is not None


def test_names_of_inputs_and_outputs_stay(k):
    for model in (nested(k), k.Sequential([k.Input((4,)), k.layers.Dense(3), k.layers.BatchNormalization()])):
        fused = fuse_model(model)
        assert [t.name for t in fused.inputs] == [t.name for t in model.inputs]
        assert fused.layers[0].name == model.layers[0].name


def test_a_model_without_batchnorm_is_copied(k):
    model = k.Sequential([k.Input((4,)), k.layers.Dense(3)])
    fused = fuse_model(model)
    assert fused is not model
    assert np.array_equal(model.get_weights()[0], fused.get_weights()[0])


def test_a_subclassed_model_is_refused_with_the_way_out(k):
    class Net(k.Model):
        def __init__(self):
            super().__init__()
            self.d = k.layers.Dense(3)

        def call(self, x):
            return self.d(x)

    net = Net()
    net(np.zeros((1, 4), "float32"))
    with pytest.raises(ModelError, match=r"subclassed model.*functional parts"):
        fuse_model(net)


def test_resnet50_of_applications_fuses_whole(k, rng):
    model = randomise(k.applications.ResNet50(weights=None, input_shape=(32, 32, 3), classes=10))
    fused = fuse_model(model)
    assert batchnorms(fused) == []
    x = rng.random((2, 32, 32, 3), dtype="float32")
    hidden = [k.Model(m.input, m.layers[-2].output) for m in (model, fused)]
    assert_same(*hidden, x)
