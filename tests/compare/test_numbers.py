"""What counts as equal to Keras, and how int8 is compared."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from keras_trt.compare.numbers import compare, without_activation_rounding, without_rounding
from keras_trt.errors import ExportError
from tests.onnx_tools import GraphBuilder, floats, ops, run


def int8_net():
    """Conv with int8 weights per channel, on a rounded input; a second one on its rounded output."""
    b = GraphBuilder(x=("batch", 4, 6, 6))

    def conv(x, out, channels):
        weight = np.random.default_rng(out).integers(-127, 128, (out, channels, 3, 3)).astype(np.int8)
        scale = np.linspace(0.001, 0.002, out, dtype=np.float32)
        dq = b("DequantizeLinear", weight, scale, np.zeros(out, np.int8), axis=0)
        return b("Conv", b.qdq(x, 0.05), dq)

    return ir.to_proto(b.finish(conv(b("Relu", conv("x", 8, 4)), 5, 8)))


def test_the_graph_without_rounding_has_no_quantisers_and_the_same_weights():
    x = floats(2, 4, 6, 6)
    rounded = run(int8_net(), x=x)
    graph = without_rounding(int8_net())
    assert ops(graph) == ["Conv", "Relu", "Conv"]
    (name,) = rounded
    (difference,) = compare(rounded, run(graph, x=x), dict.fromkeys(rounded, 0.1))
    assert 1e-4 < difference.relative < 0.1
    on_the_grid = np.rint(x / 0.05).astype(np.float32) * np.float32(0.05)
    first = without_rounding(int8_net())
    first.graph.output[0].name = first.graph.node[0].output[0]
    full = int8_net()
    full.graph.output[0].name = next(n.output[0] for n in full.graph.node if n.op_type == "Conv")
    np.testing.assert_allclose(
        *(next(iter(run(g, x=on_the_grid).values())) for g in (full, first)), rtol=1e-5, atol=1e-5
    )
    assert name == graph.graph.output[0].name


def test_int8_weights_may_stay_where_only_activations_are_not_to_be_rounded(rng):
    x = rng.normal(size=(2, 4, 6, 6)).astype(np.float32)
    graph = without_activation_rounding(int8_net())
    assert ops(graph) == ["DequantizeLinear", "Conv", "Relu", "DequantizeLinear", "Conv"]
    (y,), (expected,) = (run(g, x=x).values() for g in (graph, without_rounding(int8_net())))
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-5)


def test_the_output_farthest_beyond_what_is_allowed_comes_first():
    ones = np.ones(100, np.float32)
    found = compare({"a": ones, "b": ones}, {"a": ones * 1.5, "b": ones * 1.2}, {"a": 0.6, "b": 0.1})
    assert [(d.output, d.diverges) for d in found] == [("b", True), ("a", False)]
    assert str(found[0]) == "output 'b' by 20.00% (largest difference 0.2; 10.00% is allowed)"


def test_another_shape_is_an_error():
    with pytest.raises(ExportError, match=r"Output 'a' .* has shape \(3,\), in Keras \(2,\)"):
        compare({"a": np.ones(2)}, {"a": np.ones(3)}, {"a": 1.0})
