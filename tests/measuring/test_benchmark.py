"""Timings of small networks: what is in the report, not how fast they are."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import keras_trt
from keras_trt.errors import BundleError, InputError, ModelError
from tests.nets import compiled, dense_net
from tests.small_onnx import conv_model, save_bundle, sequence_model

pytestmark = pytest.mark.usefixtures("few_objects")
ROOT = Path(__file__).parent.parent.parent
QUICK = {"seconds": 0.02, "verbose": 0}


def accuracy(targets, predictions):
    return float((np.argmax(predictions, -1) == targets).mean())


def test_float_and_int8_stand_beside_keras_with_a_metric(k, rng, tmp_path):
    x, y = rng.normal(size=(40, 6)).astype("float32"), rng.integers(0, 3, 40)
    model = compiled(k, dense_net(k, 6, 8, 3))
    keras_trt.export(model, tmp_path / "float", engine=None, verbose=0)
    keras_trt.export(model, tmp_path / "int8", precision="int8", calibration_data=x, engine=None, verbose=0)
    report = keras_trt.benchmark(
        [tmp_path / "float", tmp_path / "int8"],
        (x, y),
        model=model,
        metric=accuracy,
        batch_sizes=(1, 16),
        threads=(1, 2),
        **QUICK,
    )
    assert [c.label for c in report.contenders] == ["float", "int8", "keras"]
    assert [c.precision for c in report.contenders] == ["float32", "int8", "float32"]
    assert report.reference == "keras"
    expected = accuracy(y, model.predict(x, verbose=0))
    assert report.contenders[2].metric == expected
    assert report.contenders[0].metric == pytest.approx(expected, abs=0.03)
    assert report.contenders[2].bytes == sum(w.numpy().nbytes for w in model.weights)
    assert len(report.timings) == 3 * 2 * 2
    for timing in report.timings:
        assert 0 < timing.p50 <= timing.p90 <= timing.p99
        assert timing.rows_per_second > 0
    assert report.timing("keras", 16, 2).times_faster == 1
    assert {"tensorflow", type(model).__module__.split(".")[0]} <= set(report.machine.versions)
    assert json.loads(report.to_json()) == report.to_dict()
    with pytest.raises(KeyError):
        report.timing("keras", 3)


def test_a_keras_model_is_exported_and_measured_beside_itself(k, capsys):
    model = dense_net(k, 6, 8, 3)
    report = keras_trt.benchmark(model, batch_sizes=(2,), seconds=0.02)
    assert [c.label for c in report.contenders] == [model.name, "keras"]
    printed = capsys.readouterr().out
    assert "Batches of 2" in printed
    assert "rows/s" in printed
    assert model.built


def test_the_keras_model_may_come_from_its_file(k, tmp_path):
    model = dense_net(k, 6, 8, 3)
    keras_trt.export(model, tmp_path / "net", engine=None, verbose=0)
    keras_trt.save_model(model, tmp_path / "net.keras")
    report = keras_trt.benchmark(tmp_path / "net", model=tmp_path / "net.keras", batch_sizes=(1,), **QUICK)
    assert report.contenders[-1].name == "keras"


BLOCKED = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"tensorflow", "keras", "tf_keras", "onnx"}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Blocked())
import keras_trt
report = keras_trt.benchmark(sys.argv[1], seconds=0.02, batch_sizes=(1, 4), against=("keras", "onnxruntime"))
assert [c.runner for c in report.contenders] == ["openvino", "onnxruntime"]
"""


def test_a_bundle_alone_needs_no_tensorflow(tmp_path):
    path = save_bundle(tmp_path / "net", conv_model())
    done = subprocess.run(
        [sys.executable, "-c", BLOCKED, str(path)], cwd=ROOT, check=True, capture_output=True, text=True
    )
    assert "Keras was not measured: pass `model`" in done.stdout.replace("\n", " ")
    assert "measured on made-up rows" in done.stdout


def test_batches_that_an_engine_does_not_take_are_noted(tmp_path):
    path = save_bundle(tmp_path / "net", conv_model(batch=2), batch=(2, 2, 2))
    report = keras_trt.benchmark(path, batch_sizes=(1, 2, 4), against=(), **QUICK)
    assert report.notes == ("net on openvino takes batches of 2 to 2: those of [1, 4] were padded or split.",)


def test_what_takes_other_inputs_is_not_compared(tmp_path):
    paths = [save_bundle(tmp_path / "a", conv_model()), save_bundle(tmp_path / "b", sequence_model())]
    with pytest.raises(InputError, match=r"must take the same inputs.*'b' takes \[\('x', \('batch', 'time'"):
        keras_trt.benchmark(paths, against=(), **QUICK)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"batch_sizes": ()}, "`batch_sizes` must be a tuple of whole numbers >= 1"),
        ({"batch_sizes": (0,)}, r"`batch_sizes` must be .* Received: \(0,\)"),
        ({"batch_sizes": 8}, "`batch_sizes` must be"),
        ({"threads": (1, True)}, "`threads` must be"),
        ({"seconds": 0}, "`seconds` must be a number > 0"),
        ({"seconds": float("inf")}, "`seconds` must be a number > 0"),
        ({"runner": "fast"}, "`runner` must be one of"),
        ({"against": ("torch",)}, "`against` must be"),
        ({"metric": 3}, "`metric` must be 'accuracy', a metric of Keras, or a function"),
        ({"metric": accuracy}, r"`data` must be \(inputs, targets\) for a `metric`"),
        ({"model": 3}, "`model` must be a Keras model"),
        ({"verbose": "loud"}, "`verbose` must be"),
    ],
)
def test_wrong_arguments_are_refused_by_name(tmp_path, arguments, text):
    path = save_bundle(tmp_path / "net", conv_model())
    with pytest.raises(InputError, match=text):
        keras_trt.benchmark(path, **{**QUICK, **arguments})


def test_no_bundle_and_an_unbuilt_model_are_errors(k, tmp_path):
    with pytest.raises(BundleError, match="No bundle at"):
        keras_trt.benchmark(tmp_path / "absent", **QUICK)
    with pytest.raises(ModelError, match="has no weights yet"):
        keras_trt.benchmark(k.Sequential([k.layers.Dense(2)]), **QUICK)
