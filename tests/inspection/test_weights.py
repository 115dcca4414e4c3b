import math
from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from keras_trt.bundle.read import Bundle, read_bundle
from keras_trt.errors import BundleError
from keras_trt.inspection import weights as subject
from keras_trt.inspection.weights import BINS, Histogram, histograms, weight_names
from tests.small_onnx import conv_model, save_bundle, sequence_model


def counted(bundle, name):
    return histograms(bundle, {name, "no such weight"})[name]


def test_floats_are_counted_as_numpy_counts_them(tmp_path):
    bundle = read_bundle(save_bundle(tmp_path / "net", sequence_model()))
    (tensor,) = (t for t in onnx.load(bundle.onnx_path).graph.initializer if t.name == "w")
    values = onnx.numpy_helper.to_array(tensor)
    one = counted(bundle, "w")
    assert (one.dtype, one.size) == ("float32", values.size)
    assert one.limit == np.abs(values).max()
    np.testing.assert_array_equal(one.counts, np.histogram(values, BINS, (-one.limit, one.limit))[0])


def test_int8_weights_are_counted_as_integers(tmp_path):
    bundle = read_bundle(save_bundle(tmp_path / "net", conv_model()))
    (tensor,) = (t for t in onnx.load(bundle.onnx_path).graph.initializer if t.name == "kernel_q")
    values = onnx.numpy_helper.to_array(tensor)
    one = counted(bundle, "kernel_q")
    assert (one.dtype, one.size, one.limit) == ("int8", values.size, float(np.abs(values).max()))
    assert sum(one.counts) == values.size
    assert one.zeros == (values == 0).mean()
    middle = values[np.abs(values) <= one.limit / BINS]
    assert one.counts[BINS // 2] == middle.size


def test_zeros_of_pruned_weights_are_drawn_no_higher_than_the_rest():
    def heights(*counts):
        return Histogram("w", "int8", sum(counts), 1.0, counts, 0.5).heights

    assert heights(1, 4, 90, 2, 1) == (1, 4, 4, 2, 1)
    assert heights(1, 4, 3, 2, 1) == (1, 4, 3, 2, 1)
    assert heights(0, 90, 0) == (0, 90, 0)


def stored(tmp_path, *tensors):
    """A bundle whose graph holds the tensors and is of no other use."""
    graph = helper.make_graph([], "weights", [], [], list(tensors))
    path = tmp_path / "model.onnx"
    path.write_bytes(helper.make_model(graph).SerializeToString())
    manifest = read_bundle(save_bundle(tmp_path / "net", conv_model())).manifest
    return Bundle(tmp_path, manifest)


def test_int4_float16_bfloat16_and_fp8_are_read(tmp_path):
    values = np.array([-8, -1, 0, 7, 3, 3], np.int8)
    types = {
        "int4": TensorProto.INT4,
        "half": TensorProto.FLOAT16,
        "brain": TensorProto.BFLOAT16,
        "eight": TensorProto.FLOAT8E4M3FN,
    }
    tensors = [
        onnx.numpy_helper.from_array(values.astype(helper.tensor_dtype_to_np_dtype(type_)), name)
        for name, type_ in types.items()
    ]
    bundle = stored(tmp_path, *tensors)
    expected = np.histogram(values, BINS, (-8, 8))[0]
    for name in types:
        one = counted(bundle, name)
        assert one.limit == 8
        assert one.size == 6
        np.testing.assert_array_equal(one.counts, expected)


def test_weights_beside_the_graph_are_read_where_they_lie(tmp_path):
    values = np.arange(-10, 10, dtype=np.float32)
    (tmp_path / "weights.bin").write_bytes(b"1234" + values.tobytes() + b"more")
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[20], data_location=TensorProto.EXTERNAL)
    for key, value in {"location": "weights.bin", "offset": "4", "length": str(values.nbytes)}.items():
        tensor.external_data.add(key=key, value=value)
    bundle = stored(tmp_path, tensor)
    assert counted(bundle, "w").size == 20
    assert counted(bundle, "w").zeros == 1 / 20
    (tmp_path / "weights.bin").unlink()
    with pytest.raises(BundleError, match="The weights of .* cannot be read"):
        histograms(bundle, {"w"})


def test_of_large_weights_values_from_all_over_are_looked_at(tmp_path, monkeypatch, rng):
    monkeypatch.setattr(subject, "_SAMPLE", 100)
    values = rng.normal(size=(64, 64)).astype(np.float32)
    values[:, 3] = 100  # one channel: a step of 64 would see it always or never
    one = counted(stored(tmp_path, onnx.numpy_helper.from_array(values, "w")), "w")
    assert one.size == 4096
    assert 80 <= sum(one.counts) <= 100
    assert math.gcd(4096, 4096 // 100 + 1) == 1
    assert 0 < one.counts[-1] < 10


def test_what_holds_no_numbers_is_left_out(tmp_path):
    texts = helper.make_tensor("texts", TensorProto.STRING, [1], ["a"])
    empty = onnx.numpy_helper.from_array(np.zeros(0, np.float32), "empty")
    infinite = onnx.numpy_helper.from_array(np.array([np.inf, np.nan, 1], np.float32), "infinite")
    found = histograms(stored(tmp_path, texts, empty, infinite), {"texts", "empty", "infinite"})
    assert list(found) == ["infinite"]
    assert sum(found["infinite"].counts) == 1


def test_a_damaged_graph_is_named(tmp_path):
    bundle = stored(tmp_path)
    bundle.onnx_path.write_bytes(b"\xff\xff\xff")
    with pytest.raises(BundleError, match="The weights of .* cannot be read"):
        histograms(bundle, {"w"})
    with pytest.raises(BundleError):
        histograms(replace(bundle, path=tmp_path / "absent"), {"w"})


@pytest.mark.parametrize("record", [{}, {"products": 3}, {"products": [1, {"weights": 2}, {}]}])
def test_a_record_of_another_form_names_no_weights(record):
    assert weight_names(record) == {}
    assert weight_names({"products": [{"layer": "a", "weights": ["w", "v"]}]}) == {"w": "a", "v": "a"}
