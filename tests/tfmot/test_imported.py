"""Importing TF-MOT through the library changes neither the environment nor `tf.keras`."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from keras_trt.errors import MissingDependencyError
from keras_trt.tfmot.imported import import_tfmot

ROOT = Path(__file__).parents[2]
USE_THE_SCHEME = """
from keras_trt.tfmot import TensorRTQuantizeScheme
import tf_keras
from keras_trt.tfmot.imported import import_tfmot
qat = import_tfmot().quantization.keras
net = tf_keras.Sequential([tf_keras.layers.Dense(2, input_shape=(3,))])
qat.quantize_apply(qat.quantize_annotate_model(net), scheme=TensorRTQuantizeScheme())
"""


def run(code: str, setting: str | None) -> list[str]:
    """What code in a fresh process leaves of the variable, in it and its children, and of `tf.keras`."""
    environment = {k: v for k, v in os.environ.items() if k != "TF_USE_LEGACY_KERAS"}
    if setting is not None:
        environment["TF_USE_LEGACY_KERAS"] = setting
    look = """
import os, subprocess, sys, tensorflow as tf
print(os.environ.get("TF_USE_LEGACY_KERAS"))
child = "import os; print(os.environ.get('TF_USE_LEGACY_KERAS'))"
print(subprocess.run([sys.executable, "-c", child], capture_output=True, text=True).stdout.strip())
print(tf.keras.layers.Layer.__module__.split(".")[0])
"""
    done = subprocess.run(
        [sys.executable, "-c", code + look],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout.split()[-3:]


@pytest.mark.parametrize("setting", [None, "0", "1"])
def test_the_variable_and_tf_keras_stay_as_the_user_set_them(setting):
    code = "from keras_trt.tfmot.imported import import_tfmot; import_tfmot()"
    assert run(code, setting) == [str(setting), str(setting), "tf_keras" if setting == "1" else "keras"]


def test_using_the_scheme_leaves_both_alone():
    assert run(USE_THE_SCHEME, None) == ["None", "None", "keras"]


def test_what_the_users_own_import_did_is_left_alone():
    code = "import tensorflow_model_optimization\n" + USE_THE_SCHEME
    assert run(code, None)[0] == "1"


def test_importing_the_public_module_loads_no_tfmot():
    code = "import sys, keras_trt; keras_trt.tfmot.TensorRTQuantizeScheme()\n"
    code += (
        "assert 'tensorflow_model_optimization' not in sys.modules\nassert 'tensorflow' not in sys.modules\n"
    )
    run(code, None)


def test_a_missing_tfmot_is_said_and_the_variable_put_back(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow_model_optimization", None)
    monkeypatch.setenv("TF_USE_LEGACY_KERAS", "0")
    with pytest.raises(MissingDependencyError, match=r"pip install 'keras-trt\[keras\]'"):
        import_tfmot()
    assert os.environ["TF_USE_LEGACY_KERAS"] == "0"
