"""Zero padding becomes that of the convolution or pool behind it, and no number changes."""

from __future__ import annotations

import numpy as np
import pytest

from keras_trt.onnx_passes.folding.fold_pad import FoldPadPass
from tests.onnx_passes.quantized.test_qdq import apply
from tests.onnx_tools import GraphBuilder, build_ir, floats

PADS = np.array([0, 0, 1, 1, 0, 0, 1, 1], np.int64)


@pytest.mark.parametrize("positive", [True, False])
def test_a_zero_pad_before_a_max_pool_is_folded_when_no_value_is_negative(positive):
    b = GraphBuilder(x=("batch", 3, 8, 8))
    y = b("Relu" if positive else "Tanh", "x")
    model = b.finish(b("MaxPool", b("Pad", y, PADS), kernel_shape=[3, 3], strides=[2, 2]))
    found = apply(FoldPadPass(), model, x=floats(2, 3, 8, 8) - 2)
    assert ("Pad" in found) is not positive


@pytest.mark.parametrize("where", ["before Q", "after DQ", "no Q/DQ"])
def test_a_zero_pad_becomes_the_convs_own(where, tmp_path):
    b = GraphBuilder(x=("batch", 3, 8, 8))
    y = b.inputs["x"]
    if where == "before Q":
        y = b.qdq(b("Pad", y, PADS), 0.02)
    elif where == "after DQ":
        y = b("Pad", b.qdq(y, 0.02), PADS)
    else:
        y = b("Pad", y, PADS)
    model = b.finish(b("Conv", y, floats(4, 3, 3, 3), pads=[1, 0, 1, 0], strides=[2, 2]))
    assert "Pad" not in apply(FoldPadPass(), model, x=floats(2, 3, 8, 8))
    assert list(model.graph[-1].attributes["pads"].as_ints()) == [2, 1, 2, 1]
    build_ir(model, tmp_path)


@pytest.mark.parametrize("case", ["value", "reflect", "channels", "second user"])
def test_other_pads_stay(case):
    b = GraphBuilder(x=("batch", 3, 8, 8))
    pads = np.array([0, 1, 0, 0, 0, 0, 0, 0], np.int64) if case == "channels" else PADS
    value = [np.float32(1.0)] if case == "value" else []
    padded = b("Pad", "x", pads, *value, mode="reflect" if case == "reflect" else "constant")
    conv = b("Conv", padded, floats(4, 4 if case == "channels" else 3, 3, 3))
    outputs = [conv, b("Relu", padded)] if case == "second user" else [conv]
    found = apply(FoldPadPass(), b.finish(*outputs), x=floats(2, 3, 8, 8))
    assert "Pad" in found
