import numpy as np
import onnx
import pytest

import keras_trt
from keras_trt.bundle.graph import check_graph
from keras_trt.bundle.read import read_bundle
from keras_trt.diagnosis.small_bundle import is_right, write_small_bundle


def test_it_is_a_whole_onnx_file_that_computes_relu(tmp_path):
    path = write_small_bundle(tmp_path / "relu.bundle")
    check_graph(read_bundle(path))
    model = onnx.load(path / "model.onnx")
    onnx.checker.check_model(model, full_check=True)
    assert [node.op_type for node in model.graph.node] == ["Relu"]


@pytest.mark.parametrize("runner", ["openvino", "onnxruntime"])
def test_runners_compute_it(tmp_path, rng, runner):
    x = rng.normal(size=(3, 4)).astype(np.float32)
    with keras_trt.load(write_small_bundle(tmp_path / "relu.bundle"), runner, verbose=0) as engine:
        assert is_right(x, engine.predict_on_batch(x))
    assert not is_right(x, np.abs(x))
