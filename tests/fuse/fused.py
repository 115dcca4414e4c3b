"""Weights as after training, and the comparison of a model with its fused self."""

from __future__ import annotations

import numpy as np

from keras_trt._keras.flavor_of import flavor_of
from keras_trt.fuse import fuse_model, fusion_report


def randomise(model):
    """Weights as after training: BatchNormalization far from the identity."""
    rng = np.random.default_rng(0)
    for variable in model.weights:
        shape = tuple(variable.shape)
        if "variance" in variable.name:
            value = rng.uniform(0.3, 2.0, shape)
        else:
            value = variable.numpy() + rng.normal(0, 0.3, shape) * (0.2 if len(shape) > 1 else 1)
        variable.assign(value.astype("float32"))
    return model


def assert_same(a, b, x, relative=1e-4):
    expected, got = np.asarray(a(x)), np.asarray(b(x))
    assert np.abs(got - expected).max() <= relative * np.abs(expected).max()


def layers_of(model):
    """The paths of a model's layers, nested ones too, without inputs and operations."""
    flavor = flavor_of(model)
    walked = ((path, layer) for path, layer in flavor.walk(model) if not flavor.is_model(layer))
    return [path for path, layer in walked if not isinstance(layer, flavor.keras.layers.InputLayer)]


def fused_layers(model, relative=1e-5, **options):
    """The layers of the fused model, whose numbers are those of the model, and what the report calls it."""
    rng = np.random.default_rng(0)
    x = [rng.normal(size=(3, *t.shape[1:])).astype("float32") for t in model.inputs]
    x = x if len(x) > 1 else x[0]
    fused = fuse_model(model, **options)
    for a, b in zip(_outputs(model, x), _outputs(fused, x), strict=True):
        assert np.abs(a - b).max() <= relative * np.abs(a).max()
    kinds = {row["fusion"] for row in fusion_report(model, **options).rows}
    return layers_of(fused), kinds - {None}


def _outputs(model, x):
    y = model(x)
    return [np.asarray(each) for each in (y if isinstance(y, list | tuple) else [y])]
