"""Opsets are raised after the fact, unless an operator changed its meaning."""

from __future__ import annotations

import pytest
from onnx_ir.passes import common

from keras_trt.errors import ExportError, InputError
from keras_trt.onnx_passes.opset import OPSETS, RaiseOpsetPass
from tests.onnx_tools import GraphBuilder, floats


@pytest.mark.parametrize("opset", OPSETS)
def test_every_opset_is_valid(opset):
    b = GraphBuilder(x=("batch", 3, 8, 8))
    model = b.finish(b("Relu", b("Conv", "x", floats(4, 3, 3, 3))), opset=17)
    RaiseOpsetPass(opset)(model)
    assert dict(model.opset_imports) == {"": opset}
    common.CheckerPass(full_check=True)(model)


def test_another_opset_is_refused():
    with pytest.raises(InputError, match="from 17 to 24. Received: opset=11"):
        RaiseOpsetPass(11)


def test_an_operator_that_changed_its_meaning_is_named():
    b = GraphBuilder(x=(1, 2, 4, 4), grid=(1, 4, 4, 2))
    model = b.finish(b("GridSample", "x", "grid", mode="bilinear", name="warp"), opset=18)
    RaiseOpsetPass(19)(model)
    with pytest.raises(
        ExportError, match=r"`GridSample` \(node 'warp'\) changed its meaning in opset 20.*opset=19"
    ):
        RaiseOpsetPass(20)(model)
