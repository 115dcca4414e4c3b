import numpy as np
import pytest

from keras_trt.runtime.runners.tensorrt import host_copy


@pytest.mark.parametrize("shape", [(), (0, 3), (1, 1 << 21), (3, 1 << 20), (1 << 20, 4), (7, 5)])
@pytest.mark.parametrize("threads", [1, 4])
def test_every_element_is_copied_and_cast(shape, threads, rng, monkeypatch):
    monkeypatch.setattr(host_copy, "_THREADS", threads)
    source = rng.integers(0, 100, size=shape).astype(np.int16)
    target = np.full(shape, -1, np.float32)
    host_copy.copy_into(target, source)
    assert np.array_equal(target, source)


def test_an_error_of_a_part_is_raised(monkeypatch):
    monkeypatch.setattr(host_copy, "_THREADS", 4)
    with pytest.raises(ValueError, match="could not broadcast"):
        host_copy.copy_into(np.zeros((1 << 20, 4), np.float32), np.zeros((1 << 20, 3), np.float32))
