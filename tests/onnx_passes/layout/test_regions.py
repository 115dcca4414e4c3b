"""Arithmetic between convolutions takes their order of axes, and computes what it did."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from onnx_ir.passes import common

from keras_trt import export, load
from keras_trt.onnx_passes.layout.regions import MoveRegionsPass
from keras_trt.onnx_passes.simplify import SimplifyPass
from keras_trt.quantize import quantize_model
from tests.onnx_tools import GraphBuilder, build, floats, ops, run

NHWC, NCHW = [0, 2, 3, 1], [0, 3, 1, 2]


def between(k, name):
    """What stands between two convolutions of NHWC images (16, 16, 8)."""
    import tensorflow as tf

    L = k.layers
    return {
        "times": lambda x: x * (1 / 6),
        "divided": lambda x: x / 6.0,
        "channels": lambda x: x * tf.range(8, dtype="float32") - tf.ones((1, 16, 1)),
        "hard_sigmoid": L.Activation("hard_sigmoid"),
        "prelu": L.PReLU(shared_axes=[1, 2], alpha_initializer="uniform"),
        "split": lambda x: tf.concat(tf.split(x, [2, 6], axis=-1)[::-1], axis=-1),
        "slices": lambda x: tf.concat([x[..., :3], x[..., 3:] * 2.0], axis=-1),
        "cropped": lambda x: tf.image.pad_to_bounding_box(
            tf.image.crop_to_bounding_box(x, 0, 1, 16, 15), 0, 0, 16, 16
        ),
        "columns": lambda x: tf.concat([x[:, ::2], x[:, 1::2]], axis=2),
        "pad": lambda x: tf.pad(x, [[0, 0], [1, 2], [3, 0], [0, 0]]),
        "nearest": L.UpSampling2D((2, 3)),
        "softmax": L.Softmax(axis=-1),
        "mean": lambda x: x - tf.reduce_mean(x, axis=[1, 2], keepdims=True),
        "branches": lambda x: tf.where(x > 0, x, tf.tanh(x)) + tf.maximum(x, 0.2),
        "tiled": lambda x: tf.tile(x, [1, 2, 1, 1]),
        "groups": L.GroupNormalization(2, gamma_initializer="uniform"),
        "layer": L.LayerNormalization(gamma_initializer="uniform"),
        "excited": lambda x: x * tf.sigmoid(tf.reduce_mean(x, [1, 2]))[:, None, None, :],
        "brightest": lambda x: x * tf.reduce_max(x, -1)[..., None],
        "rows": lambda x: x + tf.reduce_mean(x, 1)[:, None],
        "spatial": lambda x: tf.reshape(tf.nn.softmax(tf.reshape(x, (-1, 256, 8)), 1), (-1, 16, 16, 8)) * x,
        "stacked": lambda x: tf.reduce_sum(tf.stack([x, x * 2.0], -1), -1),
        "gathered": lambda x: tf.gather(x, [1, 0, 3, 2, 5, 4, 7, 6], axis=-1),
        "summed": lambda x: tf.cumsum(x, 2),
        "dense": L.Dense(8, activation="gelu"),
        "product": lambda x: tf.einsum("bhwc,cd->bhwd", x, tf.reshape(tf.range(64, dtype="float32"), (8, 8))),
        "reversed": lambda x: tf.reverse(x, [1, -1]),
        "rolled": lambda x: tf.roll(x, [3, -21], [1, 2]),
        "mirrored": lambda x: tf.pad(x, [[0, 0], [1, 2], [3, 0], [0, 0]], "SYMMETRIC"),
        "chosen": lambda x: x * tf.one_hot(tf.argmax(x, -1), 8),
        "broadcast": lambda x: x + tf.broadcast_to(tf.reduce_mean(x, [1, 2], keepdims=True), tf.shape(x)),
        "pooled": lambda x: tf.concat([x, tf.broadcast_to(x[:, :1, :1], tf.shape(x))], axis=-1),
        "doubled": lambda x: tf.image.resize(x, 2 * tf.shape(x)[1:3]),
        "largest": lambda x: x - tf.math.top_k(x, 3).values[..., -1:],
    }[name]


NAMES = [
    "times",
    "divided",
    "channels",
    "hard_sigmoid",
    "prelu",
    "split",
    "slices",
    "cropped",
    "columns",
    "pad",
    "nearest",
]
NAMES += [
    "softmax",
    "mean",
    "branches",
    "tiled",
    "groups",
    "layer",
    "excited",
    "brightest",
    "rows",
    "spatial",
]
NAMES += ["stacked", "gathered", "summed", "dense", "product", "reversed", "rolled", "mirrored"]
NAMES += ["chosen", "broadcast", "pooled", "doubled", "largest"]


@pytest.mark.parametrize("name", NAMES)
def test_one_transpose_is_left_for_the_image(k, name, tmp_path):
    made = between(k, name)
    layer = made if isinstance(made, k.layers.Layer) else k.layers.Lambda(made, name="between")
    x = k.Input((16, 16, 8))
    y = k.layers.Conv2D(8, 3, padding="same")(layer(k.layers.Conv2D(8, 3, padding="same")(x)))
    model = k.Model(x, k.layers.GlobalAveragePooling2D()(y))
    report = export(model, tmp_path / "net", engine=None, verbose=0)
    assert report.operators["Transpose"] == 1
    values = floats(3, 16, 16, 8)
    for runner in ("openvino", "onnxruntime"):
        found = load(tmp_path / "net", runner=runner, verbose=0).predict(values, verbose=0)
        np.testing.assert_allclose(found, model.predict(values, verbose=0), atol=1e-5, err_msg=runner)
    build(tmp_path / "net" / "model.onnx")


@pytest.mark.parametrize("padding", ["same", "causal"])
def test_normalised_convolutions_of_sequences_keep_one_transpose(k, padding, tmp_path):
    """Regions side by side, with Transposes between them, would only change places if both were moved."""
    L = k.layers
    x = y = k.Input((12, 4))
    for dilation in (1, 2):
        y = L.Conv1D(4, 3, padding=padding, dilation_rate=dilation)(y)
        y = L.ReLU()(L.LayerNormalization(gamma_initializer="uniform")(y))
    model = k.Model(x, L.Dense(2)(L.GlobalAveragePooling1D()(L.Add()([x, y]))))
    report = export(model, tmp_path / "net", engine=None, verbose=0)
    assert report.operators["Transpose"] == 1
    data = floats(3, 12, 4)
    engine = load(tmp_path / "net", runner="onnxruntime", verbose=0)
    np.testing.assert_allclose(engine.predict(data), model.predict(data, verbose=0), atol=1e-5)


def test_int8_stays_int8_in_the_other_order(k, tmp_path):
    x = k.Input((16, 16, 8))
    y = k.layers.Conv2D(8, 3, padding="same", name="a")(x)
    y = k.layers.Conv2D(8, 3, padding="same", name="b")(k.layers.UpSampling2D()(k.layers.ReLU()(y * 0.3)))
    values = floats(8, 16, 16, 8)
    model = quantize_model(
        k.Model(x, k.layers.GlobalAveragePooling2D()(y)), calibration_data=values, verbose=0
    )
    report = export(model, tmp_path / "net", engine=None, verbose=0)
    assert (report.int8_mac_share, report.operators["Transpose"]) == (1.0, 1)


def test_an_int8_dense_on_images_is_a_convolution(k, tmp_path):
    x = k.Input((16, 16, 8))
    y = k.layers.Conv2D(8, 3, padding="same")(x)
    y = k.layers.Dense(6, bias_initializer="uniform")(k.layers.Dense(16, activation="relu")(y))
    values = floats(8, 16, 16, 8)
    model = k.Model(x, k.layers.Conv2D(4, 3, name="last")(y))
    model = quantize_model(model, calibration_data=values, verbose=0)
    report = export(model, tmp_path / "net", engine=None, verbose=0)
    kinds = [report.operators.get(kind, 0) for kind in ("Conv", "MatMul", "Transpose")]
    assert (report.int8_mac_share, kinds) == (1.0, [4, 0, 2])
    expected = model.predict(values, verbose=0)
    for runner in ("openvino", "onnxruntime"):
        found = load(tmp_path / "net", runner=runner, verbose=0).predict(values, verbose=0)
        off = np.linalg.norm(found - expected) / np.linalg.norm(expected)
        assert off < 0.02, runner  # values on a border are rounded up or down
    build(tmp_path / "net" / "model.onnx")


def test_blocks_of_int4_weights_stay_matrices(k, tmp_path):
    x = k.Input((16, 16, 8))
    y = k.layers.Dense(16, name="middle")(k.layers.Conv2D(64, 3, padding="same", name="first")(x))
    model = k.Model(x, k.layers.Conv2D(8, 3, name="last")(y))
    model = quantize_model(model, "int4-weights", skip=["first", "last"], verbose=0)
    report = export(model, tmp_path / "net", engine=None, verbose=0)
    assert report.operators["MatMul"] == 1


@pytest.mark.parametrize("scheme", ["int8", "int8-weights"])
def test_quantised_layers_of_zeros_stay_layers(k, scheme, tmp_path):
    """Behind a normalisation that starts at zero, and by an initializer, as residual branches often begin."""
    x = k.Input((8, 8, 8))
    y = k.layers.Conv2D(8, 3, padding="same", use_bias=False, name="conv")(x)
    y = k.layers.BatchNormalization(gamma_initializer="zeros")(y)
    y = k.layers.Dense(8, use_bias=False, kernel_initializer="zeros", name="dense")(y + x) + x
    model = k.Model(x, k.layers.Conv2D(4, 3, name="last")(y))
    values = floats(4, 8, 8, 8)
    model = quantize_model(model, scheme, calibration_data=None if "-" in scheme else values, verbose=0)
    report = export(model, tmp_path / "net", engine=None, verbose=0)
    assert report.operators["Conv"] == 3
    found = load(tmp_path / "net", runner="onnxruntime", verbose=0).predict(values, verbose=0)
    expected = model.predict(values, verbose=0)
    assert np.linalg.norm(found - expected) < 0.02 * np.linalg.norm(expected)
    build(tmp_path / "net" / "model.onnx")


def moved(model, channels=3):
    """The model after the passes that the rewrite works with, and whether it answers as before."""
    common.ShapeInferencePass()(model)
    x = floats(2, channels, 5, 4)
    before = run(model, x=x)
    for _ in range(3):
        MoveRegionsPass()(model)
        SimplifyPass()(model)
    common.RemoveUnusedNodesPass()(model)
    for name, value in run(model, x=x).items():
        np.testing.assert_allclose(value, before[name], rtol=1e-6, err_msg=name)
    return model


def test_shuffled_channels_keep_one_transpose():
    b = GraphBuilder(x=("batch", 6, 5, 4))
    y = b("Relu", b("Transpose", "x", perm=NHWC, name="t"), name="relu")
    y = b("Reshape", y, np.int64([-1, 5, 4, 2, 3]), name="split")
    y = b("Transpose", y, perm=[0, 1, 2, 4, 3], name="shuffle")
    y = b("Reshape", y, np.int64([-1, 5, 4, 6]), name="merge")
    model = moved(b.finish(b("Transpose", b("Relu", y, name="relu2"), perm=NCHW, name="back")), channels=6)
    assert ops(model).count("Transpose") == 1


def test_axes_that_lie_apart_are_not_merged():
    b = GraphBuilder(x=("batch", 3, 5, 4))
    y = b("Relu", b("Transpose", "x", perm=NHWC, name="t"), name="relu")
    y = b("Reshape", y, np.int64([-1, 5, 12]), name="columns")  # of width and channels
    model = moved(b.finish(b("Softmax", y, axis=-1, name="softmax")))
    assert ops(model).count("Transpose") == 1


def test_a_region_is_left_where_a_move_would_not_pay():
    b = GraphBuilder(x=("batch", 3, 5, 4))
    y = b("Relu", b("Transpose", "x", perm=NHWC, name="t"), name="relu")
    model = moved(b.finish(y, b("Softmax", y, axis=-1, name="softmax")))
    assert ops(model).count("Transpose") == 1


def test_a_tensor_that_others_read_in_the_old_order_keeps_one_transpose():
    b = GraphBuilder(x=("batch", 3, 5, 4))
    y = b("Mul", b("Transpose", "x", perm=NHWC, name="t"), floats(3), name="mul")
    first, second = (b("Transpose", b(op, y, name=op), perm=NCHW, name=f"t_{op}") for op in ("Relu", "Neg"))
    model = moved(b.finish(first, second, y))
    assert ops(model).count("Transpose") == 1


def test_another_order_comes_and_goes():
    b = GraphBuilder(x=("batch", 3, 5, 4))
    y = b("Add", b("Transpose", "x", perm=[2, 0, 3, 1], name="t"), floats(4, 3), name="add")
    model = moved(b.finish(b("Transpose", b("Exp", y, name="exp"), perm=[1, 3, 0, 2], name="back")))
    assert "Transpose" not in ops(model)


def test_a_reshape_that_moves_axes_of_size_one_counts_as_a_transpose():
    b = GraphBuilder(x=("batch", 3, 5, 4))
    y = b("ReduceMean", "x", np.int64([2, 3]), keepdims=1, name="mean")
    y = b("Relu", b("Reshape", y, np.int64([-1, 1, 1, 3]), name="there"), name="relu")
    y = b("Reshape", b("Mul", y, floats(3), name="mul"), np.int64([-1, 3, 1, 1]), name="back")
    assert not {"Transpose", "Reshape"} & set(ops(moved(b.finish(b("Mul", "x", y)))))


@pytest.mark.parametrize("dtype", [np.int32, np.int64])
def test_shapes_are_those_of_the_new_order(dtype):
    b = GraphBuilder(x=("batch", 3, 5, 4))
    y = b("Slice", b("Transpose", "x", perm=NHWC, name="t"), dtype([0, 1]), dtype([1, 4]), name="cut")
    model = moved(b.finish(b("Transpose", y, perm=NCHW, name="back")))
    cut = next(node for node in model.graph if node.op_type == "Slice")
    assert isinstance(model, ir.Model) and list(cut.outputs[0].shape)[1:] == [3, 3, 4]


def test_a_slice_of_a_number_of_axes_that_the_data_gives_is_left():
    b = GraphBuilder(x=("batch", 3, 5, 4), starts=("axes",))
    starts = b("Cast", "starts", to=ir.DataType.INT64, name="numbers")
    image, ends = b("Transpose", "x", perm=NHWC, name="t"), b("Neg", starts, name="ends")
    y = b("Slice", image, starts, ends, name="cut")
    model = b.finish(b("Transpose", y, perm=NCHW, name="back"))
    common.ShapeInferencePass()(model)
    MoveRegionsPass()(model)
    assert ops(model).count("Transpose") == 2
