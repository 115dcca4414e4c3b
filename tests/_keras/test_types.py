"""What the types of public functions say of models is true of both Kerases' models."""

from __future__ import annotations

import inspect

import pytest

import keras_trt
from keras_trt._keras import types

PUBLIC = [getattr(keras_trt, name) for name in keras_trt.__all__]
FUNCTIONS = [
    f for f in PUBLIC if inspect.isfunction(f) and {"model", "models"} & {*inspect.signature(f).parameters}
]


@pytest.mark.parametrize("kind", [types.Layer, types.Model, types.Variable])
def test_keras_s_own_objects_have_what_the_protocol_asks_for(k, kind):
    model = k.Sequential([k.Input((2,)), k.layers.Dense(1)])
    objects = {types.Layer: [model.layers[0], model], types.Model: [model], types.Variable: model.weights}
    members = {name for base in kind.__mro__ for name in vars(base) if not name.startswith("_")}
    assert all(hasattr(thing, name) for thing in objects[kind] for name in members)


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda f: f.__name__)
def test_every_public_function_says_that_it_takes_a_model(function):
    taken = inspect.signature(function).parameters
    assert taken.get("model", taken.get("models")).annotation in {"Model", "M", "Sequence[M]"}
