"""Models of TF-MOT go into every function of the library, and out to TensorRT."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import tensorflow as tf
import tf_keras

import keras_trt
from keras_trt._keras.flavor_of import flavor_of
from keras_trt.engine import available_builders
from keras_trt.errors import ModelError
from keras_trt.prune import sensitivity, sparsity_report
from keras_trt.quantize.inventory import inventory
from keras_trt.tfmot.wrapped import is_wrapped
from tests.nets import residual_net
from tests.tfmot_models import (
    chain_net,
    fitted,
    float_net,
    kernel_zeros,
    predict,
    pruned,
    qat,
    quadrants,
    stock_quantized,
)

HAS_RTX = "tensorrt_rtx" in available_builders()
ENGINE = {"engine": "tensorrt_rtx", "compute_capabilities": ["SM89"]} if HAS_RTX else {"engine": None}


@pytest.fixture(scope="module")
def net():
    return float_net()


@pytest.fixture(scope="module")
def stock(net):
    return stock_quantized(net)


@pytest.fixture(scope="module")
def schemed(net):
    annotated = qat.quantize_annotate_model(net)
    return fitted(qat.quantize_apply(annotated, keras_trt.tfmot.TensorRTQuantizeScheme()), epochs=2)


@pytest.fixture(scope="module")
def sparse(net):
    return pruned(net)


@pytest.fixture(params=["stock", "schemed", "sparse"])
def model(request):
    return request.getfixturevalue(request.param)


def exported(model, path, **options):
    report = keras_trt.export(model, path, batch=(1, 8, 64), verbose=0, **ENGINE, **options)
    predictions = keras_trt.load(path).predict(quadrants(64, seed=7)[0], verbose=0)
    return report, predictions


@pytest.mark.parametrize("name", ["stock", "schemed"])
def test_a_quantised_model_becomes_an_int8_engine_that_predicts_as_it_does(request, name, tmp_path):
    model = request.getfixturevalue(name)
    report, found = exported(model, tmp_path / "bundle")
    before = predict(model)
    assert np.abs(found - before).mean() < 0.02
    assert (found.argmax(-1) == before.argmax(-1)).mean() >= 0.9
    np.testing.assert_allclose(found, predict(keras_trt.tfmot.from_tfmot(model)), atol=0.02)
    assert report.precision == "int8"
    assert report.int8_mac_share == 1.0
    assert [plan["compute_capabilities"] for plan in report.plans] == ([("SM89",)] if HAS_RTX else [])
    said = "activation ranges of TF-MOT were made symmetric" in str(report)
    assert said == (name == "stock")  # the scheme's ranges are symmetric already
    graph = onnx.load(tmp_path / "bundle" / "model.onnx").graph
    zero_points = {t.name: onnx.numpy_helper.to_array(t) for t in graph.initializer}
    quantizers = [node for node in graph.node if node.op_type == "QuantizeLinear"]
    assert len(quantizers) >= 7
    assert all(zero_points[q.input[2]].dtype == np.int8 and not zero_points[q.input[2]] for q in quantizers)


def test_what_is_exported_without_branches_is_what_was_trained(tmp_path):
    annotated = qat.quantize_annotate_model(chain_net())
    model = fitted(qat.quantize_apply(annotated, keras_trt.tfmot.TensorRTQuantizeScheme()), epochs=2)
    _, found = exported(model, tmp_path / "bundle")
    assert np.abs(found - predict(model)).mean() < 1e-3
    assert (found.argmax(-1) == predict(model).argmax(-1)).all()


def test_inputs_and_outputs_have_the_names_of_the_layers_inside_the_wrappers(stock, tmp_path):
    exported(stock, tmp_path / "bundle")
    graph = onnx.load(tmp_path / "bundle" / "model.onnx").graph
    assert [v.name for v in (*graph.input, *graph.output)] == ["image", "probabilities"]


def test_the_export_says_the_accuracy_before_and_after(stock, tmp_path):
    data = tf.data.Dataset.from_tensor_slices(quadrants(64)).batch(32)
    report = keras_trt.export(stock, tmp_path / "bundle", engine=None, verbose=0, calibration_data=data)
    assert any("accuracy on 64 samples: " in note for note in report.notes)


def test_an_untrained_model_must_be_calibrated(net, tmp_path):
    untrained = qat.quantize_model(net)
    with pytest.raises(ModelError, match="no activation range yet"):
        keras_trt.export(untrained, tmp_path / "bundle", engine=None, verbose=0)
    assert not list(tmp_path.iterdir())
    _, found = exported(untrained, tmp_path / "bundle", calibration_data=quadrants(64)[0])
    assert np.abs(found - predict(net)).mean() < 0.02


def test_calibrate_returns_the_converted_model(stock):
    calibrated = keras_trt.calibrate(stock, quadrants(64)[0], "max", verbose=0)
    assert not is_wrapped(flavor_of(calibrated), calibrated)
    assert is_wrapped(flavor_of(stock), stock)
    first = next(t for t in inventory(calibrated) if t.layer == "stem")
    assert first.amax == pytest.approx(quadrants(64)[0].max())


def test_pruned_models_keep_their_zeros_down_to_the_int8_weights(sparse, tmp_path):
    quantized = keras_trt.quantize_model(sparse, calibration_data=quadrants(64)[0], verbose=0)
    fitted(quantized, epochs=1)
    assert kernel_zeros(quantized.get_layer("strided").kernel) == pytest.approx(0.5, abs=0.01)
    exported(quantized, tmp_path / "bundle")
    graph = onnx.load(tmp_path / "bundle" / "model.onnx").graph
    weights = [onnx.numpy_helper.to_array(t) for t in graph.initializer]
    strided = next(w for w in weights if w.shape == (8, 8, 3, 3) and w.dtype == np.int8)
    assert kernel_zeros(strided) >= 0.5


def test_a_pruned_model_is_exported_as_float(sparse, tmp_path):
    _, found = exported(sparse, tmp_path / "bundle")
    np.testing.assert_allclose(found, predict(sparse), atol=1e-5)


def test_two_of_four_pruning_reaches_the_engine(tmp_path):
    layers = tf_keras.layers
    dense = tf_keras.Sequential(
        [
            layers.Flatten(input_shape=(8, 8, 3)),
            layers.Dense(16, activation="relu", name="hidden"),
            layers.Dense(4, activation="softmax", name="head"),
        ]
    )
    wrapped = pruned(fitted(dense, epochs=1), epochs=1, sparsity_m_by_n=(2, 4))
    report, _ = exported(wrapped, tmp_path / "bundle")
    assert report.sparse_layers == ("hidden", "head")


def test_report_and_plan_take_wrapped_models(model):
    report = keras_trt.report(model)
    rows = {row["layer"]: row for row in report.rows}
    assert "stem" in rows
    assert not any(name.startswith(("quant_", "prune_low")) for name in rows)
    planned = {row["layer"] for row in keras_trt.plan(model).rows if row["kernels"]}
    assert {"stem", "depthwise", "strided", "probabilities"} <= planned


def test_the_report_of_a_quantised_model_says_the_range_loss(stock):
    assert "made symmetric" in keras_trt.report(stock).notes[0]


def test_strip_gives_the_float_model(model):
    stripped = keras_trt.strip(model)
    assert not is_wrapped(flavor_of(stripped), stripped)
    assert not inventory(stripped)
    assert np.abs(predict(stripped) - predict(model)).mean() < 0.1


def test_saving_and_loading_gives_the_converted_model(model, tmp_path):
    keras_trt.save_model(model, tmp_path / "model.keras")
    loaded = keras_trt.load_model(tmp_path / "model.keras")
    assert np.array_equal(predict(loaded), predict(keras_trt.tfmot.from_tfmot(model)))


def test_fuse_model_folds_the_normalisation_that_tfmot_kept(model):
    fused = keras_trt.fuse_model(model)
    kinds = {type(layer).__name__ for layer in fused.layers}
    assert "BatchNormalization" not in kinds
    assert np.abs(predict(fused) - predict(keras_trt.tfmot.from_tfmot(model))).mean() < 0.02


def test_prune_model_prunes_a_quantised_model_and_leaves_it_quantised(model):
    smaller = keras_trt.prune_model(model, sparsity=0.75)
    assert kernel_zeros(smaller.get_layer("strided").kernel) == pytest.approx(0.75, abs=0.01)
    before = inventory(keras_trt.tfmot.from_tfmot(model))
    assert [t.layer for t in inventory(smaller)] == [t.layer for t in before]


def test_sensitivity_leaves_the_users_model_alone(stock):
    weights = stock.get_weights()
    table = sensitivity(stock, quadrants(32)[0], levels=(0.5,), only="strided", verbose=0)
    assert list(table.losses) == ["strided.kernel"]
    assert all(np.array_equal(a, b) for a, b in zip(weights, stock.get_weights(), strict=True))


def test_quantize_model_adds_what_tfmot_left_float():
    layers = tf_keras.layers
    model = tf_keras.Sequential(
        [
            layers.Dense(8, activation="relu", input_shape=(4,), name="a"),
            qat.quantize_annotate_layer(layers.Dense(8, name="b")),
        ]
    )
    wrapped = qat.quantize_apply(model)
    assert {t.layer for t in inventory(keras_trt.quantize_model(wrapped))} == {"a", "b"}


def test_plain_models_come_back_as_they_are_and_other_things_are_refused():
    plain = residual_net(tf_keras)
    assert keras_trt.tfmot.from_tfmot(plain) is plain
    with pytest.raises(ModelError, match="A Keras 3 or tf_keras model is needed"):
        keras_trt.tfmot.from_tfmot("model.h5")


def test_the_users_model_can_go_on_training_in_tfmot(stock, tmp_path):
    keras_trt.export(stock, tmp_path / "bundle", engine=None, verbose=0)
    before = stock.get_weights()
    losses = stock.fit(*quadrants(64), epochs=1, verbose=0).history["loss"]
    assert np.isfinite(losses).all()
    assert not all(np.array_equal(a, b) for a, b in zip(before, stock.get_weights(), strict=True))


def test_merge_models_takes_wrapped_models(stock, sparse):
    both = keras_trt.merge_models([stock, keras_trt.strip(sparse)])
    outputs = both.predict(quadrants(8)[0], verbose=0)
    assert [value.shape for value in outputs.values()] == [(8, 4)] * 2
    assert inventory(both)


def test_the_sparsity_report_names_the_layers_inside_the_wrappers(sparse):
    rows = {row["weight"]: row for row in sparsity_report(sparse).rows}
    assert rows["strided.kernel"]["sparsity"] == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize("callback", [keras_trt.callbacks.Quantize(), keras_trt.callbacks.Prune(0.5)])
def test_callbacks_that_work_in_place_refuse_wrapped_models(stock, callback):
    with pytest.raises(ModelError, match=r"Train `keras_trt.tfmot.from_tfmot\(model\)` instead"):
        stock.fit(*quadrants(32), verbose=0, callbacks=[callback])
