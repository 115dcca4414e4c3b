"""Linear layers in a row are one, where that is exact and not more work."""

import pytest

from keras_trt.fuse import fuse_model
from tests.fuse.fused import fused_layers, randomise

CHAINS = {
    "dense": ((8,), [("Dense", {"units": 8}), ("Dense", {"units": 3, "activation": "relu"})]),
    "dense without biases": (
        (8,),
        [("Dense", {"units": 8, "use_bias": False}), ("Dense", {"units": 3, "use_bias": False})],
    ),
    "a point before a window": (
        (8, 8, 4),
        [("Conv2D", {"filters": 6, "kernel_size": 1}), ("Conv2D", {"filters": 5, "kernel_size": 3})],
    ),
    "a point without a bias before a padded window": (
        (8, 8, 4),
        [
            ("Conv2D", {"filters": 6, "kernel_size": 1, "use_bias": False}),
            ("Conv2D", {"filters": 5, "kernel_size": 3, "padding": "same", "strides": 2}),
        ],
    ),
    "a window before a point": (
        (8, 8, 4),
        [
            ("Conv2D", {"filters": 6, "kernel_size": 3, "strides": 2, "padding": "same"}),
            ("Conv2D", {"filters": 4, "kernel_size": 1, "activation": "tanh"}),
        ],
    ),
    "one axis": (
        (9, 4),
        [
            ("Conv1D", {"filters": 6, "kernel_size": 3, "dilation_rate": 2}),
            ("Conv1D", {"filters": 4, "kernel_size": 1}),
        ],
    ),
    "normalisations": (
        (5, 4),
        [("BatchNormalization", {"scale": False}), ("BatchNormalization", {"center": False})],
    ),
}  # fmt: skip


def chain(k, shape, layers):
    made = [getattr(k.layers, kind)(name=f"l{i}", **options) for i, (kind, options) in enumerate(layers)]
    return randomise(k.Sequential([k.Input(shape), *made]))


@pytest.mark.parametrize("name", CHAINS)
def test_two_become_one(k, name):
    assert fused_layers(chain(k, *CHAINS[name])) == (["l1"], {"linear layers in a row"})


STAYS = {
    "a bottleneck is less work": ((64,), [("Dense", {"units": 2}), ("Dense", {"units": 64})]),
    "an activation between": ((8,), [("Dense", {"units": 8, "activation": "relu"}), ("Dense", {"units": 3})]),
    "a bias before padding": (
        (8, 8, 4),
        [
            ("Conv2D", {"filters": 6, "kernel_size": 1}),
            ("Conv2D", {"filters": 5, "kernel_size": 3, "padding": "same"}),
        ],
    ),
    "groups": (
        (8, 8, 4),
        [
            ("Conv2D", {"filters": 4, "kernel_size": 1, "groups": 2}),
            ("Conv2D", {"filters": 4, "kernel_size": 3}),
        ],
    ),
    "steps before a window": (
        (8, 8, 4),
        [
            ("Conv2D", {"filters": 6, "kernel_size": 1, "strides": 2}),
            ("Conv2D", {"filters": 5, "kernel_size": 3}),
        ],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", STAYS)
def test_two_stay(k, name):
    assert fused_layers(chain(k, *STAYS[name])) == (["l0", "l1"], set())


def test_a_layer_that_is_called_twice_stays(k):
    x, dense = k.Input((4,)), k.layers.Dense(4, name="d")
    names, _ = fused_layers(k.Model(x, dense(dense(x))))
    assert names == ["d"]


def test_quantised_and_pruned_layers_stay(k):
    from keras_trt import prune_model, quantize_model

    model = chain(k, *CHAINS["dense"])
    for changed in (quantize_model(model, verbose=0), prune_model(model, 0.5)):
        assert len(fuse_model(changed).layers) == len(changed.layers)
