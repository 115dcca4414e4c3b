"""What is said of named tensors alone."""

from __future__ import annotations

import pytest

from keras_trt._tensors import TensorSpec, fixed_batch


@pytest.mark.parametrize(
    ("shapes", "expected"),
    [
        ([("batch", 4)], None),
        ([(3, 4)], 3),
        ([(), (3, 4)], 3),
        ([(1,), ("batch", 4)], None),  # a place that all rows share
        ([("length", 4)], None),
    ],
)
def test_a_fixed_first_axis_beside_an_open_one_is_no_batch(shapes, expected):
    inputs = [TensorSpec(f"x{i}", shape, "float32") for i, shape in enumerate(shapes)]
    assert fixed_batch(inputs) == expected
