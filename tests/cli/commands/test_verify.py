import sys

import numpy as np
import pytest

import keras_trt


@pytest.fixture
def exported(run, model_file):
    """The model as `float.bundle` and `int8.bundle`."""
    assert run("export", model_file, "-o", "float.bundle", "--engine", "none", "-q").code == 0
    quantized = ["--int8", "--calibrate", "rows.npz", "--engine", "none", "-q"]
    assert run("export", model_file, "-o", "int8.bundle", *quantized).code == 0
    return model_file


def test_equal_numbers_are_code_0_and_others_1(run, exported):
    same = run("verify", exported, "float.bundle", "--data", "rows.npz", "--metric", "accuracy")
    assert same.code == 0, same.err
    assert "metric" in same.out
    assert "\x1b" not in same.out  # Keras's bar is for a terminal
    other = run("verify", exported, "int8.bundle", "--data", "rows.npz")
    assert other.code == 1
    assert "The bundle is quantised and the model is not" in " ".join(other.out.split())
    assert run("verify", exported, "int8.bundle", "--data", "rows.npz", "--allow", "0.5", "-q").code == 0


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["net.keras", "absent", "--data", "rows.npz"], 1, "No bundle at"),
        (["absent.keras", "small.bundle", "--data", "rows.npz"], 1, "There is no model"),
        (["net.keras", "small.bundle", "--data", "rows.npz"], 1, "Input `x` takes the shape"),
        (["net.keras", "small.bundle", "--data", "rows.csv"], 1, "read from .npy and .npz"),
        (
            ["net.keras", "small.bundle", "--data", "rows.npz", "--metric", "f1"],
            2,
            "no such metric. Received: metric='f1'. Close names: ",
        ),
        (["net.keras", "small.bundle", "--data", "rows.npz", "--allow", "-1"], 2, "a number >= 0 is needed"),
        (["net.keras", "small.bundle"], 2, "--data"),
    ],
)
def test_wrong_input_is_one_line(model_file, bundle, failed, arguments, code, text):
    assert text in failed("verify", *arguments, code=code)


def test_data_that_is_nan_is_no_success(model_file, run, failed):
    assert run("export", "net.keras", "-o", "float.bundle", "--engine", "none").code == 0
    np.save("nan.npy", np.full((8, 6), np.nan, "float32"))
    text = failed("verify", "net.keras", "float.bundle", "--data", "nan.npy", "-q")
    assert "With this data Keras gives no finite number at" in text


def test_ctrl_c_is_130(model_file, bundle, failed, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(sys.modules[keras_trt.verify.__module__], "select_runner", interrupted)
    failed("verify", model_file, bundle, "--data", "rows.npz", code=130)
