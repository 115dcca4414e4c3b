"""A graph that TensorRT would refuse is refused here first, with the layer's name."""

from __future__ import annotations

import numpy as np
import pytest

from keras_trt.errors import ExportError
from keras_trt.packing.check_graph import check_graph
from tests.onnx_tools import GraphBuilder, floats


def quantised(scale, zero_point):
    b = GraphBuilder(x=("batch", 4))
    q = b("QuantizeLinear", "x", scale, zero_point, name="dense/QuantizeLinear")
    dq = b("DequantizeLinear", q, scale, zero_point, name="dense/DequantizeLinear")
    return b.finish(b("MatMul", dq, floats(4, 3), name="dense/MatMul"))


def test_a_good_graph_passes():
    check_graph(quantised(np.float32(0.1), np.int8(0)), ["dense"])


@pytest.mark.parametrize(
    ("scale", "zero_point", "message"),
    [
        (0.0, np.int8(0), "scale that is not positive"),
        (np.nan, np.int8(0), "scale that is not positive"),
        (0.1, np.int8(3), "quantised asymmetrically"),
        (0.1, np.uint8(127), "quantised asymmetrically"),
    ],
)
def test_a_quantiser_that_tensorrt_refuses_is_named(scale, zero_point, message):
    with pytest.raises(ExportError, match=f"Layer 'dense'.*{message}"):
        check_graph(quantised(np.float32(scale), zero_point), ["dense"])


def test_an_invalid_graph_is_refused():
    model = quantised(np.float32(0.1), np.int8(0))
    model.graph[0].replace_input_with(0, model.graph[-1].outputs[0])  # a circle
    with pytest.raises(ExportError, match="not valid ONNX"):
        check_graph(model, ["dense"])
