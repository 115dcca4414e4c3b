"""Data in the structures that Keras's `fit` and `predict` take."""

from __future__ import annotations

import numpy as np
import pytest

from keras_trt._keras.flavor_of import flavor_of
from keras_trt.data.batches import batches
from keras_trt.errors import InputError


def model(k, structure):
    """Adds up its inputs, each times another number."""
    one, two, three = (k.Input((4,), name=f"{name}_in") for name in "cab")
    nest = {"keys": {"left": one, "right": two, "third": three}, "nested": {"x": one, "state": [two, three]}}
    return k.Model(nest[structure], k.layers.Add()([one, two, two, three, three, three]))


def arrays():
    return np.random.default_rng(0).normal(size=(3, 5, 4)).astype("float32")


@pytest.mark.filterwarnings("ignore:.*all keys in the dict must match")
@pytest.mark.parametrize("structure", ["keys", "nested"])
def test_each_array_reaches_its_input_by_structure_or_by_name(k, structure):
    one, two, three = arrays()
    alike = {
        "keys": {"third": three, "right": two, "left": one, "unused": one},
        "nested": {"state": [two, three], "x": one},
    }
    net = model(k, structure)
    for data in (alike[structure], {"a_in": two, "b_in": three, "c_in": one}):
        (batch,) = batches(flavor_of(net), net, data)
        np.testing.assert_allclose(net(batch), one + 2 * two + 3 * three, rtol=1e-5)


@pytest.mark.filterwarnings("ignore:.*all keys in the dict must match")
def test_a_missing_input_is_named_with_both_ways_to_name_it(k):
    net, (one, *_) = model(k, "keys"), arrays()
    with pytest.raises(InputError, match=r"lacks input.*c_in.*or the keys \['left', 'right', 'third'\]"):
        list(batches(flavor_of(net), net, {"left": one}))
