"""How an order of axes carries through operators that change their number."""

from __future__ import annotations

import numpy as np
import pytest
from onnx_ir.passes import common

from keras_trt.onnx_passes.layout.other_rank import carried, groups_of, reversed_groups
from tests.onnx_tools import GraphBuilder

NCHW = (0, 2, 3, 1)  # of NHWC tensors: where each axis goes


def reshaped(before, after):
    b = GraphBuilder(x=before)
    model = b.finish(b("Reshape", "x", np.int64(after)))
    common.ShapeInferencePass()(model)
    model.graph.outputs[0].shape = type(model.graph.outputs[0].shape)(
        ["batch" if size == -1 else size for size in after]
    )
    return groups_of(next(node for node in model.graph if node.op_type == "Reshape"))


@pytest.mark.parametrize(
    ("before", "after", "order", "expected"),
    [
        (("batch", 4, 5, 6), (-1, 4, 5, 2, 3), NCHW, (0, 3, 4, 1, 2)),
        (("batch", 4, 5, 6), (-1, 20, 6), NCHW, (0, 2, 1)),
        (("batch", 4, 5, 6), (-1, 4, 30), NCHW, None),  # width and channels lie apart
        (("batch", 4, 5, 6), (-1, 24, 5), NCHW, None),
        ((2, 4, 5, 6), (2, 4, 5, 6, 1), NCHW, (0, 3, 4, 1, 2)),
        ((2, 4, 1, 6), (2, 4, 6), NCHW, (0, 2, 1)),
        ((2, 1, 1, 6), (2, 6), NCHW, (0, 1)),
    ],
)
def test_a_reshape_carries_what_lies_together(before, after, order, expected):
    assert carried(reshaped(before, after), order) == expected


@pytest.mark.parametrize(
    ("before", "after"),
    [(("batch", 4, 5), (-1, 7)), (("batch", "time", 6), (-1, 6)), ((2, 4, 6), (4, 12)), ((0, 4), (4, 0))],
)
def test_other_reshapes_are_left(before, after):
    groups = reshaped(before, after)
    assert groups is None or carried(groups, tuple(range(len(before)))[::-1]) is None


def test_what_is_carried_comes_back():
    groups = reshaped(("batch", 4, 5, 6), (-1, 4, 5, 2, 3))
    assert carried(reversed_groups(groups), (0, 3, 4, 1, 2)) == NCHW
    assert carried(reversed_groups(groups), (0, 3, 4, 2, 1)) is None  # the two parts of the channels swapped


@pytest.mark.parametrize(
    ("kind", "expected"), [("Squeeze", (0, 1)), ("ReduceSum", (0, 1)), ("Unsqueeze", None)]
)
def test_axes_come_and_go(kind, expected):
    b = GraphBuilder(x=("batch", 1, 1, 6))
    options = {"keepdims": 0} if kind == "ReduceSum" else {}
    model = b.finish(b(kind, "x", np.int64([1, 2]), **options))
    common.ShapeInferencePass()(model)
    groups = groups_of(next(node for node in model.graph if node.op_type == kind))
    if kind == "Unsqueeze":
        assert carried(groups, NCHW) == (0, 1, 2, 4, 5, 3)
        assert carried(reversed_groups(groups), (0, 1, 2, 4, 5, 3)) == NCHW
    else:
        assert carried(groups, NCHW) == expected
