"""What an engine tells of its layers, in the words of TensorRT's inspector, by the stand-in engine."""

import json

import numpy as np
import pytest

from keras_trt.errors import RunnerError
from keras_trt.runtime import EngineModel
from keras_trt.runtime.runners.tensorrt.layers import nodes_in
from keras_trt.runtime.runners.tensorrt.runner import TensorRTRunner

CHANNELS = "Channel major INT8 format where channel % 32 == 0"


def layer(name, kind, taken, made, metadata="", **more):
    tensors = [{"Name": "t", "Location": "Device", "Dimensions": [1, 3], "Format/Datatype": taken}]
    return {
        "Name": name,
        "LayerType": kind,
        "Inputs": tensors,
        "Outputs": [{**tensors[0], "Format/Datatype": made}],
        "TacticValue": "0x0",
        "Metadata": metadata,
        **more,
    }


DETAILED = [
    layer(
        "Reformatting CopyNode for Input Tensor 0 to a/Conv", "Reformat", "Row major linear FP32", CHANNELS
    ),
    layer(
        "a/kernel + a/QuantizeLinear_1 + a/Conv + r/Relu",
        "CaskConvolution",
        CHANNELS,
        CHANNELS,
        "[ONNX Layer: a/QuantizeLinear_1]\x1e[ONNX Layer: a/Conv]\x1e[ONNX Layer: r/Relu]",
    ),
    layer("b/DequantizeLinear", "Scale", "Int8", "Half", "[ONNX Layer: b/DequantizeLinear]", Origin="QDQ"),
    layer("__myl_FcAdd_myl0_3", "gemm", "Half", "Float", "[ONNX Layer: b/MatMul]\x1f[ONNX Layer: b/Add]"),
    layer("c/kernel", "Constant", "", "Float"),
]


def told(layers):
    return json.dumps({"Layers": layers, "Bindings": ["x", "y"]})


@pytest.fixture
def engine(make):
    runner = make()
    engine = make.trt.engine
    engine.layer_times = [(one["Name"], 0.25 * (i + 1)) for i, one in enumerate(DETAILED[:4])]
    engine.information = {True: told(DETAILED), False: told(DETAILED)}
    return runner, EngineModel(make.bundle, runner), engine


def test_layers_of_the_engine_come_by_keras_layer(engine, rows):
    _, model, _ = engine
    report = model.profile(rows(4), calls=3)
    assert report.measured
    assert [(one.layer, one.operators, one.computes_in) for one in report.layers] == [
        ("a", ("Reformat",), ("float32",)),
        ("a, r", ("CaskConvolution",), ("int8",)),
        ("b", ("DequantizeLinear", "gemm"), ("int8", "float16")),
    ]
    assert [one.seconds for one in report.layers] == pytest.approx([0.00025, 0.0005, 0.00175])
    assert [one.unfused for one in report.layers] == [0, 0, 1]


def test_inspecting_has_no_times(engine):
    _, model, _ = engine
    report = model.inspect()
    assert [one.computes_in for one in report.layers] == [("float32",), ("int8",), ("int8", "float16")]
    assert not report.measured
    assert {one.seconds for one in report.layers} == {0.0}
    assert "ms" not in str(report).splitlines()[2]


def test_times_are_medians_over_the_calls_but_the_first(engine, rows):
    runner, _, made = engine
    given = iter([9.0, 1.0, 3.0, 2.0])

    class Times(list):
        def __iter__(self):
            return iter([("a/Conv", next(given))])

    made.layer_times = Times([None])
    (only,) = runner.executed({"x": rows(2)}, 3)
    assert only.seconds == pytest.approx(0.002)


@pytest.mark.parametrize(
    "names", [told(["x/Add", "y/Add"]), told([]), "", "{", '{"Layers": [{"Na', "null", "[]"]
)
def test_a_plan_without_details_tells_times_alone_and_says_how_to_get_more(make, rows, names):
    runner = make()
    make.trt.engine.information = {True: names, False: names}
    report = EngineModel(make.bundle, runner).profile(rows(2), calls=2)
    assert [(one.layer, one.computes_in, one.seconds) for one in report.layers] == [
        ("x", (), pytest.approx(0.00025)),
        ("y", (), pytest.approx(0.0005)),
    ]
    assert "profiling_verbosity='detailed'" in str(report)


def test_a_context_of_which_the_inspector_tells_nothing_is_left_out(engine, rows):
    runner, _, made = engine
    made.information[True] = '{"Layers": []}'
    assert [one.type for one in runner.executed({"x": rows(2)}, 1)] == ["float32", "int8", "int8", "float16"]


def test_a_tensorrt_without_an_inspector_tells_times(engine, rows, make):
    runner, _, _ = engine
    del make.trt.EngineInspector
    assert [one.type for one in runner.executed({"x": rows(2)}, 1)] == [""] * 4


def test_an_engine_that_tells_its_profiler_nothing_is_an_error_and_runs_on(make, rows):
    runner = make()
    make.trt.engine.layer_times = []
    with pytest.raises(RunnerError, match="TensorRT's profiler told nothing"):
        runner.executed({"x": rows(2)}, 2)
    x = rows(3)
    assert np.array_equal(runner.run({"x": x})["y"], x * 4)


def test_profiling_leaves_recorded_graphs_and_outputs_of_open_size_alone(make, rows):
    runner: TensorRTRunner = make("yz")
    x = rows(5)
    for _ in range(3):
        runner.run({"x": x})
    contexts = len(make.trt.engine.contexts)
    assert [one.name for one in runner.executed({"x": x}, 2)] == ["x/Add", "y/Add"]
    assert len(make.trt.engine.contexts) == contexts + 1
    assert np.array_equal(runner.run({"x": x})["z"], x[x[:, 0] > 0])
    assert [one.profiler for one in make.trt.engine.contexts[:contexts]] == [None] * contexts


def test_made_up_rows_are_as_many_as_the_plan_takes(make):
    runner = make(profiles=((5, 5, 8),))
    assert len(EngineModel(make.bundle, runner).inspect().layers) == 2
    assert make.trt.engine.enqueued[-1] == (5, 3)


@pytest.mark.parametrize(
    ("name", "nodes"),
    [
        ("a/Conv + r/Relu", ["a/Conv", "r/Relu"]),
        ("a/Conv || b/Conv", ["a/Conv", "b/Conv"]),
        ("PWN(PWN(a/Sigmoid), a/Mul)", ["a/Sigmoid", "a/Mul"]),
        ("{ForeignNode[block/a/MatMul...block/b/Add]}", ["block/a/MatMul", "block/b/Add"]),
        ("Reformatting CopyNode for Output Tensor 12 to a/b/Conv", ["a/b/Conv"]),
        ("(Unnamed Layer* 3) [Shuffle]", []),
        ("__myl_FcAddRelu_myl0_3", []),
    ],
)
def test_names_of_layers_lead_to_nodes(name, nodes):
    assert nodes_in(name) == nodes
