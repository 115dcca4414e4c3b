"""The command line as a function, and small models, bundles and data to call it with."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest

import keras_trt
from keras_trt.cli.main import main
from tests.nets import dense_net
from tests.small_onnx import conv_model, save_bundle


class Ended(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture
def run(capsys, monkeypatch, tmp_path):
    """Calls the command line in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")

    def call(*arguments):
        code = main([str(argument) for argument in arguments])
        return Ended(code, *capsys.readouterr())

    return call


@pytest.fixture
def failed(run):
    """Calls the command line, which must fail with one line and leave the folder as it was."""

    def call(*arguments, code=1):
        from pathlib import Path

        before = sorted(Path().rglob("*"))
        ended = run(*arguments)
        assert ended.code == code, ended
        assert "Traceback" not in ended.err
        assert len(ended.err.splitlines()) == 1
        assert ended.err.startswith(f"keras-trt {arguments[0]}: ")
        assert sorted(Path().rglob("*")) == before
        return ended.err

    return call


@pytest.fixture
def bundle(tmp_path):
    return save_bundle(tmp_path / "small.bundle", conv_model())


@pytest.fixture
def model_file(k, tmp_path):
    """A model of six numbers and three classes as `net.keras`, and rows with classes as `rows.npz`."""
    rng = np.random.default_rng(0)
    keras_trt.save_model(dense_net(k, 6, 8, 3), tmp_path / "net.keras")
    x, y = rng.normal(size=(64, 6)).astype("float32"), rng.integers(0, 3, 64)
    np.savez(tmp_path / "rows.npz", x=x, y=y)
    return tmp_path / "net.keras"
