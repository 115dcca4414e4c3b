"""`export(preprocess=, postprocess=)`: what is served takes what the camera gives."""

from __future__ import annotations

import numpy as np
import pytest

import keras_trt
from keras_trt.errors import InputError
from tests.nets import images, residual_net


def camera(k):
    """From images of any size in bytes to what the net takes."""
    layers = [k.layers.Resizing(8, 8), k.layers.Rescaling(1 / 255)]
    return k.Sequential([k.Input((None, None, 3), dtype="uint8", name="camera"), *layers], name="from_camera")


def exported(model, path, **options):
    report = keras_trt.export(model, path, engine=None, verbose=0, **options)
    return report, keras_trt.load(path, verbose=0)


def weights(model):
    return [np.asarray(w) for w in model.weights]


def test_a_model_in_front_says_what_is_taken(k, tmp_path):
    model, before = residual_net(k), camera(k)
    calls = len(model._inbound_nodes)
    _, engine = exported(model, tmp_path / "b", preprocess=before)
    frames = np.random.default_rng(1).integers(0, 256, (3, 12, 10, 3)).astype("uint8")
    want = model.predict(before.predict(frames, verbose=0), verbose=0)
    np.testing.assert_allclose(engine.predict(frames, verbose=0), want, atol=2e-3)
    (spec,), (out,) = engine.inputs, engine.outputs
    assert (spec.name, spec.dtype, spec.shape[0], spec.shape[3]) == ("camera", "uint8", "batch", 3)
    assert (out.name, engine.name) == ("probabilities", "residual_net")
    assert len(model._inbound_nodes) == calls  # the model is no part of another one now


def test_bare_layers_take_the_type_of_the_data(k, tmp_path):
    model = residual_net(k)
    bytes_ = (images(16)[0] * 255).astype("uint8")
    _, engine = exported(
        model, tmp_path / "b", preprocess=k.layers.Rescaling(1 / 255), calibration_data=bytes_
    )
    assert (engine.inputs[0].name, engine.inputs[0].dtype) == ("image", "uint8")
    want = model.predict(bytes_ / np.float32(255), verbose=0)
    np.testing.assert_allclose(engine.predict(bytes_, verbose=0), want, atol=1e-5)
    _, engine = exported(model, tmp_path / "f", preprocess=[k.layers.Rescaling(1 / 255)])
    assert engine.inputs[0].dtype == "float32"


def test_what_stands_around_stays_float_and_the_same_layers_are_quantised(k, tmp_path):
    x, _ = images(32)
    plain = keras_trt.quantize_model(residual_net(k), calibration_data=x, verbose=0)
    alone, _ = exported(plain, tmp_path / "a")
    after = k.Sequential([k.layers.Dense(4, activation="softmax", name="mixed")], name="after")
    after.build((None, 4))
    around, engine = exported(
        plain, tmp_path / "b", preprocess=k.layers.Rescaling(1.0), postprocess=[after], calibration_data=x
    )
    assert [layer.rpartition("/")[2] for layer in around.int8_layers] == [
        layer.rpartition("/")[2] for layer in alone.int8_layers
    ]
    assert any(layer.endswith("mixed") for layer in around.float_layers)
    want = after.predict(plain.predict(x, verbose=0), verbose=0)
    np.testing.assert_allclose(engine.predict(x, verbose=0), want, atol=2e-2)


def test_int8_is_calibrated_on_what_comes_out_of_the_layers_before(k, tmp_path):
    x, _ = images(32)
    bytes_ = (x * 255).astype("uint8")
    model = residual_net(k)
    before = weights(model)
    _, engine = exported(
        model,
        tmp_path / "b",
        precision="int8",
        calibration_data=bytes_,
        preprocess=k.layers.Rescaling(1 / 255),
    )
    ranges = engine.bundle.manifest.quantization["ranges"].values()
    direct = keras_trt.quantize_model(model, calibration_data=bytes_ / np.float32(255), verbose=0)
    own, _ = exported(direct, tmp_path / "own")
    want = keras_trt.load(tmp_path / "own", verbose=0).bundle.manifest.quantization["ranges"].values()
    np.testing.assert_allclose(sorted(ranges), sorted(want), rtol=1e-5)
    assert own.precision == engine.bundle.manifest.precision == "int8"
    for one, other in zip(before, weights(model), strict=True):
        np.testing.assert_array_equal(one, other)


