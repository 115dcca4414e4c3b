"""Images of open height and width grow by the size they have."""

from __future__ import annotations

import numpy as np
import pytest

from keras_trt.convert.convert import convert
from keras_trt.quantize import quantize_model
from keras_trt.trace.trace import trace
from tests.onnx_tools import floats, run


def growing(k, size, interpolation="bilinear"):
    layers = [k.layers.Conv2D(2, 3), k.layers.UpSampling2D((2, 3), interpolation=interpolation)]
    return k.Sequential([k.Input((*size, 3), name="x"), *layers, k.layers.Conv2D(2, 3)])


@pytest.mark.parametrize("size", [(None, None), (None, 7), (5, 7)])
@pytest.mark.parametrize("interpolation", ["bilinear", "nearest"])
def test_images_grow_as_in_keras(k, size, interpolation):
    net, x = growing(k, size, interpolation), floats(2, 5, 7, 3)
    found = next(iter(run(convert(trace(net)), x=x).values()))
    np.testing.assert_allclose(found, net(x), atol=1e-5)
    assert "_resize_images" not in vars(net.layers[1])


def test_quantised_networks_grow_too(k):
    x = floats(2, 5, 7, 3)
    net = quantize_model(growing(k, (None, None)), calibration_data=x, verbose=0)
    found = next(iter(run(convert(trace(net)), x=x).values()))
    np.testing.assert_allclose(found, net(x), atol=0.02)
