"""One operator in the place of what computes an activation, however it is written, where the opset has it."""

from __future__ import annotations

import math

import numpy as np
import onnx_ir as ir
import pytest
from onnx_ir.passes import common

from keras_trt.onnx_passes.folding.activations import ActivationsPass
from tests.onnx_tools import GraphBuilder, build, floats, ops, run

F = np.float32


def gelu_of_keras(b, x):
    erf = b("Erf", b("Mul", b("Neg", x), F(math.sqrt(0.5))))
    return b("Mul", b("Mul", F(0.5), x), b("Sub", F(1), erf))


def gelu_of_papers(b, x):
    return b("Mul", F(0.5), b("Mul", x, b("Add", F(1), b("Erf", b("Div", x, F(math.sqrt(2)))))))


def gelu_by_tanh(b, x):
    inner = b("Mul", F(math.sqrt(2 / math.pi)), b("Add", x, b("Mul", F(0.044715), b("Pow", x, F(3)))))
    return b("Mul", b("Mul", F(0.5), x), b("Add", F(1), b("Tanh", inner)))


def gelu_by_tanh_with_cubes(b, x):
    cube = b("Mul", x, b("Mul", x, x))
    inner = b("Mul", F(math.sqrt(2 / math.pi)), b("Add", x, b("Mul", F(0.044715), cube)))
    return b("Mul", x, b("Mul", F(0.5), b("Add", b("Tanh", inner), F(1))))


def hard_swish_of_keras(b, x):
    return b("Mul", x, b("Div", b("Clip", b("Add", x, F(3)), F(0), F(6)), F(6)))


def hard_swish_of_applications(b, x):
    return b("Mul", b("Mul", x, b("Clip", b("Add", x, F(3)), F(0), F(6))), F(1 / 6))


def hard_swish_by_hard_sigmoid(b, x):
    return b("Mul", x, b("HardSigmoid", x, alpha=1 / 6, beta=0.5))


def hard_swish_by_min_and_max(b, x):
    gate = b("Min", b("Max", b("Add", b("Mul", x, F(1 / 6)), F(0.5)), F(0)), F(1))
    return b("Mul", gate, x)


def swish(b, x):
    return b("Mul", x, b("Sigmoid", x))


def swish_as_a_quotient(b, x):
    return b("Div", x, b("Add", F(1), b("Exp", b("Neg", x))))


WAYS = {
    gelu_of_keras: ("Gelu", 20),
    gelu_of_papers: ("Gelu", 20),
    gelu_by_tanh: ("Gelu", 20),
    gelu_by_tanh_with_cubes: ("Gelu", 20),
    hard_swish_of_keras: ("HardSwish", 17),
    hard_swish_of_applications: ("HardSwish", 17),
    hard_swish_by_hard_sigmoid: ("HardSwish", 17),
    hard_swish_by_min_and_max: ("HardSwish", 17),
    swish: ("Swish", 24),
    swish_as_a_quotient: ("Swish", 24),
}


def made(write, opset, shape=("batch", 5, 8)):
    b = GraphBuilder(x=shape)
    return b.finish(write(b, "x"), opset=opset)


def passed(model):
    modified = ActivationsPass()(model).modified
    common.RemoveUnusedNodesPass()(model)
    return modified


@pytest.mark.parametrize("write", WAYS)
def test_every_way_to_write_it_becomes_one_operator(write):
    operator, opset = WAYS[write]
    x = np.concatenate([10 * floats(1, 5, 8), 1e3 * floats(1, 5, 8, seed=1)])
    (before,) = run(made(write, opset), x=x).values()
    model = made(write, opset)
    assert passed(model)
    assert ops(model) == [operator]
    np.testing.assert_allclose(next(iter(run(model, x=x).values())), before, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("write", [w for w, (_, opset) in WAYS.items() if opset > 17])
def test_an_opset_without_it_keeps_what_there_is(write):
    model = made(write, WAYS[write][1] - 1)
    before = ops(model)
    assert not passed(model)
    assert ops(model) == before


@pytest.mark.parametrize("write", [gelu_of_keras, gelu_by_tanh, hard_swish_of_keras, swish])
def test_the_builder_takes_it(write, tmp_path):
    model = made(write, WAYS[write][1])
    passed(model)
    ir.save(model, tmp_path / "model.onnx")
    assert build(tmp_path / "model.onnx").data


def quick_gelu(b, x):
    return b("Mul", x, b("Sigmoid", b("Mul", x, F(1.702))))


def hard_swish_with_another_edge(b, x):
    return b("Mul", x, b("Div", b("Clip", b("Add", x, F(3)), F(0), F(5.99)), F(6)))


def swish_of_a_limited_tensor(b, x):
    return b("Mul", b("Clip", x, F(-50), F(50)), b("Sigmoid", x))


def swish_of_two_tensors(b, x):
    return b("Mul", b("Relu", x), b("Sigmoid", b("Abs", x)))


def swish_over_channels(b, x):
    return b("Mul", x, b("Sigmoid", b("Mul", x, floats(8, seed=2))))


OTHERS = [
    quick_gelu,
    hard_swish_with_another_edge,
    swish_of_a_limited_tensor,
    swish_of_two_tensors,
    swish_over_channels,
]


@pytest.mark.parametrize("write", OTHERS)
def test_another_function_stays(write):
    model = made(write, 24)
    before = ops(model)
    assert not passed(model)
    assert ops(model) == before


def test_what_others_read_in_the_middle_stays_for_them():
    b = GraphBuilder(x=("batch", 8))
    gate = b("Sigmoid", "x")
    model = b.finish(b("Mul", "x", gate), gate, opset=24)
    x = floats(2, 8)
    before = run(model, x=x)
    assert passed(model)
    assert sorted(ops(model)) == ["Sigmoid", "Swish"]
    for name, y in run(model, x=x).items():
        np.testing.assert_allclose(y, before[name], atol=1e-6)


def test_one_tensor_may_have_several():
    b = GraphBuilder(x=("batch", 8))
    model = b.finish(gelu_of_keras(b, "x"), hard_swish_of_keras(b, "x"), opset=20)
    assert passed(model)
    assert sorted(ops(model)) == ["Gelu", "HardSwish"]


def test_a_number_of_more_axes_makes_another_tensor():
    b = GraphBuilder(x=("batch", 8))
    model = b.finish(b("Mul", "x", b("Sigmoid", b("Mul", "x", np.ones((1, 1, 1), "float32")))), opset=24)
    assert not passed(model)
