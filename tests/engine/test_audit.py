import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from keras_trt.engine import LayerRecord, build_plan
from tests.small_onnx import conv_model, model_of, sequence_model

pytest.importorskip("tensorrt_rtx")


@pytest.fixture
def audit(tmp_path):
    def audit(model, **options):
        onnx.save(model, tmp_path / "model.onnx")
        return build_plan(tmp_path / "model.onnx", verbose=0, **options).audit

    return audit


def test_every_layer_is_recorded_with_its_types(audit):
    found = {r.name: r for r in audit(conv_model()).layers}
    assert found["conv1/input/quantize"].outputs == ("int8",)
    assert found["conv1/conv"] == LayerRecord(
        "conv1/conv", "CONVOLUTION", ("float32", "float32"), ("float32",), "int8"
    )
    assert found["relu1"].type == "ACTIVATION"
    assert "CONSTANT" not in {r.type for r in found.values()}


def test_a_convolution_with_one_quantised_side_computes_in_float(audit):
    model = conv_model()
    conv = next(n for n in model.graph.node if n.op_type == "Conv")
    conv.input[0] = "x"  # only the weight comes out of a dequantizer
    assert audit(model).precisions == {"float32": 1}


def test_float_matrix_products_are_counted(audit):
    assert audit(sequence_model(), input_shapes={"time": 5}).precisions == {"float32": 1}


def test_fp16_around_is_seen(audit):
    weight = np.random.default_rng(0).normal(size=(4, 2)).astype(np.float16)
    nodes = [
        helper.make_node("Cast", ["x"], ["x16"], to=TensorProto.FLOAT16),
        helper.make_node("MatMul", ["x16", "w"], ["y16"], name="dense/matmul"),
        helper.make_node("Cast", ["y16"], ["y"], to=TensorProto.FLOAT),
    ]
    assert audit(model_of(nodes, {"x": ["batch", 4]}, {"y": ["batch", 2]}, {"w": weight})).precisions == {
        "float16": 1
    }


def test_a_transposed_quantised_weight_still_counts(audit):
    weight = np.ones((2, 4), np.int8)
    tensors = {"w": weight, "s": np.ones(2, np.float32), "z": np.zeros(2, np.int8)}
    tensors |= {"xs": np.float32(0.1), "xz": np.int8(0)}
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "xs", "xz"], ["xq"]),
        helper.make_node("DequantizeLinear", ["xq", "xs", "xz"], ["xd"]),
        helper.make_node("DequantizeLinear", ["w", "s", "z"], ["wd"], axis=0),
        helper.make_node("Transpose", ["wd"], ["wt"], perm=[1, 0]),
        helper.make_node("MatMul", ["xd", "wt"], ["y"], name="dense/matmul"),
    ]
    assert audit(model_of(nodes, {"x": ["batch", 4]}, {"y": ["batch", 2]}, tensors)).precisions == {"int8": 1}
