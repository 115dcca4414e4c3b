"""What both Kerases expect of a callback."""

from __future__ import annotations

import pickle
import subprocess
import sys

import numpy as np
import pytest

from keras_trt import callbacks

OURS = {
    "EvaluateEngine": "((np.zeros((2, 4)), np.zeros(2)))",
    "ExportBest": "('best.bundle')",
    "Prune": "(0.5)",
    "Quantize": "()",
    "SparsityLog": "()",
}


def test_a_callback_is_a_real_one_of_both_kerases(k):
    for name in OURS:
        assert issubclass(getattr(callbacks, name), k.callbacks.Callback)
    for callback in (callbacks.Quantize(), callbacks.Prune(0.5), callbacks.SparsityLog()):
        assert isinstance(callback, k.callbacks.Callback)
        assert type(callback) is getattr(callbacks, type(callback).__name__)
        assert type(pickle.loads(pickle.dumps(callback))) is type(callback)


def test_one_callback_trains_models_of_both_kerases_in_turn():
    import keras
    import tf_keras

    callback = callbacks.Quantize()
    for namespace in (keras, tf_keras, keras):
        model = namespace.Sequential([namespace.Input((4,)), namespace.layers.Dense(8)])
        model.compile("sgd", "mse")
        x = np.ones((8, 4), "float32")
        model.fit(x, np.zeros((8, 8)), verbose=0, callbacks=[callback])
        assert callback.model is model


@pytest.mark.parametrize("name", sorted(OURS))
@pytest.mark.parametrize("first", ["keras_trt", "keras", "tf_keras"])
def test_it_is_one_of_a_keras_that_is_imported_before_or_after(name, first):
    made = f"import numpy as np, keras_trt; c = keras_trt.callbacks.{name}{OURS[name]}"
    light = "import sys; assert not {'keras', 'tf_keras'} & set(sys.modules)"
    lines = [made, light if name != "EvaluateEngine" else "", "import keras, tf_keras"]
    if first != "keras_trt":
        lines.insert(0, f"import {first}")
        lines[2] = ""
    lines.append("print(*(isinstance(c, k.callbacks.Callback) for k in (keras, tf_keras)))")
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.split() == ["True", "True"]


@pytest.mark.parametrize("hook", ["on_train_batch_end", "on_predict_batch_begin"])
def test_hooks_that_do_nothing_are_known_to_do_nothing(k, hook):
    callback = callbacks.Quantize()
    callback.set_model(k.Sequential([k.Input((4,)), k.layers.Dense(8)]))
    assert getattr(getattr(callback, hook), "_is_default", False)
    assert not callback._implements_predict_batch_hooks()
