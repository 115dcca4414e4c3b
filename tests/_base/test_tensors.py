"""What is said of named tensors alone."""

from __future__ import annotations

import pytest

from keras_trt._base.tensors import TensorSpec, fixed_batch, free_batch


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


@pytest.mark.parametrize(
    ("inputs", "shape", "expected"),
    [
        ([(3, 4)], (3, 2), ("batch", 2)),
        ([(3, 4)], (5, 2), (5, 2)),
        ([(3, 4)], (), ()),
        ([("batch", 4)], (3, 2), (3, 2)),
    ],
)
def test_a_fixed_batch_is_named_as_if_free(inputs, shape, expected):
    specs = [TensorSpec("x", axes, "float32") for axes in inputs]
    assert free_batch(TensorSpec("y", shape, "float32"), specs).shape == expected
