"""The main example keeps what it promises: the bundle decides as the Keras model, and an engine is in it."""

from __future__ import annotations

import re
import sys

import pytest

import keras_trt
from examples import digits


@pytest.mark.parametrize("arguments", [[], ["--legacy"]], ids=["keras3", "legacy"])
def test_the_digits_example_walks_the_whole_road(arguments, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["digits.py", "--epochs", "6", "--out", str(tmp_path), *arguments])
    digits.main()
    printed = capsys.readouterr().out

    _, x, _, labels = digits.data()
    engine = keras_trt.load(tmp_path / "digits.bundle", runner="openvino", verbose=0)
    assert digits.accuracy(engine.predict(x, verbose=0), labels) > 0.95
    agreement = re.search(r"decides as the QAT model on (\d+) of 360 .* probabilities (\S+)", printed)
    assert agreement is not None
    assert int(agreement[1]) >= 0.995 * 360
    assert float(agreement[2]) < 0.005

    (plan,) = engine.bundle.manifest.plans
    assert plan.compute_capabilities == digits.TARGETS
    assert (tmp_path / "digits.bundle" / plan.file).stat().st_size == plan.bytes
    sizes = [(tmp_path / name / "model.onnx").stat().st_size for name in ("digits.bundle", "float.bundle")]
    assert sizes[0] < sizes[1] / 3
    assert "for GPUs SM86, SM89, SM120" in printed
