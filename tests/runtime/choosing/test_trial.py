"""A runner proves itself before it is trusted, and the fastest setting that is right is taken."""

import dataclasses

import numpy as np
import pytest

from keras_trt.bundle import read_bundle
from keras_trt.bundle.probe import Probe, expect, write_probe
from keras_trt.errors import BundleError, RunnerError
from keras_trt.runtime import load
from keras_trt.runtime.choosing import select
from keras_trt.runtime.choosing.select import select_runner
from keras_trt.runtime.choosing.trial import fault, probe_of
from keras_trt.runtime.runners import cpu
from keras_trt.runtime.runners.cpu import Setting
from keras_trt.runtime.runners.onnxruntime.runner import ONNXRuntimeRunner
from tests.small_onnx import conv_model, save_bundle


class Wrong(ONNXRuntimeRunner):
    """A runtime that computes something else, without an error."""

    name = "openvino"

    def run(self, feeds):
        return {name: self.change(y) for name, y in super().run(feeds).items()}

    @staticmethod
    def change(y):
        return y * 1.05


class Zeros(Wrong):
    @staticmethod
    def change(y):
        return y * 0


class Nan(Wrong):
    @staticmethod
    def change(y):
        return y * np.nan


class Cut(Wrong):
    @staticmethod
    def change(y):
        return y[:1]


class Dies(Wrong):
    @staticmethod
    def change(y):
        raise RunnerError("out of order\nat line 3")


WRONG = (Wrong, Zeros, Nan, Cut, Dies)
RIGHT = Setting("onnxruntime", ONNXRuntimeRunner)


@pytest.fixture
def bundle(tmp_path):
    made = read_bundle(save_bundle(tmp_path / "b", conv_model()))
    return dataclasses.replace(made, manifest=dataclasses.replace(made.manifest, precision="int8"))


@pytest.fixture(autouse=True)
def exact_processor(monkeypatch):
    monkeypatch.setattr(cpu, "saturates", lambda: False)


def use(monkeypatch, *settings):
    monkeypatch.setattr(cpu, "_SETTINGS", (settings[0], Setting("none", ONNXRuntimeRunner), *settings[1:]))


@pytest.mark.parametrize("kind", WRONG)
def test_a_wrong_runner_is_never_taken(bundle, monkeypatch, kind):
    use(monkeypatch, Setting("openvino", kind), RIGHT)
    runner = select_runner(bundle)
    assert type(runner) is ONNXRuntimeRunner
    assert "openvino computes it wrongly (" in runner.reason
    assert isinstance(select_runner(bundle, check=False), kind)


def test_the_reason_says_what_is_off_and_by_how_much(bundle):
    probe = probe_of(bundle)
    said = {kind: fault(kind(bundle), probe) for kind in WRONG}
    assert "output 'y' is 5.0% off, " in said[Wrong]
    assert "output 'y' is 100.0% off" in said[Zeros]
    assert "output 'y' is inf% off" in said[Nan]
    assert said[Cut] == "output 'y' has shape (1, 8, 8, 8) instead of (2, 8, 8, 8)"
    assert said[Dies] == "it failed: out of order"
    assert fault(ONNXRuntimeRunner(bundle), probe) is None


def test_when_nothing_is_right_the_way_out_is_named(bundle, monkeypatch):
    use(monkeypatch, Setting("openvino", Wrong), Setting("onnxruntime", Zeros))
    with pytest.raises(RunnerError, match=r"Nothing here computes .* right: openvino .*check=False"):
        select_runner(bundle)
    with pytest.raises(RunnerError, match="Load it with runner='onnxruntime'"):
        select_runner(bundle, "openvino")


def test_a_setting_without_int8_arithmetic_is_tried_before_the_next_runner(bundle, monkeypatch):
    class Slow(ONNXRuntimeRunner):
        name = "openvino"

    settings = (Setting("openvino", Zeros), Setting("openvino", Slow, "its int8 arithmetic"), RIGHT)
    monkeypatch.setattr(cpu, "_SETTINGS", settings)
    runner = select_runner(bundle)
    assert isinstance(runner, Slow)
    assert "openvino computes it wrongly" in runner.reason


@pytest.mark.parametrize(("factor", "taken"), [(1.025, True), (1.05, False)])
def test_a_provider_on_a_gpu_may_round_to_tf32(bundle, monkeypatch, factor, taken):
    class Rounds(Wrong):
        name = "onnxruntime-cuda"

        @staticmethod
        def change(y):
            return y * factor

    monkeypatch.setitem(cpu.ONNX_RUNNERS, "onnxruntime-cuda", Rounds)
    monkeypatch.setattr(cpu, "installed", lambda name: True)
    monkeypatch.setattr(select, "installed", lambda name: True)
    if taken:
        assert isinstance(select_runner(bundle, "onnxruntime-cuda"), Rounds)
    else:
        with pytest.raises(RunnerError, match="output 'y' is 5.0% off, 3.00% is allowed"):
            select_runner(bundle, "onnxruntime-cuda")


def test_what_keras_computed_counts_and_not_what_a_runner_here_does(bundle):
    x = np.random.default_rng(0).normal(size=(2, 4, 8, 8)).astype(np.float32)
    y = ONNXRuntimeRunner(bundle).run({"x": x})["y"] * 2
    digest = write_probe(bundle.path, Probe({"x": x}, expect({"y": y}, {"y": 0.01})), bundle.manifest)
    held = dataclasses.replace(bundle, manifest=dataclasses.replace(bundle.manifest, probe_sha256=digest))
    with pytest.raises(RunnerError, match="output 'y' is 50.0% off, 1.00% is allowed"):
        select_runner(held)


def test_a_bundle_without_a_probe_is_tried_against_the_unoptimised_file(bundle):
    probe = probe_of(bundle)
    plain = ONNXRuntimeRunner(bundle, optimize=False).run(probe.inputs)["y"]
    np.testing.assert_array_equal(probe.expected["y"].sample, plain.reshape(-1))
    assert 1e-3 < probe.expected["y"].allowed < 0.02


def test_a_damaged_probe_does_not_stop_who_does_not_want_it(bundle):
    manifest = dataclasses.replace(bundle.manifest, probe_sha256="0" * 64)
    (bundle.path / "manifest.json").write_text(manifest.to_json())
    with pytest.raises(BundleError, match=r"probe\.npz.*check=False"):
        load(bundle.path, verbose=0)
    x = np.zeros((1, 4, 8, 8), np.float32)
    assert load(bundle.path, check=False, verbose=0).predict(x, verbose=0).shape == (1, 8, 8, 8)
