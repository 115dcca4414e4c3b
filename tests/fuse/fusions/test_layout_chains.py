"""Of reshapes in a row the last counts; paddings add up."""

import pytest

from tests.fuse.fused import fused_layers


def test_reshapes_in_a_row_are_the_last(k):
    x = k.Input((4, 6))
    y = k.layers.Reshape((2, 12), name="a")(x)
    y = k.layers.Reshape((-1, 3), name="b")(k.layers.Flatten(name="c")(y))
    names, kinds = fused_layers(k.Model(x, k.layers.Dense(2, name="d")(y)))
    assert (names, kinds) == (["b", "d"], {"reshapes in a row"})


@pytest.mark.parametrize(
    ("kind", "shape", "paddings"),
    [
        ("ZeroPadding1D", (5, 3), [2, (0, 1)]),
        ("ZeroPadding2D", (5, 5, 3), [((1, 0), (2, 1)), 1, (0, 2)]),
        ("ZeroPadding3D", (3, 3, 3, 2), [1, ((0, 1), (1, 0), (0, 0))]),
    ],
)
def test_paddings_in_a_row_add_up(k, kind, shape, paddings):
    layers = [getattr(k.layers, kind)(padding, name=f"p{i}") for i, padding in enumerate(paddings)]
    model = k.Sequential([k.Input(shape), *layers, k.layers.ReLU(name="r")])
    assert fused_layers(model) == ([f"p{len(layers) - 1}", "r"], {"paddings in a row"})


def test_one_that_another_layer_reads_stays(k):
    x = k.Input((4, 6))
    y = k.layers.Reshape((12, 2), name="a")(x)
    model = k.Model(x, [k.layers.Flatten(name="b")(y), k.layers.ReLU(name="c")(y)])
    assert sorted(fused_layers(model)[0]) == ["a", "b", "c"]
