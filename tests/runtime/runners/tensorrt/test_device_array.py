"""Arrays on a GPU, as far as they can be told apart without one; tests/gpu has the rest."""

import numpy as np
import pytest

from keras_trt.runtime.runners.tensorrt import device_array


class OnGpu:
    """An array of another library, as far as it tells where it is."""

    def __init__(self, kind):
        self.kind = kind

    def __dlpack_device__(self):
        return self.kind, 0


class ByInterface:
    """An array with the older protocol."""

    __cuda_array_interface__ = None


def test_only_arrays_on_a_gpu_are_taken_from_there():
    arrays = (OnGpu(2), OnGpu(13), ByInterface(), OnGpu(1), np.zeros(3), [1, 2], 5)
    assert [device_array.on_gpu(one) for one in arrays] == [True, True, True, False, False, False, False]


def test_rows_and_shapes_of_a_device_array_are_views():
    x = device_array.DeviceArray(1000, (6, 2, 5), np.dtype("float32"), 0, None)
    assert (x.nbytes, x.ndim, len(x)) == (240, 3, 6)
    rows = x[2:5]
    assert (rows.pointer, rows.shape, rows.nbytes) == (1080, (3, 2, 5), 120)
    assert x[9:].shape == (0, 2, 5)
    assert x.reshape((6, 10)).shape == (6, 10)
    assert x.__cuda_array_interface__["data"] == (1000, False)
    assert x.__dlpack_device__() == (2, 0)


@pytest.mark.parametrize(
    ("shape", "strides", "whole"),
    [
        ((2, 3), None, True),
        ((2, 3), (3, 1), True),
        ((2, 3), (1, 2), False),
        ((1, 3), (99, 1), True),
        ((2, 3), (6, 2), False),
        ((0, 3), (3, 1), True),
        ((), (), True),
    ],
)
def test_only_whole_arrays_are_taken(shape, strides, whole):
    assert device_array._contiguous(shape, strides) is whole
