"""The TF-TRT route: what is checked before, the SavedModel, and how the real converter is called."""

from __future__ import annotations

import inspect
import shutil
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.compiler.tensorrt import trt_convert
from tensorflow.python.framework import tensor_util

from keras_trt.bundle import read_bundle
from keras_trt.compare.numbers import compare
from keras_trt.compare.probes.probe import made_up
from keras_trt.errors import BundleError, BundleExistsError, ExportError, InputError, MissingDependencyError
from keras_trt.exporting.export import export
from keras_trt.exporting.tftrt import TFTRTOptions
from keras_trt.exporting.tftrt.options import precision_mode
from keras_trt.exporting.tftrt.saved_model import write_saved_model
from keras_trt.quantize import quantize_model
from keras_trt.quantize.inventory import inventory
from keras_trt.trace.run import run
from keras_trt.trace.trace import trace
from tests.nets import images, residual_net

KERNEL_OPS = ("Conv2D", "DepthwiseConv2dNative", "MatMul")
REAL = trt_convert.TrtGraphConverterV2

ANY = {"probabilities": 1.0}


@pytest.fixture
def net(k):
    k.utils.set_random_seed(0)
    return residual_net(k)


@pytest.fixture
def quantized(net):
    return quantize_model(net, calibration_data=images()[0], verbose=0)


def served(folder):
    return tf.saved_model.load(str(folder)).signatures["serving_default"]


def predicted(serve, feeds):
    outputs = serve(**{name: tf.constant(value) for name, value in feeds.items()})
    return {name: value.numpy() for name, value in outputs.items()}


def nodes_of(folder):
    """The nodes of the one function that holds the model."""
    from tensorflow.core.protobuf import saved_model_pb2

    proto = saved_model_pb2.SavedModel.FromString((folder / "saved_model.pb").read_bytes())
    functions = proto.meta_graphs[0].graph_def.library.function
    found = [f for f in functions if any(n.op == "Conv2D" for n in f.node_def)]
    assert len({len(f.node_def) for f in found}) == 1
    return {node.name: node for node in found[0].node_def}


def constant(node):
    assert node.op == "Const"
    return tensor_util.MakeNdarray(node.attr["value"].tensor)


def behind(nodes, name):
    """The node a function's input name (`node:output:index`) points at."""
    return nodes[name.split(":")[0]]


# What is checked before any work


def test_without_tensorrt_the_error_says_what_is_needed_and_what_works(net, tmp_path):
    with pytest.raises(MissingDependencyError) as e:
        export(net, tmp_path / "net", route="tf-trt", verbose=0)
    built = "with" if tf.sysconfig.get_build_info()["is_tensorrt_build"] else "without"
    assert f"Installed: TensorFlow {tf.__version__}, built {built} TensorRT." in str(e.value)
    assert "2.17 or older" in str(e.value)
    assert "TensorRT 8.6.1" in str(e.value)
    assert 'route="onnx" works' in str(e.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"minimum_segment_size": 0}, "`minimum_segment_size` must be a whole number >= 1"),
        ({"max_workspace_size_bytes": 1e9}, "`max_workspace_size_bytes` must be a whole number >= 1"),
        ({"maximum_cached_engines": -1}, "`maximum_cached_engines` must be a whole number >= 1"),
        (
            {"profile_strategy": "Best"},
            "`profile_strategy` must be one of .*Received: profile_strategy='Best'",
        ),
        ({"input_fn": [1]}, "`input_fn` must be a function"),
    ],
)
def test_wrong_options_are_refused(wrong, message):
    with pytest.raises(InputError, match=message):
        TFTRTOptions(**wrong)


@pytest.mark.parametrize(
    "argument", [{"opset": 19}, {"compute_capabilities": ["SM86"]}, {"external_data": True}]
)
def test_arguments_of_the_other_route_are_refused(net, tmp_path, argument):
    with pytest.raises(InputError, match='is for route="onnx" only'):
        export(net, tmp_path / "net", route=TFTRTOptions(), **argument)


