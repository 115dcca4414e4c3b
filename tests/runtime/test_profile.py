"""What a runner executes, told by Keras layer."""

import numpy as np
import pytest

from keras_trt.errors import RunnerError
from keras_trt.exporting.export import export
from keras_trt.quantize import quantize_model
from keras_trt.runtime import EngineModel, load
from keras_trt.runtime.profile import layer_of
from keras_trt.runtime.runners.openvino.profile import nodes_in
from keras_trt.runtime.runners.runner import Runner

RUNNERS = ["openvino", "onnxruntime"]


@pytest.fixture
def exported(k, tmp_path, rng):
    L = k.layers
    i = k.Input((16, 16, 4))
    y = L.Conv2D(8, 3, padding="same", activation="relu", name="first")(i)
    y = L.Conv2D(8, 3, padding="same", name="second")(y)
    y = L.GlobalAveragePooling2D(name="pool")(y)
    model = k.Model(i, L.Dense(5, activation="softmax", name="head")(y))
    x = rng.normal(size=(8, 16, 16, 4)).astype(np.float32)
    quantized = quantize_model(model, calibration_data=x, min_sqnr=None, verbose=0)
    for name, which in (("int8", quantized), ("float", model)):
        export(which, tmp_path / name, engine=None, verify=False, verbose=0)
    return tmp_path, x


@pytest.mark.parametrize("runner", RUNNERS)
def test_times_come_by_keras_layer(exported, runner):
    folder, x = exported
    report = load(folder / "float", runner, verbose=0).profile(x, calls=3)
    assert report.measured
    assert {"first", "second", "pool", "head"} <= {n for one in report.layers for n in one.layer.split(", ")}
    assert all(one.seconds >= 0 for one in report.layers)
    assert sum(one.seconds for one in report.layers if "second" in one.layer) > 0
    assert "share" in str(report)


@pytest.mark.parametrize("runner", RUNNERS)
def test_inspecting_tells_which_layers_compute_in_int8(exported, runner):
    folder, _ = exported
    for kind, known in (("int8", {"u8", "i8", "uint8", "int8"}), ("float", {"f32", "float"})):
        model = load(folder / kind, runner, check=False, verbose=0)
        types = [t for one in model.inspect().layers if "second" in one.layer for t in one.computes_in]
        assert types, kind
        assert set(types) <= known if kind == "float" else set(types) & known
        assert "ms" not in str(model.inspect()).splitlines()[2]


def test_a_runner_without_a_profiler_says_which_has_one(exported):
    class Silent(Runner):
        name = "silent"

        def run(self, feeds):
            return {}

    folder, x = exported
    bundle = load(folder / "float", verbose=0).bundle
    with pytest.raises(RunnerError, match="'silent' does not tell what it executes.*runner='openvino'"):
        EngineModel(bundle, Silent(bundle.manifest)).profile(x)


def test_names_of_executed_nodes_lead_to_layers():
    said = "a/conv/Conv/WithoutBiases,Multiply_7,a/conv/Conv,relu/Relu,next/DequantizeLinear"
    assert layer_of(nodes_in(said)) == "a/conv, relu"
    assert layer_of(nodes_in("in/DequantizeLinear_abcd_acdb_stem/Conv/WithoutBiases")) == "in"
    assert layer_of(nodes_in("FakeQuantize_3")) == ""
    assert layer_of("block/added//Clip/3") == "block"
