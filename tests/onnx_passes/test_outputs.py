"""Outputs stay apart, each under its name."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from keras_trt.onnx_passes.outputs import SeparateOutputsPass
from tests.onnx_tools import GraphBuilder, run


def test_one_tensor_that_is_two_outputs_gets_a_copy():
    b = GraphBuilder(x=("batch", 3))
    model = b.finish(b("Relu", "x"))
    model.graph.outputs.append(model.graph.outputs[0])
    SeparateOutputsPass({"a": ("batch", 3), "b": ("batch", 3)})(model)
    x = np.array([[1.0, -2.0, 3.0]], np.float32)
    found = run(ir.to_proto(model), x=x)
    assert list(found) == ["a", "b"]
    np.testing.assert_array_equal(found["a"], np.maximum(x, 0))
    np.testing.assert_array_equal(found["b"], found["a"])


def test_outputs_that_differ_stay_as_they_are():
    b = GraphBuilder(x=("batch", 3))
    model = b.finish(b("Relu", "x"), b("Neg", "x"))
    SeparateOutputsPass({"p": ("batch", 3), "q": None})(model)
    assert [node.op_type for node in model.graph] == ["Relu", "Neg"]
    assert [value.name for value in model.graph.outputs] == ["p", "q"]


def test_an_output_that_is_an_inner_tensor_now_keeps_the_names_of_its_axes():
    b = GraphBuilder(x=("batch", 3))
    model = b.finish(b("Relu", "x"))
    model.graph.outputs[0].shape = ir.Shape(["unk__16", 3])
    SeparateOutputsPass({"a": ("batch", 3)})(model)
    assert model.graph.outputs[0].shape == ir.Shape(["batch", 3])
