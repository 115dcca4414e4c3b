"""Weights beyond protobuf's limit, or on request, go into a file of their own."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import onnx
import onnx_ir as ir

from keras_trt.packing import write
from tests.onnx_tools import GraphBuilder, build, floats, run


def model():
    b = GraphBuilder(x=("batch", 64))
    y = b("MatMul", "x", floats(64, 32))
    y.name = "y"
    return b.finish(y)


def test_external_weights_are_found_by_every_reader(tmp_path):
    files = write.write_onnx(model(), tmp_path, external=True)
    assert set(files) == {write.EXTERNAL_FILE}
    assert (tmp_path / write.EXTERNAL_FILE).stat().st_size >= 64 * 32 * 4
    x = floats(2, 64)
    np.testing.assert_allclose(run(tmp_path / "model.onnx", x=x)["y"], run(model(), x=x)["y"])
    build(tmp_path / "model.onnx")


def test_weights_stay_inside_by_default(tmp_path):
    assert write.write_onnx(model(), tmp_path) == {}
    assert [p.name for p in tmp_path.iterdir()] == ["model.onnx"]


def test_large_weights_go_outside_on_their_own(tmp_path, monkeypatch):
    monkeypatch.setattr(write, "LARGEST", 1000)
    assert set(write.write_onnx(model(), tmp_path)) == {write.EXTERNAL_FILE}


def test_the_bytes_are_those_that_protobuf_would_write(tmp_path):
    b = GraphBuilder(x=("batch", 64))
    y = b("MatMul", "x", floats(64, 32))
    y = b("Add", y, floats(32))
    y.name = "y"
    finished = b.finish(y)
    graph = finished.graph
    arrays = {
        "strings": ir.StringTensor(np.array([b"one", b"two"]), name="strings"),
        "half": ir.tensor(floats(3, 5).astype(np.float16).T),
        "brain": ir.tensor(floats(7).astype(ml_dtypes.bfloat16)),
        "four_bits": ir.tensor(np.array([1, -2, 3], ml_dtypes.int4)),
        "flags": ir.tensor(np.array([True, False])),
        "scalar": ir.tensor(np.float32(2.5)),
        "none": ir.tensor(np.zeros((0, 4), np.float32)),
        "lazy": ir.LazyTensor(lambda: ir.tensor(floats(200, 300).T), ir.DataType.FLOAT, ir.Shape([300, 200])),
    }
    for name, tensor in arrays.items():
        value = ir.val(name, const_value=tensor)
        graph.register_initializer(value)
    finished.metadata_props["made by"] = "a test"
    write.write_onnx(finished, tmp_path)
    expected = ir.to_proto(finished).SerializeToString(deterministic=True)
    assert (tmp_path / "model.onnx").read_bytes() == expected
    assert "lazy" in graph.initializers  # the model is as it was


def test_the_same_model_gives_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        write.write_onnx(model(), tmp_path / name)
    a, b = ((tmp_path / name / "model.onnx").read_bytes() for name in ("a", "b"))
    assert a == b
    onnx.checker.check_model(onnx.load_from_string(a))
