"""Weights beyond protobuf's limit, or on request, go into a file of their own."""

from __future__ import annotations

import numpy as np
import onnx

from keras_trt.export import write
from tests.export.onnx_tools import GraphBuilder, build, floats, run


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
    monkeypatch.setattr(write, "LIMIT", 1000)
    assert set(write.write_onnx(model(), tmp_path)) == {write.EXTERNAL_FILE}


def test_the_same_model_gives_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        write.write_onnx(model(), tmp_path / name)
    a, b = ((tmp_path / name / "model.onnx").read_bytes() for name in ("a", "b"))
    assert a == b
    onnx.checker.check_model(onnx.load_from_string(a))
