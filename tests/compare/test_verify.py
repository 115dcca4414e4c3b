"""verify tells where and by how much a bundle differs from its Keras model."""

from __future__ import annotations

import json
import sys

import numpy as np
import onnx
import pytest

import keras_trt
from keras_trt.compare import verify_report
from keras_trt.errors import BundleError, InputError

X = np.random.default_rng(0).normal(size=(10, 12, 12, 3)).astype("float32")
Y = np.random.default_rng(1).integers(0, 5, 10)


def conv_net(k):
    k.utils.set_random_seed(0)
    image = k.Input((12, 12, 3), name="image")
    x = k.layers.Conv2D(8, 3, padding="same", use_bias=False, name="conv1")(image)
    x = k.layers.BatchNormalization(name="bn1")(x)
    x = k.layers.ReLU(name="relu1")(x)
    y = k.layers.Conv2D(8, 3, padding="same", activation="relu", name="conv2")(x)
    x = k.layers.Add(name="add")([x, y])
    x = k.layers.GlobalAveragePooling2D(name="gap")(x)
    x = k.layers.Dropout(0.5, name="drop")(x)
    x = k.layers.Dense(16, activation="gelu", name="fc")(x)
    return k.Model(image, k.layers.Dense(5, activation="softmax", name="head")(x), name="conv_net")


def exported(model, path, **options):
    keras_trt.export(model, path, engine=None, verbose=0, **options)
    return path


def corrupt(path, layer):
    """Turns the weight of one layer around in the ONNX file."""
    model = onnx.load(path / "model.onnx")
    weight = next(t for t in model.graph.initializer if t.name.startswith(f"{layer}/") and len(t.dims) > 1)
    turned = np.ascontiguousarray(onnx.numpy_helper.to_array(weight)[::-1])
    weight.CopyFrom(onnx.numpy_helper.from_array(turned, weight.name))
    onnx.save(model, path / "model.onnx")


def accuracy(targets, predictions):
    return float((targets == predictions.argmax(-1)).mean())


def test_an_untouched_bundle_agrees_on_every_runner_and_layer(k, tmp_path):
    model = conv_net(k)
    found = keras_trt.verify(model, exported(model, tmp_path / "b"), (X, Y), metric=accuracy, verbose=0)
    assert found.runners == ("onnxruntime", "openvino")
    assert {d.runner for d in found.differences} == set(found.runners)
    assert all(d.relative < 1e-5 and d.largest < 1e-5 and d.agreement == 1.0 for d in found.differences)
    assert found.first_divergence is None
    assert [d.layer for d in found.layers] == ["conv1", "relu1", "conv2", "add", "gap", "fc", "head"]
    assert all(d.relative < 1e-5 for d in found.layers)
    assert found.metrics["keras"] == accuracy(Y, model.predict(X, verbose=0))
    assert set(found.metrics) == {"keras", "onnxruntime", "openvino"}
    assert len(set(found.metrics.values())) == 1
    assert found.rows == 10


@pytest.mark.parametrize("quantized", [False, True], ids=["float32", "int8"])
def test_a_corrupted_weight_is_traced_to_its_keras_layer(k, tmp_path, quantized):
    model = conv_net(k)
    if quantized:
        model = keras_trt.quantize_model(model, calibration_data=X, verbose=0)
    for layer in ("conv1", "conv2", "fc", "head"):
        path = exported(model, tmp_path / layer)
        assert keras_trt.verify(model, path, X, verbose=0).first_divergence is None
        corrupt(path, layer)
        found = keras_trt.verify(model, path, X, verbose=0)
        assert found.first_divergence == layer
        assert any("SHA-256" in note for note in found.notes)
        assert f"First divergence: layer '{layer}'" in str(found)


