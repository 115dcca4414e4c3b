"""Shapes and types of a model without a layer graph: said by data, a call, or by what is done with them."""

from __future__ import annotations

import numpy as np
import pytest

from keras_trt.errors import InputError
from keras_trt.exporting.export import export
from keras_trt.trace.trace import trace

IDS = np.array([[1, 4, 2], [0, 3, 9]], np.int32)
FLOATS = np.ones((2, 4), np.float32)


def embedded(k):
    class Net(k.Model):
        def __init__(self):
            super().__init__()
            self.table = k.layers.Embedding(10, 4, mask_zero=True)
            self.dense = k.layers.Dense(2)

        def call(self, x):
            return self.dense(self.table(x))

    return Net()


def looked_up(k):
    import tensorflow as tf

    class Net(k.Model):
        def __init__(self):
            super().__init__()
            self.dense = k.layers.Dense(2)

        def call(self, x):
            return self.dense(tf.concat([tf.one_hot(x["ids"][:, 0], 5), x["numbers"]], -1))

    return Net()


def convolved(k):
    class Net(k.Model):
        def __init__(self):
            super().__init__()
            self.conv = k.layers.Conv2D(2, 3, padding="same")

        def call(self, x):
            return self.conv(x)

    return Net()


def test_integers_of_an_embedding_stay_integers(k):
    model = embedded(k)
    model(IDS)
    assert [(i.dtype, i.shape) for i in trace(model).inputs] == [("int32", ("batch", 3))]


def test_integers_are_found_beside_floats_where_floats_cannot_be_traced(k):
    model = looked_up(k)
    model({"ids": IDS, "numbers": FLOATS})
    assert {i.name: i.dtype for i in trace(model).inputs} == {"ids": "int32", "numbers": "float32"}


def test_floats_that_are_rounded_for_a_table_stay_floats_when_the_data_holds_floats(k):
    model = embedded(k)
    model(IDS.astype(np.float32))
    assert trace(model, data=IDS.astype(np.float64)).inputs[0].dtype == "float32"


def test_numbers_are_floats(k):
    model = convolved(k)
    model(np.ones((1, 8, 8, 3), np.float32))
    assert trace(model).inputs[0].dtype == "float32"


def test_data_decides_about_shapes_and_a_note_says_what_the_first_call_had(k, tmp_path):
    model = convolved(k)
    model(np.ones((1, 8, 8, 3), np.float32))
    data = np.ones((4, 16, 12, 3), np.float32)
    report = export(model, tmp_path / "net", engine=None, calibration_data=data, verbose=0)
    assert trace(model, data=data).inputs[0].shape == ("batch", 16, 12, 3)
    assert any("(batch, 16, 12, 3) of `calibration_data`" in note for note in report.notes)
    assert any("first called on (batch, 8, 8, 3)" in note for note in report.notes)
    assert trace(model).inputs[0].shape == ("batch", 8, 8, 3)
    assert trace(model, (None, 9, 9, 3), data).inputs[0].shape == ("batch", 9, 9, 3)


def test_data_will_do_for_a_model_that_keras_remembers_no_call_of(k):
    model = convolved(k)
    model.conv.build((None, 8, 8, 3))
    model.built = True
    assert trace(model, data=np.ones((4, 16, 12, 3))).inputs[0].shape == ("batch", 16, 12, 3)


def test_data_of_another_structure_than_the_input_shapes_names_its_keys(k):
    model = looked_up(k)
    with pytest.raises(InputError, match=r"unknown inputs \['id'\]"):
        model({"ids": IDS, "numbers": FLOATS})
        trace(model, {"id": (None, 3)}, {"ids": IDS, "numbers": FLOATS})
