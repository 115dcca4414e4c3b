"""The counts a report shows: multiply-accumulates, int8 share, sparsity."""

from __future__ import annotations

import numpy as np
import pytest

from keras_trt.export.passes.weights import QuantizeWeightsPass
from keras_trt.export.stats import has_two_of_four, int8_share, op_counts, products
from tests.export.onnx_tools import GraphBuilder, floats
from tests.export.passes.test_weights import on_grid


def test_multiply_accumulates_are_counted_for_one_sample():
    b = GraphBuilder(x=("batch", 4, 8, 8))
    y = b("Conv", "x", floats(6, 2, 3, 3), group=2, pads=[1, 1, 1, 1], strides=[2, 2], name="conv/Conv")
    y = b("ConvTranspose", y, floats(6, 5, 2, 2), strides=[2, 2], name="up/ConvTranspose")
    y = b("ReduceMean", y, np.array([2, 3], np.int64), keepdims=0)
    model = b.finish(b("MatMul", y, floats(5, 7), name="dense/MatMul"))
    found = {p.layer: p.macs for p in products(model, ["conv", "up", "dense"])}
    assert found == {"conv": 6 * 4 * 4 * 2 * 9, "up": 6 * 4 * 4 * 5 * 4, "dense": 35}


def test_the_int8_share_counts_arithmetic_not_layers():
    b = GraphBuilder(x=("batch", 4, 8, 8))
    y = b("Conv", b.qdq("x", 0.02), on_grid((8, 4, 1, 1), 0), name="a/Conv")
    model = b.finish(b("Conv", y, floats(24, 8, 1, 1), name="b/Conv"))
    QuantizeWeightsPass(["a", "b"], quantized={"a": 1})(model)
    found = list(products(model, ["a", "b"]))
    assert [p.int8 for p in found] == [True, False]
    assert int8_share(found) == pytest.approx(32 / (32 + 192))
    assert op_counts(model)["Conv"] == 2


def test_two_of_four_runs_along_the_input_channels():
    weight = floats(4, 8, 3, 3)
    weight[:, 0::4] = weight[:, 3::4] = 0
    assert has_two_of_four(weight, 1)
    assert not has_two_of_four(weight, 0)
    assert not has_two_of_four(weight[:, :6], 1)  # no multiple of four
