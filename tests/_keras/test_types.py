"""What the types of public functions say of models is true of both Kerases' models."""

from __future__ import annotations

import inspect

import numpy as np
import pytest

import keras_trt
from keras_trt._keras import types

PUBLIC = [getattr(keras_trt, name) for name in keras_trt.__all__]
FUNCTIONS = [
    f
    for f in PUBLIC
    if inspect.isfunction(f)
    and any(  # `benchmark` takes one beside its bundles, or the file of one
        name in ("model", "models") and parameter.default is parameter.empty
        for name, parameter in inspect.signature(f).parameters.items()
    )
]


def is_ours(member: object) -> bool:
    """Whether a member of a Protocol is one that it asks for, and not one of typing's."""
    return isinstance(member, property) or getattr(member, "__module__", None) == types.__name__


@pytest.mark.parametrize("kind", [types.Layer, types.Model, types.Tensor, types.Variable])
def test_keras_s_own_objects_have_what_the_protocol_asks_for(k, kind):
    model = k.Sequential([k.Input((2,)), k.layers.Dense(1)])
    objects = {
        types.Layer: [model.layers[0], model],
        types.Model: [model],
        types.Tensor: [*model.outputs, model(np.ones((1, 2)))],
        types.Variable: model.weights,
    }
    members = {name for base in kind.__mro__ for name, member in vars(base).items() if is_ours(member)}
    assert members
    assert all(hasattr(thing, name) for thing in objects[kind] for name in members)


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda f: f.__name__)
def test_every_public_function_says_that_it_takes_a_model(function):
    taken = inspect.signature(function).parameters
    assert taken.get("model", taken.get("models")).annotation in {"Model", "M", "Sequence[M]"}
