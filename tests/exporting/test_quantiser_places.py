"""In the exported graph every Q/DQ pair serves an operator that computes in int8."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from keras_trt.exporting.export import export
from keras_trt.quantize import quantize_model

COMPUTES = {"Conv", "ConvTranspose", "MatMul", "Gemm", "Add"}
CARRIES = {
    "MaxPool", "AveragePool", "GlobalAveragePool", "ReduceMean", "Mul", "Reshape", "Transpose", "Flatten",
    "Squeeze", "Unsqueeze", "Slice", "Pad", "Concat", "Relu", "Sigmoid",
}  # fmt: skip


def idle(path):
    """(DequantizeLinear, reader) pairs that no int8 computation follows."""
    graph = onnx.load(path / "model.onnx").graph
    weights = {t.name for t in graph.initializer}
    readers = {}
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)

    def serves(node, through=()):
        if node.op_type in COMPUTES:
            return not through or through[-1] == "DequantizeLinear"
        if node.op_type in (*CARRIES, "QuantizeLinear", "DequantizeLinear"):
            return any(serves(r, (*through, node.op_type)) for r in readers.get(node.output[0], ()))
        return False

    pairs = [n for n in graph.node if n.op_type == "DequantizeLinear" and n.input[0] not in weights]
    return [(n.name, r.name) for n in pairs for r in readers.get(n.output[0], ()) if not serves(r)]


def concatenation(k, x):
    """A lone BatchNormalization behind branches of different reach."""
    layers = k.layers
    wide = layers.Conv2D(4, 1, kernel_initializer=k.initializers.RandomNormal(stddev=60.0), name="wide")(x)
    x = layers.BatchNormalization(name="norm")(layers.Concatenate()([x, wide]))
    return layers.Dense(3, name="head")(layers.Flatten()(x))


def maximum(k, x):
    """Elementwise operators between convolutions."""
    layers = k.layers
    a, b = layers.Conv2D(4, 3, name="a")(x), layers.Conv2D(4, 3, name="b")(x)
    x = layers.Minimum()([layers.Maximum()([a, b]), layers.Average()([a, b])])
    return layers.Conv2D(2, 1, name="c")(layers.BatchNormalization(name="norm")(x))


def preactivation(k, x):
    """A residual block whose normalisation comes first."""
    layers = k.layers
    y = layers.ReLU()(layers.BatchNormalization(name="n1")(x))
    y = layers.Conv2D(3, 3, padding="same", name="c1")(y)
    x = layers.Add(name="add")([x, y])
    y = layers.ReLU()(layers.BatchNormalization(name="n2")(x))
    return layers.Dense(2, name="head")(layers.GlobalAveragePooling2D(name="pool")(y))


def squeeze_excite(k, x):
    """A gate whose product a convolution reads, then pooling for a softmax, which stays float."""
    layers = k.layers
    x = layers.Conv2D(4, 3, name="c1")(x)
    gate = layers.GlobalAveragePooling2D(keepdims=True, name="squeeze")(x)
    gate = layers.Conv2D(4, 1, activation="sigmoid", name="excite")(gate)
    x = layers.Conv2D(4, 1, name="c2")(layers.Multiply(name="product")([x, gate]))
    return layers.Softmax()(layers.GlobalAveragePooling2D(name="pool")(x))


@pytest.mark.parametrize(
    "body,helpers",
    [
        (concatenation, set()),
        (maximum, set()),
        (preactivation, {"add", "pool"}),
        (squeeze_excite, {"squeeze", "product"}),
    ],
)
def test_every_pair_serves_a_computation_in_int8(k, body, helpers, tmp_path):
    inputs = k.Input((8, 8, 3))
    model = k.Model(inputs, body(k, inputs))
    x = np.random.default_rng(0).normal(size=(16, 8, 8, 3)).astype("float32")
    quantized = quantize_model(model, calibration_data=x, verbose=0)
    others = {layer.name for layer in quantized.layers if getattr(layer, "input_quantizers", None)}
    weighted = {layer.name for layer in quantized.layers if getattr(layer, "kernel", None) is not None}
    assert others - weighted == helpers
    report = export(quantized, tmp_path / "net", engine=None, verbose=0, verify=False)
    assert report.int8_mac_share == 1.0
    assert idle(tmp_path / "net") == []


def test_branches_of_different_reach_keep_their_values_behind_a_concatenation(k):
    inputs = k.Input((8, 8, 3))
    model = k.Model(inputs, concatenation(k, inputs))
    x = np.random.default_rng(0).normal(size=(64, 8, 8, 3)).astype("float32")
    before = k.Model(inputs, model.get_layer("norm").input).predict(x, verbose=0)
    statistics = before.mean((0, 1, 2)), before.var((0, 1, 2))
    model.get_layer("norm").set_weights([np.ones(7), np.zeros(7), *statistics])
    expected = model.predict(x, verbose=0)
    found = quantize_model(model, calibration_data=x, verbose=0).predict(x, verbose=0)
    assert 10 * np.log10((expected**2).mean() / ((expected - found) ** 2).mean()) > 30


@pytest.mark.parametrize("dilation", [1, 2])
def test_a_causal_convolution_read_beside_a_skip_computes_in_int8(k, tmp_path, dilation):
    """Its zero padding in time stands between the shared Q/DQ and the convolution."""
    causal = {"padding": "causal", "dilation_rate": dilation}
    inputs = k.Input((16, 4))
    x = k.layers.Conv1D(8, 1, activation="relu", name="first")(inputs)
    y = k.layers.Conv1D(8, 3, activation="relu", name="second", **causal)(x)
    y = k.layers.Conv1D(8, 3, name="third", **causal)(y)
    model = k.Model(inputs, k.layers.Dense(3, name="head")(k.layers.ReLU()(k.layers.Add()([x, y]))))
    data = np.random.default_rng(0).normal(size=(16, 16, 4)).astype(np.float32)
    quantized = quantize_model(model, calibration_data=data, verbose=0)
    report = export(quantized, tmp_path / "net", compute_capabilities=["SM89"], verbose=0)
    assert report.float_layers == () and report.int8_mac_share == 1.0
    assert "Pad" not in report.operators


def test_fp8_attention_is_what_tensorrt_fuses(k, tmp_path):
    """Model Optimizer's `match_fp8_mha_pattern`: Q, DQ, product, softmax, Q, DQ, product, Q, DQ.

    The keys are transposed before their Q, so that its DQ stands at the product.
    """
    inputs = k.Input((16, 32))
    model = k.Model(inputs, k.layers.MultiHeadAttention(2, 16)(inputs, inputs))
    x = np.random.default_rng(0).normal(size=(8, 16, 32)).astype("float32")
    quantized = quantize_model(model, "fp8", calibration_data=x, min_sqnr=None, verbose=0)
    export(quantized, tmp_path / "net", engine=None, verify=False, verbose=0)
    nodes = onnx.load(tmp_path / "net" / "model.onnx").graph.node
    makers = {name: node for node in nodes for name in node.output}
    (softmax,) = (node for node in nodes if node.op_type == "Softmax")

    def before(node, position, through=()):
        while (node := makers[node.input[position]]).op_type in through:
            position = 0
        return node

    def after(node, through=()):
        while (node := next(n for n in nodes if node.output[0] in n.input)).op_type in through:
            pass
        return node

    scores = before(softmax, 0)
    assert scores.op_type == "MatMul"
    for position in (0, 1):
        pair = before(scores, position)
        assert [pair.op_type, before(pair, 0).op_type] == ["DequantizeLinear", "QuantizeLinear"]
    pair = after(softmax)
    attended = after(after(pair))
    assert [pair.op_type, attended.op_type] == ["QuantizeLinear", "MatMul"]
    assert before(attended, 1).op_type == "DequantizeLinear"
    assert after(attended, ("Transpose", "Reshape")).op_type == "QuantizeLinear"