def test_precisions_become_those_of_tftrt():
    words = {p: precision_mode(p) for p in ("float32", "fp16", "int8", "int8+fp16")}
    assert words == {"float32": "FP32", "fp16": "FP16", "int8": "INT8", "int8+fp16": "INT8"}
    with pytest.raises(InputError, match="Received: precision='bf16'"):
        precision_mode("bf16")


# The SavedModel


def test_a_float_model_is_saved_with_the_names_and_numbers_of_keras(net, tmp_path):
    traced = trace(net)
    assert write_saved_model(traced, [], tmp_path) == []
    serve = served(tmp_path)
    for batch in (1, 5):
        feeds = made_up(net, traced, batch)
        assert set(feeds) == {"image"}
        (difference,) = compare(run(net, traced, feeds), predicted(serve, feeds), ANY)
        assert difference.output == "probabilities"
        assert difference.relative < 1e-5


def test_an_int8_model_is_saved_with_kernels_of_whole_numbers_behind_one_range(quantized, tmp_path):
    traced, found = trace(quantized), inventory(quantized)
    assert write_saved_model(traced, found, tmp_path) == []
    nodes = nodes_of(tmp_path)
    products = [node for node in nodes.values() if node.op in KERNEL_OPS]
    assert len(products) == len([t for t in found if t.stored])
    for product in products:
        quantize = behind(nodes, product.input[1])
        assert quantize.op == "QuantizeAndDequantizeV2"
        kernel, low, high = (constant(behind(nodes, name)) for name in quantize.input)
        assert (low, high) == (-127, 127)
        np.testing.assert_array_equal(kernel, np.rint(kernel))
        assert np.abs(kernel).max() == 127
    feeds = made_up(quantized, traced, 3)
    (difference,) = compare(run(quantized, traced, feeds), predicted(served(tmp_path), feeds), ANY)
    assert difference.relative < 1e-5


def test_activations_keep_their_ranges(quantized, tmp_path):
    traced, found = trace(quantized), inventory(quantized)
    write_saved_model(traced, found, tmp_path)
    nodes = nodes_of(tmp_path)
    ranges = [
        float(constant(behind(nodes, node.input[2])))
        for node in nodes.values()
        if node.op == "QuantizeAndDequantizeV2" and not node.name.endswith("/kernel")
    ]
    wanted = [t.amax for t in found if t.kind == "activation"]
    np.testing.assert_allclose(sorted(set(ranges)), sorted(set(wanted)), rtol=1e-6)


def test_other_formats_than_int8_are_refused(net, tmp_path):
    model = quantize_model(net, "fp8", calibration_data=images()[0], verbose=0)
    with pytest.raises(InputError, match="TF-TRT knows int8 only. Received: a model quantised to fp8"):
        write_saved_model(trace(model), inventory(model), tmp_path)


# The converter: the real class needs a GPU, so a stand-in notes the calls; they must fit the real signatures


@pytest.fixture
def calls(monkeypatch):
    """What was called, in order, on a machine that seems to have TensorRT and a GPU."""
    calls = []

    def note(method, *args, **kwargs):
        bound = inspect.signature(getattr(REAL, method)).bind(None, *args, **kwargs)
        calls.append((method, {name: value for name, value in bound.arguments.items() if name != "self"}))

    class Recorder:
        def __init__(self, *args, **kwargs):
            note("__init__", *args, **kwargs)
            self.folder = kwargs["input_saved_model_dir"]

        def convert(self, *args, **kwargs):
            note("convert", *args, **kwargs)
            return served(self.folder)

        def build(self, *args, **kwargs):
            note("build", *args, **kwargs)

        def save(self, *args, **kwargs):
            note("save", *args, **kwargs)
            shutil.copytree(self.folder, args[0])

    monkeypatch.setattr(trt_convert, "TrtGraphConverterV2", Recorder)
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind=None: ["a GPU"])
    return calls


