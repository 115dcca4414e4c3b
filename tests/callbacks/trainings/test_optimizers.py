"""Every optimizer of both Kerases, found by looking: masks hold, and quantisers follow the data."""

from __future__ import annotations

import inspect

import keras
import numpy as np
import pytest
import tf_keras

from keras_trt._keras.flavor_of import flavor_of
from keras_trt._keras.masks.masking import bound_mask
from keras_trt.callbacks import Prune, Quantize
from keras_trt.quantize.inventory import inventory


def optimizers(k):
    """The classes that a user of this Keras can train with."""
    spaces = [k.optimizers, getattr(k.optimizers, "legacy", None), k.mixed_precision]
    found = {cls for space in spaces for _, cls in inspect.getmembers(space, inspect.isclass)}
    bases = (k.optimizers.Optimizer, getattr(getattr(k.optimizers, "legacy", None), "Optimizer", ()))
    ours = [
        cls for cls in found if issubclass(cls, bases) and cls not in bases and not inspect.isabstract(cls)
    ]
    return sorted(ours, key=lambda cls: (cls.__module__, cls.__name__))


def made(k, cls):
    """An optimizer with its own defaults; one that needs others gets Adam."""
    needed = [
        p.name for p in inspect.signature(cls).parameters.values() if p.default is p.empty and p.kind < 2
    ]
    if needed == ["optimizer_map"]:  # a function from a variable to its optimizer will do
        adam = k.optimizers.Adam()
        return cls(lambda variable: adam)
    return cls(*(k.optimizers.Adam() for _ in needed))


QUICK = (
    "Adafactor",
    "Lamb",
    "LossScaleOptimizer",
    "Muon",
)  # these run with the other tests, the rest is slow
EVERY = [
    pytest.param(
        k,
        cls,
        id=f"{k.__name__}-{cls.__module__.split('.')[-1]}-{cls.__name__}",
        marks=() if cls.__name__ in QUICK else pytest.mark.slow,
    )
    for k in (keras, tf_keras)
    for cls in optimizers(k)
]
X = np.random.default_rng(0).normal(size=(32, 16)) * np.linspace(1, 4, 32)[:, None]
Y = np.random.default_rng(1).integers(0, 4, 32)


def trained(k, cls, callbacks):
    k.utils.set_random_seed(0)
    model = k.Sequential(
        [
            k.Input((16,)),
            k.layers.Dense(8, activation="relu", name="a"),
            k.layers.Dense(8, activation="relu", name="b"),  # Muon trains inner kernels its own way
            k.layers.Dense(4, name="c"),
        ]
    )
    loss = k.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(made(k, cls), loss, jit_compile=False)
    model.fit(X, Y, batch_size=8, epochs=1, shuffle=False, verbose=0, callbacks=callbacks(model))
    return model


@pytest.mark.parametrize(("k", "cls"), EVERY)
def test_an_optimizer_keeps_zeros_and_lets_ranges_move(k, cls):
    kernels, masks, ranges = [], [], []

    def look(batch, logs=None):
        kernels.append(model.get_layer("b").kernel.numpy().copy())
        masks.append(bound_mask(flavor_of(model), model.get_layer("b").kernel))
        ranges.append([t.amax for t in inventory(model) if t.kind == "activation"])

    def callbacks(its_model):
        nonlocal model
        model = its_model
        watch = k.callbacks.LambdaCallback(on_train_batch_end=look)
        return [Quantize(), Prune(0.5), watch]

    model = None
    try:
        trained(k, cls, callbacks)
    except Exception as error:
        with pytest.raises(type(error)):  # only where Keras itself does not train
            trained(k, cls, lambda model: [])
        pytest.skip(f"{cls.__name__} does not train a plain model either: {error}")
    assert np.mean(masks[0]) == 0.5
    for kernel, mask in zip(kernels, masks, strict=True):
        np.testing.assert_array_equal(mask, masks[0])
        assert (kernel[~mask] == 0).all()  # some optimizers make other zeros, in plain models too
    assert np.isfinite(kernels[-1]).all()
    assert (kernels[-1] != kernels[0]).any()
    assert all(first > 0 and first != last for first, last in zip(ranges[0], ranges[-1], strict=True))
