"""tf2onnx leaves no trace in the process, and our handlers hold for one conversion."""

from __future__ import annotations

import copy
import logging
from types import SimpleNamespace

import numpy as np
import onnx_ir as ir
import pytest
import tensorflow as tf

from keras_trt.convert.convert import convert
from keras_trt.convert.handlers import HANDLERS
from keras_trt.convert.tf2onnx_seam import as_before
from keras_trt.trace.trace import trace
from tests.onnx_tools import build_ir, floats, ops, run


def registered():
    import tf2onnx.tfonnx  # noqa: F401 - fills the registry
    from tf2onnx.handler import tf_op

    return {domain: [sorted(v) for v in versions] for domain, versions in tf_op.get_opsets().items()}


def gelu_net(k):
    return k.Sequential([k.Input((3,), name="x"), k.layers.Activation("gelu", name="y")])


def test_gelu_is_converted_and_nothing_stays_registered(k):
    before = copy.deepcopy(registered())
    model = convert(trace(gelu_net(k)))
    assert registered() == before
    assert not {"Erfc"} & set(ops(model))
    x = np.linspace(-3, 3, 9, dtype=np.float32).reshape(3, 3)
    np.testing.assert_allclose(run(model, x=x)["y"], gelu_net(k)(x), atol=1e-6)


def test_handlers_go_even_after_an_error():
    from tf2onnx.handler import tf_op

    before = copy.deepcopy(registered())
    with pytest.raises(KeyboardInterrupt), as_before():
        tf_op("Ours", domain="ai.onnx.converters.tensorflow").register_compat_handler(HANDLERS, 1)
        tf_op.create_mapping(18, None)
        raise KeyboardInterrupt
    assert registered() == before
    assert "Ours" not in (tf_op._MAPPING or {})


def test_tf2onnx_is_quiet_and_its_logger_restored(k, capfd):
    logger = logging.getLogger("tf2onnx")
    logger.setLevel(logging.INFO)
    try:
        convert(trace(gelu_net(k)))
        assert logger.level == logging.INFO
    finally:
        logger.setLevel(logging.NOTSET)
    assert "tf2onnx" not in capfd.readouterr().err


def test_inputs_and_outputs_bear_keras_names_even_where_the_graph_uses_them(k):
    x = k.Input((3,), name="x")
    model = convert(trace(k.Model(x, [k.layers.ReLU(name="y")(x), x])))
    assert [v.name for v in model.graph.inputs] == ["x"]
    assert [v.name for v in model.graph.outputs] == ["y", "x_1"]
    found = run(model, x=np.float32([[-1, 0, 2]]))
    np.testing.assert_array_equal(found["y"], [[0, 0, 2]])
    np.testing.assert_array_equal(found["x_1"], [[-1, 0, 2]])


def test_an_input_that_nothing_reads_stays(k):
    x, unused = k.Input((3,), name="x"), k.Input((2,), name="unused")
    try:
        keras_model = k.Model([x, unused], k.layers.ReLU(name="y")(x))
    except ValueError as e:
        pytest.skip(f"this Keras refuses such a model: {e}")
    model = convert(trace(keras_model))
    assert [v.name for v in model.graph.inputs] == ["x", "unused"]


def test_a_square_in_another_layout_keeps_its_shape(k):
    """LayerNormalization squares in Keras 3; of one pixel a wrong Reshape was made, and an outer product."""
    layers = k.layers
    x = np.random.default_rng(0).random((4, 1, 1, 8), np.float32)
    for convolution in (layers.Conv2D(8, 3, padding="same"), layers.DepthwiseConv2D(3, padding="same")):
        net = k.Sequential([k.Input((1, 1, 8), name="x"), convolution, layers.LayerNormalization(name="y")])
        found = run(convert(trace(net)), x=x)["y"]
        np.testing.assert_allclose(found, net(x), atol=1e-5)


def test_an_axis_taken_and_axes_made_at_once_behind_a_convolution_of_a_sequence(k, rng):
    """The gate of efficient channel attention: tf2onnx gave the Slice the shape of the Squeeze behind it."""
    import tensorflow as tf

    class Gate(k.layers.Layer):
        def call(self, x):
            return tf.sigmoid(x)[:, None, None, :, 0]

        def compute_output_shape(self, shape):
            return (shape[0], 1, 1, shape[1])

    sequence = k.Input((4, 1), name="x")
    model = k.Model(sequence, Gate(name="gate")(k.layers.Conv1D(1, 3, padding="same")(sequence)))
    x = rng.standard_normal((2, 4, 1)).astype("float32")
    found = run(convert(trace(model)), x=x)["gate"]
    np.testing.assert_allclose(found, np.asarray(model(x)), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "dtypes",
    [
        ("int32", "bool"),
        ("int32", "int8", "bool"),
        ("float16", "float32"),
        ("int64", "float32", "int64"),
        ("float16", "bool", "float32"),
        ("float32", "int32", "float32"),
        ("float64", "float32"),
    ],
    ids=" ".join,
)
def test_of_casts_in_a_row_none_is_dropped_that_changes_numbers(k, dtypes):
    class Casts(k.layers.Layer):
        def call(self, x):
            for dtype in dtypes:
                x = tf.cast(x, dtype)
            return x

    keras_model = k.Sequential([k.Input((4,), name="x"), Casts(name="y", dtype="float32")])
    x = np.float32([[0.5, -0.3, 1e-8, 2.7], [16777217, 256, 40000.123, 0]])
    found = run(convert(trace(keras_model)), x=x)["y"]
    np.testing.assert_array_equal(found, keras_model(x))


def narrow(k, factor=None):
    """A model that casts its input to bfloat16 and back, times a factor between."""

    class Narrow(k.layers.Layer):
        def call(self, x):
            x = tf.cast(x, "bfloat16")
            return tf.cast(x if factor is None else x * tf.cast(factor, "bfloat16"), "float32")

        def compute_output_shape(self, shape):
            return shape

    x = k.Input((8,), name="x")
    return k.Model(x, Narrow(name="y")(x))


def test_casts_to_bfloat16_are_no_casts_to_float16(k):
    from tf2onnx import tf_utils

    before = dict(tf_utils.TF_TO_ONNX_DTYPE)
    model, x = narrow(k), floats(4, 8) * 1e6  # beyond what float16 holds
    np.testing.assert_array_equal(run(convert(trace(model)), x=x)["y"], model.predict(x, verbose=0))
    assert before == tf_utils.TF_TO_ONNX_DTYPE


def test_products_in_bfloat16_are_what_tensorrt_takes(k, tmp_path):
    graph = convert(trace(narrow(k, factor=1.1)))
    casts = [node.attributes["to"].as_int() for node in graph.graph if node.op_type == "Cast"]
    assert casts == [ir.DataType.BFLOAT16, ir.DataType.FLOAT]
    build_ir(graph, tmp_path)


def test_a_reshape_that_makes_an_output_is_left_to_the_passes_behind():
    """tf2onnx drops the Squeeze that it puts behind one, where an Identity does not stand there by chance."""
    from keras_trt.convert.tf2onnx_seam import _inner_reshapes

    node, graph = SimpleNamespace(output=["y"]), SimpleNamespace(outputs=["y"])
    assert _inner_reshapes()()._optimize_reshape(node, graph) is False
