"""Tables of numbers become comparisons that give what Keras gives."""

from __future__ import annotations

import numpy as np
import pytest

from keras_trt import load
from keras_trt.exporting.export import export
from keras_trt.trace.trace import trace

CASES = {
    "index": {},
    "inverse": {"invert": True},
    "with a mask": {"mask_token": 0},
    "several hot": {"output_mode": "multi_hot"},
    "counted": {"output_mode": "count"},
}


@pytest.mark.parametrize("case", CASES)
def test_integers_are_looked_up_as_in_keras(k, case, tmp_path):
    x = k.Input((5,), dtype="int64", name="x")
    model = k.Model(x, k.layers.IntegerLookup(vocabulary=[3, 9, -7, 2**40], **CASES[case])(x))
    indices = np.array([[0, 1, 2, 3, 1], [1, 1, 1, 1, 1]])
    tokens = np.array([[3, 9, -7, 2**40, 5], [0, 2**40, 2**40 + 1, 3, 3]])
    data = indices if case == "inverse" else tokens
    export(model, tmp_path / "net", engine=None, verify=False, verbose=0)
    found = load(tmp_path / "net", runner="onnxruntime", verbose=0).predict(data, verbose=0)
    np.testing.assert_array_equal(found, np.asarray(model(data)))


def test_no_table_is_left(k):
    x = k.Input((5,), dtype="int64")
    graph = trace(k.Model(x, k.layers.IntegerLookup(vocabulary=[3, 9])(x))).graph_def
    assert [node.op for node in graph.node].count("Placeholder") == 1  # x, not the table
    assert not [node for node in graph.node if node.op.startswith("LookupTable")]
