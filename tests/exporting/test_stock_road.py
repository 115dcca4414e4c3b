"""Why this library exists: the stock road from TF-MOT over tf2onnx ends before TensorRT."""

from __future__ import annotations

import os
import warnings

import onnx
import pytest
import tf_keras

from keras_trt.errors import EngineError
from keras_trt.exporting.export import export
from keras_trt.quantize import quantize_model
from tests.nets import compiled, images
from tests.onnx_tools import build


def stock_tfmot(monkeypatch):
    """TF-MOT, without letting it turn `tf.keras` into tf_keras for the whole process."""
    import tensorflow as tf

    assert tf.keras.__name__  # touched first, it stays what it is
    monkeypatch.setenv(
        "TF_USE_LEGACY_KERAS", os.environ.get("TF_USE_LEGACY_KERAS", "0")
    )  # restored afterwards
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import tensorflow_model_optimization
    return tensorflow_model_optimization


def small_net():
    layers = tf_keras.layers
    return tf_keras.Sequential(
        [
            tf_keras.Input((8, 8, 3)),
            layers.Conv2D(8, 3, padding="same", use_bias=False),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.Flatten(),
            layers.Dense(4, activation="softmax"),
        ]
    )


@pytest.mark.filterwarnings("ignore")
def test_a_net_from_stock_tfmot_and_tf2onnx_is_refused_and_ours_is_built(tmp_path, monkeypatch):
    import tensorflow as tf
    import tf2onnx

    tfmot = stock_tfmot(monkeypatch)
    model, (x, y) = small_net(), images()
    stock = compiled(tf_keras, tfmot.quantization.keras.quantize_model(model))
    stock.fit(x, y, epochs=1, verbose=0)
    function = tf.function(lambda image: stock(image, training=False))
    proto, _ = tf2onnx.convert.from_function(function, [tf.TensorSpec([None, 8, 8, 3], tf.float32, "image")])
    onnx.save(proto, tmp_path / "stock.onnx")
    with pytest.raises(EngineError) as refusal:
        build(tmp_path / "stock.onnx", batch=2)
    assert "zero point" in str(refusal.value).lower() or "Plugin not found" in str(refusal.value)

    ours = quantize_model(model, calibration_data=x, verbose=0)
    report = export(ours, tmp_path / "ours", compute_capabilities=["SM89"], verbose=0)
    assert report.plans[0]["computes"] == {"int8": 2}
