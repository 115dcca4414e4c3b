"""Calibration leaves nothing behind in TensorFlow."""

import gc

import numpy as np

from keras_trt.quantize import calibrate, quantize_model
from keras_trt.quantize.seen.histogram import Histogram


def test_calibrating_again_and_again_keeps_nothing_alive(k):
    from tensorflow.python.framework.func_graph import FuncGraph

    def alive():
        gc.collect()
        return sum(isinstance(thing, Histogram | FuncGraph) for thing in gc.get_objects())

    model = k.Sequential([k.Input((4,)), k.layers.Dense(3), k.layers.Dense(2)])
    x = np.ones((8, 4), "float32")
    quantized = quantize_model(model, calibration_data=x, verbose=0)
    before = alive()
    for _ in range(3):
        calibrate(quantized, x, verbose=0)
    assert alive() == before