def test_the_converter_gets_what_was_asked_in_order(quantized, tmp_path, calls):
    options = TFTRTOptions(
        minimum_segment_size=5, profile_strategy="Optimal", max_workspace_size_bytes=1 << 28
    )
    report = export(quantized, tmp_path / "net", route=options, precision="fp16", batch=(1, 2, 4), verbose=0)
    assert [name for name, _ in calls] == ["__init__", "__init__", "convert", "build", "save"]
    arguments = calls[1][1]
    assert arguments["precision_mode"] == "INT8"
    assert arguments["use_calibration"] is False
    assert arguments["minimum_segment_size"] == 5
    assert arguments["max_workspace_size_bytes"] == 1 << 28
    assert arguments["use_dynamic_shape"] is True
    assert arguments["dynamic_shape_profile_strategy"] == "Optimal"
    assert [feeds["image"].shape[0] for feeds in calls[3][1]["input_fn"]()] == [1, 2, 4]
    assert report.built
    assert report.differences[0]["relative"] < 1e-5
    assert "TF-TRT made no engine" in str(report)  # the stand-in makes none
    assert sorted(p.name for p in (tmp_path / "net").iterdir()) == ["manifest.json", "saved_model"]
    assert [p.name for p in tmp_path.iterdir()] == ["net"]


def test_the_precision_modes_are_those_of_the_real_converter():
    assert set(trt_convert.TrtPrecisionMode.supported_precision_modes()) >= {"FP32", "FP16", "INT8"}
    assert set(trt_convert.supported_profile_strategies()) >= {"Range", "Optimal", "Range+Optimal"}


def test_without_an_engine_nothing_is_built_and_own_inputs_are_used_otherwise(net, tmp_path, calls):
    export(net, tmp_path / "a", route="tf-trt", engine=None, verify=False, verbose=0)
    assert "build" not in [name for name, _ in calls]

    def own():
        yield {"image": images(3)[0]}

    export(net, tmp_path / "b", route=TFTRTOptions(input_fn=own), verify=False, verbose=0)
    assert dict(calls)["build"]["input_fn"] is own


def test_an_old_export_stays_unless_overwrite_is_given_and_load_says_what_it_is(net, tmp_path, calls):
    export(net, tmp_path / "net", route="tf-trt", verbose=0)
    with pytest.raises(BundleExistsError, match="overwrite=True"):
        export(net, tmp_path / "net", route="tf-trt", verbose=0)
    export(net, tmp_path / "net", route="tf-trt", overwrite=True, verbose=0)
    with pytest.raises(BundleError, match="tf.saved_model.load"):
        read_bundle(tmp_path / "net")


def test_a_failing_conversion_says_so_and_leaves_nothing(net, tmp_path, calls, monkeypatch):
    def refuse(self, calibration_input_fn=None):
        raise ValueError("Specified device is not a GPU")

    monkeypatch.setattr(trt_convert.TrtGraphConverterV2, "convert", refuse)
    with pytest.raises(
        ExportError, match="could not convert model .*ValueError: Specified device is not a GPU"
    ):
        export(net, tmp_path / "net", route="tf-trt", verbose=0)
    assert list(tmp_path.iterdir()) == []


def test_the_real_converter_gets_as_far_as_its_search_for_a_gpu(net, tmp_path, monkeypatch):
    """Its own checks of the arguments and `convert` run; TensorRT's version and the GPU are out of reach."""
    monkeypatch.setattr(trt_convert, "_check_trt_version_compatibility", lambda: None)
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind=None: ["a GPU"])
    with pytest.raises(ExportError, match="ValueError: Specified device is not a GPU"):
        export(net, tmp_path / "net", route="tf-trt", verbose=0)
    assert not Path(tmp_path / "net").exists()
