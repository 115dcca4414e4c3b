"""What both Kerases expect of a callback."""

from __future__ import annotations

import numpy as np
import pytest

from keras_trt import callbacks


def test_a_callback_is_one_of_the_keras_of_the_model_in_training(k):
    import keras
    import tf_keras

    other = tf_keras if k is keras else keras
    for callback in (callbacks.Quantize(), callbacks.Prune(0.5), callbacks.SparsityLog()):
        seen = []

        class Watch(k.callbacks.Callback):
            def on_epoch_begin(self, epoch, logs=None, callback=callback, seen=seen):
                seen.append(isinstance(callback, k.callbacks.Callback))

        for namespace in (other, k):
            model = namespace.Sequential([namespace.Input((4,)), namespace.layers.Dense(8)])
            model.compile("sgd", "mse")
            watch = [Watch()] if namespace is k else []
            x = np.ones((8, 4), "float32")
            model.fit(x, np.zeros((8, 8)), verbose=0, callbacks=[callback, *watch])
        assert seen == [True]
        assert isinstance(callback, getattr(callbacks, type(callback).__name__))
        assert not isinstance(callback, other.callbacks.Callback)


@pytest.mark.parametrize("hook", ["on_train_batch_end", "on_predict_batch_begin"])
def test_hooks_that_do_nothing_are_known_to_do_nothing(k, hook):
    callback = callbacks.Quantize()
    callback.set_model(k.Sequential([k.Input((4,)), k.layers.Dense(8)]))
    assert getattr(getattr(callback, hook), "_is_default", False)
    assert not callback._implements_predict_batch_hooks()
