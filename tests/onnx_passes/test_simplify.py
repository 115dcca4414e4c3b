"""Nodes that change nothing go; the numbers stay exactly."""

from __future__ import annotations

import numpy as np
import pytest

from keras_trt.onnx_passes.simplify import SimplifyPass
from tests.onnx_tools import GraphBuilder, floats, ops, run


def simplified(model, **feeds):
    before = run(model, **feeds)
    SimplifyPass()(model)
    after = run(model, **feeds)
    for name in before:
        np.testing.assert_array_equal(after[name], before[name])
    return ops(model)


@pytest.mark.parametrize(("op", "value"), [("Mul", 1.0), ("Div", 1.0), ("Add", 0.0), ("Sub", 0.0)])
def test_neutral_arithmetic_goes(op, value):
    b = GraphBuilder(x=("batch", 4))
    model = b.finish(b("Relu", b(op, "x", np.float32(value))))
    assert simplified(model, x=floats(2, 4)) == ["Relu"]


@pytest.mark.parametrize(("op", "array"), [("Mul", np.ones((3, 1, 1), np.float32)), ("Sub", np.float32(1.0))])
def test_arithmetic_that_changes_shape_or_values_stays(op, array):
    b = GraphBuilder(x=("batch", 4))
    assert op in simplified(b.finish(b("Relu", b(op, "x", array))), x=floats(1, 4))


def test_zero_minus_x_is_not_neutral():
    b = GraphBuilder(x=("batch", 4))
    assert simplified(b.finish(b("Sub", np.float32(0.0), "x")), x=floats(2, 4)) == ["Sub"]


def test_transposes_and_reshapes_in_a_row_become_one():
    b = GraphBuilder(x=(2, 3, 4))
    y = b("Transpose", b("Transpose", "x", perm=[0, 2, 1]), perm=[1, 0, 2])
    y = b("Reshape", b("Reshape", y, np.array([4, 6], np.int64)), np.array([2, 12], np.int64))
    assert simplified(b.finish(y), x=floats(2, 3, 4)) == ["Transpose", "Reshape"]


def test_transposes_that_undo_each_other_go():
    b = GraphBuilder(x=(2, 3, 4))
    y = b("Transpose", b("Transpose", "x", perm=[1, 2, 0]), perm=[2, 0, 1])
    assert simplified(b.finish(b("Relu", y)), x=floats(2, 3, 4)) == ["Relu"]


def test_a_cast_to_the_same_type_goes():
    b = GraphBuilder(x=("batch", 4))
    assert simplified(b.finish(b("Relu", b("Cast", "x", to=1))), x=floats(2, 4)) == ["Relu"]


def test_an_output_keeps_its_name():
    b = GraphBuilder(x=("batch", 4))
    y = b("Mul", b("Relu", "x"), np.float32(1.0))
    y.name = "y"
    model = b.finish(y)
    assert simplified(model, x=floats(2, 4)) == ["Relu"]
    assert [o.name for o in model.graph.outputs] == ["y"]


def test_nearest_upsampling_uses_coordinates_that_tensorrt_has():
    b = GraphBuilder(x=(1, 2, 3, 3))
    options = {"mode": "nearest", "coordinate_transformation_mode": "tf_half_pixel_for_nn"}
    y = b("Resize", "x", None, np.array([1, 1, 2, 3], np.float32), nearest_mode="floor", **options)
    model = b.finish(y)
    simplified(model, x=floats(1, 2, 3, 3))
    assert model.graph[0].attributes["coordinate_transformation_mode"].as_string() == "asymmetric"


def test_one_minus_a_boolean_is_its_negation():
    b = GraphBuilder(x=("batch", 4))
    mask = b("Cast", b("Greater", "x", np.float32(0.0)), to=1)
    found = simplified(b.finish(b("Mul", b("Sub", np.float32(1.0), mask), np.float32(-9.0))), x=floats(2, 4))
    assert "Sub" not in found and "Not" in found


@pytest.mark.parametrize("minuend", [2.0, [1.0, 1.0, 1.0, 1.0]])
def test_another_number_minus_a_boolean_stays(minuend):
    b = GraphBuilder(x=("batch", 4))
    mask = b("Cast", b("Greater", "x", np.float32(0.0)), to=1)
    assert "Sub" in simplified(b.finish(b("Sub", np.array(minuend, np.float32), mask)), x=floats(2, 4))


def test_the_shape_of_a_transposed_tensor_needs_no_transpose():
    b = GraphBuilder(x=("batch", 3, 4))
    shape = b("Shape", b("Transpose", "x", perm=[1, 2, 0]))
    assert simplified(b.finish(shape), x=floats(2, 3, 4)) == ["Shape", "Gather"]


def test_a_piece_of_a_shape_stays():
    b = GraphBuilder(x=("batch", 3, 4))
    shape = b("Shape", b("Transpose", "x", perm=[1, 2, 0]), start=1)
    assert simplified(b.finish(shape), x=floats(2, 3, 4)) == ["Transpose", "Shape"]


def test_a_product_becomes_a_scalar_over_one_element():
    b = GraphBuilder(x=(1, 4), y=(4, 1))
    product = b("MatMul", "x", "y")
    scalar = b("Reshape", product, np.array([], np.int64))
    model = b.finish(b("Add", scalar, "x"))
    assert simplified(model, x=floats(1, 4), y=floats(4, 1)) == ["MatMul", "Reshape", "Squeeze", "Add"]
