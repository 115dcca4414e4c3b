"""Loops leave in a form that OpenVINO reads."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir

from keras_trt import load
from keras_trt.exporting.export import export
from keras_trt.onnx_passes.loops.body_outputs import SeparateBodyOutputsPass
from tests.onnx_tools import floats


def test_openvino_runs_recurrent_layers_over_masked_steps(k, tmp_path):
    x = k.Input((6, 4))
    cells = [kind(3, return_sequences=True) for kind in (k.layers.LSTM, k.layers.SimpleRNN)]
    masked = k.layers.Masking()(x)
    model = k.Model(x, k.layers.Concatenate()([k.layers.Bidirectional(cell)(masked) for cell in cells]))
    values = floats(3, 6, 4)
    values[0, 4:] = values[1, 2:4] = values[2, :2] = 0  # at the end, in between, at the start
    export(model, tmp_path / "net", engine=None, verify=False, verbose=0)
    expected = model.predict(values, verbose=0)
    for runner in ("openvino", "onnxruntime"):
        found = load(tmp_path / "net", runner=runner, verbose=0).predict(values, verbose=0)
        np.testing.assert_allclose(found, expected, atol=1e-5, err_msg=runner)


def test_repeated_and_passed_through_outputs_get_an_identity():
    body = """body (int64 i, bool c, float[2] s, float[2] t) => (bool c, float[2] u, float[2] t, float[2] u)
              { u = Add(s, t) }"""
    graph = onnx.parser.parse_model(
        """<ir_version: 9, opset_import: ["": 19]>
           net (float[2] x) => (float[2] a, float[2] b, float[n, 2] all) {
             n = Constant<value = int64 {3}>()
             go = Constant<value = bool {1}>()
             a, b, all = Loop<body = """
        + body
        + """>(n, go, x, x)
           }"""
    )
    model = ir.from_proto(graph)
    assert SeparateBodyOutputsPass()(model).modified
    loop = next(node for node in model.graph if node.op_type == "Loop")
    outputs = loop.attributes["body"].as_graph().outputs
    assert [value.producer().op_type for value in outputs] == ["Identity", "Add", "Identity", "Identity"]
    assert len({value.name for value in outputs}) == 4
    assert not SeparateBodyOutputsPass()(model).modified
