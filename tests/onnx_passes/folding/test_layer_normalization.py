"""One LayerNormalization in the place of what computes it, however it is written; nothing else is touched."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from onnx_ir.passes import common

from keras_trt.onnx_passes.folding.layer_normalization import LayerNormalizationPass, RMSNormalizationPass
from tests.onnx_tools import GraphBuilder, build, floats, ops, run

EPSILON, LAST = np.float32(1e-3), np.array([-1])
GAMMA, BETA = floats(8, seed=1), floats(8, seed=2)


def centred(b, x, axes=LAST):
    return b("Sub", x, b("ReduceMean", x, axes))


def variance(b, x, axes=LAST):
    c = centred(b, x, axes)
    return b("ReduceMean", b("Mul", c, c), axes)


def deviation(b, x, axes=LAST, epsilon=EPSILON):
    return b("Sqrt", b("Add", variance(b, x, axes), epsilon))


def as_textbooks(b, x):
    return b("Add", b("Mul", b("Div", centred(b, x), deviation(b, x)), GAMMA), BETA)


def as_keras_3(b, x):
    factor = b("Mul", b("Reciprocal", deviation(b, x)), GAMMA.reshape(1, 1, 8))
    shift = b("Add", b("Mul", b("Neg", b("ReduceMean", x, LAST)), factor), BETA.reshape(1, 1, 8))
    return b("Add", b("Mul", x, factor), shift)


def as_tf_keras(b, x):
    factor = b("Mul", b("Reciprocal", deviation(b, x)), GAMMA)
    shift = b("Sub", BETA, b("Mul", b("ReduceMean", x, LAST), factor))
    return b("Add", b("Mul", x, factor), shift)


def by_mean_of_squares(b, x):
    mean, squares = b("ReduceMean", x, LAST), b("ReduceMean", b("Pow", x, np.float32(2)), LAST)
    spread = b("Sub", squares, b("Mul", mean, mean))
    inverse = b("Pow", b("Add", spread, EPSILON), np.float32(-0.5))
    return b("Add", BETA, b("Mul", GAMMA, b("Mul", centred(b, x), inverse)))


def bare(b, x):
    return b("Div", centred(b, x), deviation(b, x))


def over_two_axes(b, x):
    axes = np.array([1, 2])
    factor = b("Div", floats(5, 8, seed=3), deviation(b, x, axes))
    return b("Mul", centred(b, x, axes), factor)


def passed(model):
    common.ShapeInferencePass()(model)
    modified = LayerNormalizationPass()(model).modified
    common.RemoveUnusedNodesPass()(model)
    return modified


def made(write):
    b = GraphBuilder(x=("batch", 5, 8))
    return b.finish(write(b, "x"))


WAYS = [as_textbooks, as_keras_3, as_tf_keras, by_mean_of_squares, bare, over_two_axes]


@pytest.mark.parametrize("write", WAYS)
def test_every_way_to_write_it_becomes_one_operator(write):
    x = 3 * floats(2, 5, 8) + 1
    (before,) = run(made(write), x=x).values()
    model = made(write)
    assert passed(model)
    assert ops(model) == ["LayerNormalization"]
    np.testing.assert_allclose(next(iter(run(model, x=x).values())), before, atol=1e-5)


@pytest.mark.parametrize("write", [as_textbooks, over_two_axes])
def test_the_builder_takes_it(write, tmp_path):
    model = made(write)
    passed(model)
    ir.save(model, tmp_path / "model.onnx")
    assert build(tmp_path / "model.onnx").data


def over_the_first_axes(b, x):
    return b("Div", centred(b, x, np.array([1])), deviation(b, x, np.array([1])))


def of_two_tensors(b, x):
    return b("Div", centred(b, x), deviation(b, b("Relu", x)))


def with_half_the_mean(b, x):
    half = b("Mul", b("ReduceMean", x, LAST), np.float32(0.5))
    return b("Div", b("Sub", x, half), deviation(b, x))


def by_the_root_mean_square(b, x):
    square = b("ReduceMean", b("Mul", x, x), LAST)
    return b("Div", x, b("Sqrt", b("Add", square, EPSILON)))


def by_the_variance(b, x):
    return b("Div", centred(b, x), b("Add", variance(b, x), EPSILON))


@pytest.mark.parametrize(
    "write",
    [over_the_first_axes, of_two_tensors, with_half_the_mean, by_the_root_mean_square, by_the_variance],
)
def test_what_is_another_function_stays(write):
    model = made(write)
    before = ops(model)
    assert not passed(model)
    assert ops(model) == before


def test_factors_that_are_computed_stay_behind_it():
    b = GraphBuilder(x=("batch", 5, 8), style=("batch", 1, 8))
    y = b("Mul", bare(b, "x"), "style")
    model = b.finish(y)
    feeds = {"x": floats(2, 5, 8), "style": floats(2, 1, 8)}
    before = run(model, **feeds)
    assert passed(model)
    assert ops(model) == ["LayerNormalization", "Mul"]
    for name, value in run(model, **feeds).items():
        np.testing.assert_allclose(value, before[name], atol=1e-5)


def test_a_shift_along_other_axes_stays_behind_it():
    b = GraphBuilder(x=("batch", 5, 8))
    model = b.finish(b("Add", as_textbooks(b, "x"), floats(5, 8)))
    assert passed(model)
    assert ops(model) == ["LayerNormalization", "Add"]


def test_values_inside_that_something_else_reads_stay():
    b = GraphBuilder(x=("batch", 5, 8))
    mean = b("ReduceMean", "x", LAST)
    c = b("Sub", "x", mean)
    spread = b("ReduceMean", b("Mul", c, c), LAST)
    model = b.finish(
        b("Mul", c, b("Reciprocal", b("Sqrt", b("Add", spread, EPSILON)))), b("Relu", spread), mean
    )
    x = floats(2, 5, 8)
    before = run(model, x=x)
    assert passed(model)
    assert ops(model).count("LayerNormalization") == 1
    for name, value in run(model, x=x).items():
        np.testing.assert_allclose(value, before[name], atol=1e-5)


def test_one_tensor_normalised_twice_becomes_two_operators():
    b = GraphBuilder(x=("batch", 5, 8))
    model = b.finish(b("Relu", as_textbooks(b, "x")), b("Relu", bare(b, "x")))
    assert passed(model)
    assert sorted(ops(model)) == ["LayerNormalization"] * 2 + ["Relu"] * 2


def test_an_open_axis_cannot_be_normalised_by_it():
    b = GraphBuilder(x=("batch", 5, "width"))
    model = b.finish(b("Relu", bare(b, "x")))
    assert not passed(model)


def with_a_scale(b, x):
    return b("Mul", b("Mul", x, b("Reciprocal", root_mean_square(b, x))), GAMMA)


def with_a_square_by_power(b, x):
    square = b("ReduceMean", b("Pow", x, np.float32(2)), LAST)
    return b("Mul", GAMMA, b("Mul", x, b("Pow", b("Add", square, EPSILON), np.float32(-0.5))))


def root_mean_square(b, x):
    return b("Sqrt", b("Add", b("ReduceMean", b("Mul", x, x), LAST), EPSILON))


@pytest.mark.parametrize("write", [by_the_root_mean_square, with_a_scale, with_a_square_by_power])
def test_the_root_mean_square_is_one_operator_from_opset_23(write, tmp_path):
    for opset, operators in ((22, None), (23, ["RMSNormalization"])):
        b = GraphBuilder(x=("batch", 5, 8))
        model = b.finish(write(b, "x"), opset=opset)
        before, x = ops(model), 3 * floats(2, 5, 8) + 1
        assert RMSNormalizationPass()(model).modified == (operators is not None)
        common.RemoveUnusedNodesPass()(model)
        assert ops(model) == (operators or before)
    mean = np.mean(x.astype(np.float64) ** 2, axis=-1, keepdims=True)
    gamma = 1 if write is by_the_root_mean_square else GAMMA
    np.testing.assert_allclose(
        next(iter(run(model, x=x).values())), x / np.sqrt(mean + EPSILON) * gamma, atol=1e-5
    )
    ir.save(model, tmp_path / "model.onnx")
    assert build(tmp_path / "model.onnx").data


def test_a_shift_behind_the_root_mean_square_stays_an_addition():
    b = GraphBuilder(x=("batch", 5, 8))
    model = b.finish(b("Add", with_a_scale(b, "x"), BETA), opset=23)
    assert RMSNormalizationPass()(model).modified
    common.RemoveUnusedNodesPass()(model)
    assert ops(model) == ["RMSNormalization", "Add"]


@pytest.mark.parametrize("write", [as_keras_3, by_mean_of_squares])
def test_a_mean_taken_off_is_no_root_mean_square(write):
    model = made(write)
    model.opset_imports[""] = 23
    RMSNormalizationPass()(model)
    assert "RMSNormalization" not in ops(model)
