"""Rows of batches, and the first batches of data that is read once."""

from __future__ import annotations

import numpy as np
import pytest

from keras_trt._keras.flavor_of import keras3
from keras_trt.data.rows import FirstBatches


def kept(sizes, **limits):
    first, flavor = FirstBatches(**limits), keras3()
    more = [
        first.add(flavor, {"x": flavor.tf.zeros((size, 4)), "y": flavor.tf.zeros((size,))}) for size in sizes
    ]
    return [len(batch["x"]) for batch in first.batches], more


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ([100, 100, 56, 1], [100, 100, 56]),
        ([100, 100, 57, 1], [100, 100]),
        ([300, 1], [300]),
        ([0, 5], [0, 5]),
    ],
)
def test_no_more_rows_are_kept_than_wanted_but_for_the_first_batch(sizes, expected):
    assert kept(sizes)[0] == expected


def test_no_more_memory_is_kept_than_wanted_but_for_the_first_batch():
    row = 5 * np.dtype("float32").itemsize
    assert kept([2, 2, 2, 2], size=6 * row) == ([2, 2, 2], [True, True, False, False])
    assert kept([2, 1], size=row) == ([2], [False, False])
