"""Weights that stay in their file."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from keras_trt.runtime.runners.mapped import SMALLEST, weights_as_inputs, without_weights


@pytest.fixture
def model(rng):
    large = rng.normal(size=(SMALLEST // 4, 2)).astype(np.float32)
    small = rng.normal(size=(2,)).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "large"], ["z"]), helper.make_node("Add", ["z", "small"], ["y"])],
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", len(large)])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 2])],
        [numpy_helper.from_array(large, "large"), numpy_helper.from_array(small, "small")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)])


def test_the_model_comes_back_with_the_weights_of_the_file(model, tmp_path):
    onnx.save(model, tmp_path / "model.onnx")
    data = without_weights(tmp_path / "model.onnx", "model.onnx")
    assert len(data) < 1000
    (tmp_path / "stub.onnx").write_bytes(data)
    stub = onnx.load(tmp_path / "stub.onnx", load_external_data=False)
    assert [t.data_location for t in stub.graph.initializer] == [TensorProto.EXTERNAL, TensorProto.DEFAULT]
    found = onnx.load(tmp_path / "stub.onnx")
    assert found.graph.node == model.graph.node
    assert found.opset_import == model.opset_import
    for a, b in zip(found.graph.initializer, model.graph.initializer, strict=True):
        np.testing.assert_array_equal(numpy_helper.to_array(a), numpy_helper.to_array(b))


@pytest.mark.parametrize("content", [b"\x07", b"\x3a\x7f\x00", b"\x80"])
def test_what_is_no_protobuf_is_an_error(tmp_path, content):
    (tmp_path / "model.onnx").write_bytes(content)
    with pytest.raises((ValueError, IndexError)):
        without_weights(tmp_path / "model.onnx", "model.onnx")


def test_a_large_weight_becomes_an_input_of_its_name_and_shape(model, tmp_path):
    file = tmp_path / "model.onnx"
    onnx.save(model, file)
    data, (place,) = weights_as_inputs(file, frozenset({TensorProto.FLOAT}))
    graph = onnx.load_from_string(data).graph
    assert sorted(value.name for value in graph.input) == ["large", "x"]
    (info,) = [value for value in graph.input if value.name == "large"]
    shape = [dim.dim_value for dim in info.type.tensor_type.shape.dim]
    assert (info.type.tensor_type.elem_type, shape) == (TensorProto.FLOAT, list(place.dims))
    assert [tensor.name for tensor in graph.initializer] == ["small"]
    large = numpy_helper.to_array(model.graph.initializer[0])
    np.testing.assert_array_equal(
        np.frombuffer(file.read_bytes()[place.start : place.end], np.float32).reshape(place.dims), large
    )


def test_a_weight_of_another_type_stays(model, tmp_path):
    onnx.save(model, tmp_path / "model.onnx")
    data, places = weights_as_inputs(tmp_path / "model.onnx", frozenset({TensorProto.INT8}))
    assert places == []
    assert onnx.load_from_string(data) == model
