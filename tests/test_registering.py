"""Keras's own `load_model` reads our files after `import keras_trt`; else the error says what to call."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

import keras_trt


@pytest.fixture
def saved(k, tmp_path):
    inputs = k.Input((8, 8, 1))
    outputs = k.layers.Dense(4)(k.layers.Flatten()(k.layers.Conv2D(4, 3)(inputs)))
    x = np.random.default_rng(0).random((8, 8, 8, 1), dtype=np.float32)
    model = keras_trt.quantize_model(k.Model(inputs, outputs), calibration_data=x, verbose=0)
    keras_trt.prune_model(model, 0.5).save(tmp_path / "m.keras")
    return k.__name__, tmp_path / "m.keras"


def fresh(code):
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=False
    )


@pytest.mark.parametrize("first", ["keras_trt", "keras"])
def test_keras_loads_a_quantised_file_in_a_fresh_process(saved, first):
    name, path = saved
    order = f"import keras_trt, {name}" if first == "keras_trt" else f"import {name}, keras_trt"
    done = fresh(
        f"{order}\nm = {name}.models.load_model({str(path)!r})\n"
        "print(sum(bool(row['quantised']) for row in keras_trt.report(m).rows))"
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.split() == ["2"]


def test_without_the_library_the_error_says_what_to_call(saved):
    name, path = saved
    done = fresh(f"import {name}; {name}.models.load_model({str(path)!r})")
    assert done.returncode != 0
    assert "keras_trt.load_model" in done.stderr


def test_it_is_no_burden_to_keras():
    done = fresh(
        "import sys, keras_trt\nassert 'keras' not in sys.modules\nimport keras\n"
        "assert type(keras.__loader__).__name__ == 'SourceFileLoader'\n"
        "assert 'exec_module' not in vars(keras.__loader__)"
    )
    assert done.returncode == 0, done.stderr[-2000:]