def test_several_inputs_and_outputs_keep_their_structure(k, tmp_path):
    a, b = k.Input((4,), name="a"), k.Input((4,), name="b")
    model = k.Model({"a": a, "b": b}, {"sum": k.layers.Add(name="sum")([a, b]), "b": b}, name="two")
    after = k.layers.Activation("linear", name="after")
    _, engine = exported(model, tmp_path / "b")
    x = {name: np.random.default_rng(i).normal(size=(3, 4)).astype("float32") for i, name in enumerate("ab")}
    want = engine.predict(x, verbose=0)
    one = k.Model({"a": a, "b": b}, k.layers.Add(name="total")([a, b]), name="one")
    _, engine = exported(one, tmp_path / "c", postprocess=after)
    np.testing.assert_allclose(engine.predict(x, verbose=0), want["sum"])
    assert [s.name for s in engine.inputs] == ["a", "b"]
    assert [s.name for s in engine.outputs] == ["after"]


def test_models_without_a_layer_graph(k, tmp_path):
    class Net(k.Model):
        def __init__(self):
            super().__init__(name="net")
            self.dense = k.layers.Dense(3)

        def call(self, x):
            return {"scores": self.dense(x)}

    model = Net()
    x = np.random.default_rng(0).normal(size=(4, 5)).astype("float32")
    want = np.asarray(model(x)["scores"])
    _, engine = exported(model, tmp_path / "b", preprocess=k.layers.Rescaling(2.0))
    np.testing.assert_allclose(engine.predict(x / 2, verbose=0)["scores"], want, rtol=1e-5)


def test_what_is_passed_through_keeps_the_models_name(k, tmp_path):
    feat = k.Input((8,), name="feat")
    scores, share = k.layers.Dense(3, name="scores")(feat), k.layers.Dense(3, name="share")(feat)
    logits, other = k.Input((3,), name="logits"), k.Input((3,), name="feat")
    with_probabilities = k.Model(logits, [k.layers.Softmax(name="probabilities")(logits), logits])
    model = k.Model(feat, scores)
    _, engine = exported(model, tmp_path / "a", postprocess=with_probabilities)
    assert [s.name for s in engine.outputs] == ["probabilities", "scores"]
    x = np.random.default_rng(0).normal(size=(4, 8)).astype("float32")
    np.testing.assert_allclose(engine.predict(x, verbose=0)[1], np.asarray(model(x)), rtol=1e-5)
    # Of two, each its own, through a layer between as well; a name that an input has is taken.
    pair = k.Model([logits, other], {"first": other, "sum": k.layers.Add(name="sum")([logits, other])})
    _, engine = exported(k.Model(feat, [scores, share]), tmp_path / "b", postprocess=pair)
    assert sorted(s.name for s in engine.outputs) == ["share", "sum"]
    through = [k.layers.Activation("linear", name="between"), k.Model(other, other)]
    _, engine = exported(model, tmp_path / "c", postprocess=through)
    assert [s.name for s in engine.outputs] == ["between"]
    both = k.Model(feat, {"scores": scores, "seen": feat})
    _, engine = exported(both, tmp_path / "d", preprocess=k.layers.Rescaling(2.0))
    assert sorted(s.name for s in engine.outputs) == ["feat_1", "scores"]


def test_what_does_not_fit_is_named(k, tmp_path):
    model = residual_net(k)
    with pytest.raises(InputError, match="do not fit together in this order: resizing.*, residual_net"):
        exported(model, tmp_path / "b", preprocess=k.layers.Resizing(7, 7, name="resizing"))
    with pytest.raises(InputError, match="`preprocess` must be a layer, a list of layers or a model of"):
        exported(model, tmp_path / "b", preprocess=lambda x: x / 255)
    import keras
    import tf_keras

    other = tf_keras if k is keras else keras
    with pytest.raises(InputError, match="`postprocess` must be a layer"):
        exported(model, tmp_path / "b", postprocess=[other.layers.Softmax()])
    assert not (tmp_path / "b").exists()
