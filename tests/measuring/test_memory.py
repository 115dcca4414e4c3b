import sys

import numpy as np
import pytest

from keras_trt.measuring import memory
from keras_trt.measuring.memory import growth

MEGABYTES = 80


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells the peak of a while")
@pytest.mark.parametrize("held", [True, False])
def test_the_peak_counts_also_when_the_memory_is_free_again(held):
    with growth() as grown:
        array = np.ones(MEGABYTES * 2**17)
        if not held:
            del array
    assert grown.bytes == pytest.approx(MEGABYTES * 2**20, rel=0.25)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells the peak of a while")
def test_what_was_used_before_does_not_count():
    before = np.ones(MEGABYTES * 2**17)
    del before
    with growth() as grown:
        pass
    assert grown.bytes < 10 * 2**20


def test_where_the_system_does_not_tell_there_is_no_number(monkeypatch, tmp_path):
    monkeypatch.setattr(memory, "_STATUS", tmp_path / "absent")
    with growth() as grown:
        pass
    assert grown.bytes is None