def test_layers_are_found_with_openvino_alone(k, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    model = keras_trt.quantize_model(conv_net(k), calibration_data=X, verbose=0)
    path = exported(model, tmp_path / "b")
    found = keras_trt.verify(model, path, X, verbose=0)
    assert found.runners == ("openvino",)
    assert found.first_divergence is None
    assert any("rounding of activations taken out" in note for note in found.notes)
    corrupt(path, "conv2")
    assert keras_trt.verify(model, path, X, verbose=0).first_divergence == "conv2"


def test_layers_of_nested_and_subclassed_models_are_named_by_their_path(k, tmp_path, rng):
    class Head(k.Model):
        def __init__(self, backbone):
            super().__init__(name="whole")
            self.backbone, self.fc = backbone, k.layers.Dense(3, name="fc")

        def call(self, x):
            return self.fc(self.backbone(x))

    k.utils.set_random_seed(1)
    inner = k.Input((4,))
    backbone = k.Model(inner, k.layers.Dense(6, "relu", name="hidden")(inner), name="backbone")
    model = Head(backbone)
    x = rng.normal(size=(5, 4)).astype("float32")
    model(x)
    path = exported(model, tmp_path / "b")
    assert keras_trt.verify(model, path, x, verbose=0).first_divergence is None
    corrupt(path, "backbone/hidden")
    assert keras_trt.verify(model, path, x, verbose=0).first_divergence == "backbone/hidden"


def test_layers_whose_axes_or_calls_cannot_be_told_apart_do_not_diverge(k, tmp_path, rng):
    k.utils.set_random_seed(0)
    steps = k.Input((8, 3))
    x = k.layers.Flatten(name="flatten")(k.layers.Conv1D(4, 3, name="conv")(steps))
    dense = k.layers.Dense(24, "tanh", name="dense")
    model = k.Model(steps, k.layers.Dense(2, name="head")(dense(dense(x))))
    data = rng.normal(size=(5, 8, 3)).astype("float32")
    model = keras_trt.quantize_model(model, calibration_data=data, verbose=0)
    found = keras_trt.verify(
        model, exported(model, tmp_path / "b", precision="int8+bf16", verify=False), data, verbose=0
    )
    assert found.first_divergence is None
    assert [d.layer for d in found.layers if d.diverges] == []
    assert any("float32 arithmetic" in note for note in found.notes)


def test_the_metric_shows_what_a_corrupted_weight_costs(k, tmp_path):
    model = conv_net(k)
    labels = model.predict(X, verbose=0).argmax(-1)
    path = exported(model, tmp_path / "b")
    corrupt(path, "head")
    found = keras_trt.verify(model, path, (X, labels), metric=accuracy, verbose=0)
    assert found.metrics["keras"] == 1.0
    assert found.metrics["openvino"] == found.metrics["onnxruntime"] < 1.0
    agreement = {d.runner: d.agreement for d in found.differences}
    assert agreement["openvino"] == found.metrics["openvino"]


def test_data_comes_as_arrays_datasets_and_generators(k, tmp_path):
    import tensorflow as tf

    model = conv_net(k)
    path = exported(model, tmp_path / "b")
    dataset = tf.data.Dataset.from_tensor_slices((X, Y)).batch(4)

    def endless():
        while True:
            yield X[:4], Y[:4]

    for data, rows, options in [
        (X, 10, {"batch_size": 3}),
        ({"image": X}, 10, {}),
        (dataset, 10, {}),
        (endless(), 8, {"steps": 2}),
    ]:
        found = keras_trt.verify(model, path, data, verbose=0, **options)
        assert found.rows == rows
        assert found.metrics == {}
    metric = keras_trt.verify(model, path, dataset, metric=accuracy, verbose=0).metrics["keras"]
    assert metric == accuracy(Y, model.predict(X, verbose=0))


def test_several_inputs_and_outputs_are_compared_one_by_one(k, tmp_path, rng):
    a, b = k.Input((4,), name="a"), k.Input((4,), name="b")
    x = k.layers.Dense(3, name="shared")
    one = k.layers.Add(name="one")([x(a), x(b)])
    model = k.Model({"a": a, "b": b}, {"one": one, "two": k.layers.Dense(2, name="two")(one)})
    path = exported(model, tmp_path / "b")
    data = {name: rng.normal(size=(6, 4)).astype("float32") for name in "ab"}
    targets = {"one": np.zeros((6, 3)), "two": np.zeros((6, 2))}

    def distance(y, predicted):
        assert set(y) == set(predicted) == {"one", "two"}
        return float(np.abs(y["two"] - predicted["two"]).mean())

    found = keras_trt.verify(model, path, (data, targets), metric=distance, verbose=0)
    assert {d.output for d in found.differences} == {"one", "two"}
    assert found.metrics["openvino"] == pytest.approx(found.metrics["keras"], rel=1e-5)
    corrupt(path, "two")
    found = keras_trt.verify(model, path, data, verbose=0)
    assert found.first_divergence == "two"
    assert {d.output: d.relative > 0.1 for d in found.differences} == {"one": False, "two": True}


def test_a_fixed_batch_is_filled_up(k, tmp_path):
    model = conv_net(k)
    path = exported(model, tmp_path / "b", input_shapes=(4, 12, 12, 3))
    found = keras_trt.verify(model, path, X[:3], verbose=0)
    assert found.rows == 3
    assert found.first_divergence is None
    assert all(d.relative < 1e-5 for d in found.differences)


def test_the_report_is_json_and_prints(k, tmp_path):
    model = conv_net(k)
    path = exported(model, tmp_path / "b")
    found = keras_trt.verify(model, path, (X, Y), metric=accuracy, verbose=0)
    data = json.loads(found.to_json(tmp_path / "report.json"))
    assert json.loads((tmp_path / "report.json").read_text()) == data
    assert data["path"] == str(path)
    assert data["metrics"] == found.metrics
    assert data["first_divergence"] is None
    assert {d["runner"] for d in data["differences"]} == {"onnxruntime", "openvino"}
    for word in ("conv_net", "openvino", "same class", "metric", "No layer diverges", "no NVIDIA GPU"):
        assert word in str(found)


def test_nothing_of_the_model_changes(k, tmp_path):
    model = conv_net(k)
    path = exported(model, tmp_path / "b")
    before = [set(vars(layer)) for layer in model.layers]
    weights = [w.copy() for w in model.get_weights()]
    keras_trt.verify(model, path, X, verbose=0)
    assert [set(vars(layer)) for layer in model.layers] == before
    for a, b in zip(weights, model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_wrong_arguments_are_refused(k, tmp_path):
    model = conv_net(k)
    path = exported(model, tmp_path / "b")
    with pytest.raises(InputError, match=r"`metric` compares with targets.*Received: no targets"):
        keras_trt.verify(model, path, X, metric=accuracy, verbose=0)
    with pytest.raises(InputError, match="Input 'image' takes batches of shape"):
        keras_trt.verify(model, path, X[:, :5], verbose=0)
    with pytest.raises(InputError, match="no batch"):
        keras_trt.verify(model, path, iter([]), verbose=0)
    with pytest.raises(BundleError, match="No bundle at"):
        keras_trt.verify(model, tmp_path / "nothing", X, verbose=0)
    other = k.Sequential(
        [k.Input((12, 12, 3), name="image"), k.layers.Flatten(), k.layers.Dense(7, name="head")]
    )
    with pytest.raises(InputError, match="Was the bundle exported from another model"):
        keras_trt.verify(other, path, X, verbose=0)


def test_a_bundle_with_layers_around_its_model_says_so(k, tmp_path):
    model = k.Sequential([k.Input((12, 12, 3), name="image"), k.layers.Flatten(), k.layers.Dense(3)])
    before = k.layers.Rescaling(1 / 255, name="to_floats")
    keras_trt.export(model, tmp_path / "b", engine=None, preprocess=before, verbose=0)
    report = keras_trt.verify(model, tmp_path / "b", X, verbose=0)
    assert "computes more than the model itself (before it to_floats)" in " ".join(str(report).split())
    whole = k.Sequential([k.Input((12, 12, 3), name="image"), before, model])
    report = keras_trt.verify(whole, tmp_path / "b", X, verbose=0)
    assert not any("more than the model" in note for note in report.notes)
    assert not any(difference.diverges for difference in report.differences)


def test_numbers_that_are_not_finite_are_text_in_json():
    report = verify_report.VerifyReport(
        path=None, name="n", precision="fp16", rows=1, runners=("openvino",),
        differences=(verify_report.OutputDifference("openvino", "y", *[float("inf")] * 2, None, 0.03),),
        layers=(), first_divergence=None, metrics={},
    )  # fmt: skip
    assert report.to_dict()["differences"][0]["relative"] == "inf"
    assert "NaN" not in report.to_json()
    assert "Layers were not compared" in str(report)


def test_data_whose_length_is_unknown_ends_the_line_of_the_bar(k, tmp_path, capsys):
    model = conv_net(k)
    keras_trt.verify(model, exported(model, tmp_path / "b"), iter([X[:2], X[2:4]]))
    assert capsys.readouterr().out.endswith("\n")
