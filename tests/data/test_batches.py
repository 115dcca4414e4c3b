"""Data in the structures that Keras's `fit` and `predict` take."""

from __future__ import annotations

import numpy as np
import pytest

from keras_trt._keras.flavor_of import flavor_of
from keras_trt.data.batches import batches, batches_with_targets
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


@pytest.mark.parametrize("count", [2, 3])
def test_a_list_of_arrays_is_what_a_model_without_a_graph_was_called_on(k, count, rng):
    class Sum(k.Model):
        def call(self, inputs):
            return sum(inputs) if isinstance(inputs, (list, tuple)) else inputs

    x = [rng.normal(size=(5, 3)).astype("float32") for _ in range(count)]
    net, alone = Sum(), Sum()
    net(x)
    alone(x[0])
    flavor = flavor_of(net)
    for data in (x, iter([(x, x[0])])):
        (found,) = batches(flavor, net, data)
        for a, b in zip(found, x, strict=True):
            np.testing.assert_array_equal(a, b)
    (found,) = batches(flavor, alone, iter([tuple(x)]))  # with targets, and perhaps weights
    np.testing.assert_array_equal(found, x[0])


def test_a_last_axis_of_size_one_comes_and_goes_as_keras_has_it(k, rng):
    """Columns of a table are vectors, and inputs often have the shape (1,)."""
    column, scalar = k.Input((1,), name="column"), k.Input((), name="scalar")
    net = k.Model([column, scalar], k.layers.Add()([column, k.layers.Reshape((1,))(scalar)]))
    x = [rng.normal(size=(5,)).astype("float32"), rng.normal(size=(5, 1)).astype("float32")]
    (batch,) = batches(flavor_of(net), net, x)
    assert [tuple(tensor.shape) for tensor in batch] == [(5, 1), (5,)]
    np.testing.assert_allclose(net(batch), net.predict(x, verbose=0), rtol=1e-6)


@pytest.mark.parametrize("shape", [(5,), (5, 4, 1, 1), (5, 2)])
def test_no_other_shape_is_made_to_fit(k, shape):
    net = k.Sequential([k.Input((4,)), k.layers.Dense(2)])
    with pytest.raises(InputError, match=r"takes batches of shape \(None, 4\)"):
        list(batches(flavor_of(net), net, np.zeros(shape, "float32")))


@pytest.mark.parametrize("graph", [True, False])
def test_a_tuple_as_long_as_the_inputs_is_theirs_and_has_no_targets(k, graph):
    class Sum(k.Model):
        def call(self, inputs):
            return inputs[0] + inputs[1]

    one, two, y = arrays()
    if graph:
        inputs = k.Input((4,)), k.Input((4,))
        net = k.Model(inputs, k.layers.Add()(inputs))
    else:
        net = Sum()
        net((one, two))
    for data, targets in (((one, two), None), (([one, two], y), y), (((one, two), y), y)):
        ((x, found),) = batches_with_targets(flavor_of(net), net, data)
        np.testing.assert_allclose(net(x), one + two, rtol=1e-6)
        assert (found is None) == (targets is None)
    alone = k.Sequential([k.Input((4,)), k.layers.Dense(4)])
    ((_, found),) = batches_with_targets(flavor_of(alone), alone, (one, y))
    np.testing.assert_array_equal(found, y)
