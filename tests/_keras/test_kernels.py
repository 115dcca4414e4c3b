"""The table of weights agrees with what the layers of both Kerases really hold."""

import numpy as np
import pytest

from keras_trt._keras.kernels import is_depthwise, kernels_of, register_layer
from keras_trt.errors import InputError

CASES = [  # class, arguments, input shape, {attribute: (channels, inputs)}
    ("Dense", {"units": 5}, (3,), {"kernel": (5, 3)}),
    ("Conv1D", {"filters": 5, "kernel_size": 2}, (8, 3), {"kernel": (5, 3)}),
    ("Conv2D", {"filters": 5, "kernel_size": 2}, (8, 8, 3), {"kernel": (5, 3)}),
    ("Conv2D", {"filters": 6, "kernel_size": 2, "groups": 2}, (8, 8, 4), {"kernel": (6, 2)}),
    ("Conv3D", {"filters": 5, "kernel_size": 2}, (4, 4, 4, 3), {"kernel": (5, 3)}),
    ("Conv1DTranspose", {"filters": 5, "kernel_size": 2}, (8, 3), {"kernel": (5, 3)}),
    ("Conv2DTranspose", {"filters": 5, "kernel_size": 2}, (8, 8, 3), {"kernel": (5, 3)}),
    ("Conv3DTranspose", {"filters": 5, "kernel_size": 2}, (4, 4, 4, 3), {"kernel": (5, 3)}),
    ("DepthwiseConv1D", {"kernel_size": 2, "depth_multiplier": 2}, (8, 3), {"depthwise": (6, 1)}),
    ("DepthwiseConv2D", {"kernel_size": 2, "depth_multiplier": 2}, (8, 8, 3), {"depthwise": (6, 1)}),
    (
        "SeparableConv2D",
        {"filters": 5, "kernel_size": 2},
        (8, 8, 3),
        {"depthwise": (3, 1), "pointwise": (5, 3)},
    ),
    ("EinsumDense", {"equation": "abc,cd->abd", "output_shape": (2, 5)}, (2, 3), {"kernel": (5, 3)}),
    ("EinsumDense", {"equation": "abcd,cde->abe", "output_shape": (2, 5)}, (2, 3, 4), {"kernel": (5, 12)}),
]


@pytest.mark.parametrize("cls,kwargs,shape,expected", CASES, ids=[f"{c[0]}-{i}" for i, c in enumerate(CASES)])
def test_channel_and_input_axes_have_the_sizes_of_the_layer(k, cls, kwargs, shape, expected):
    layer = getattr(k.layers, cls)(**kwargs)
    layer.build((None, *shape))
    found = {}
    for kernel in kernels_of(layer):
        dims = tuple(getattr(layer, kernel.name).shape)
        name = kernel.constraint.removesuffix("_constraint")
        sizes = [int(np.prod([dims[a] for a in axes])) for axes in (kernel.channel_axes, kernel.input_axes)]
        found[name] = tuple(sizes)
        assert is_depthwise(kernel) == (name == "depthwise")
        assert hasattr(layer, kernel.constraint)
    assert found == expected


@pytest.mark.parametrize("cls", ["LSTM", "GRU", "SimpleRNN"])
def test_recurrent_cells_have_two_kernels(k, cls):
    layer = getattr(k.layers, cls)(4)
    layer.build((None, 5, 3))
    assert [kernel.name for kernel in kernels_of(layer.cell)] == ["kernel", "recurrent_kernel"]
    assert kernels_of(layer) == ()  # the cell is a layer of its own


def test_a_subclass_counts_as_its_base_class(k):
    class MyConv(k.layers.Conv2DTranspose):
        pass

    layer = MyConv(2, 3)
    layer.build((None, 4, 4, 3))
    assert kernels_of(layer)[0].channel_axes == (-2,)


def test_a_foreign_class_called_dense_is_not_taken_for_keras():
    class Dense:
        kernel = np.ones((2, 2))

    assert kernels_of(Dense()) == ()


def test_register_layer_adds_a_class_and_its_subclasses(k):
    class Scale(k.layers.Layer):
        def build(self, shape):
            self.w = self.add_weight(shape=(shape[-1], 4), name="w")

    register_layer(Scale, kernels=["w"])
    layer = Scale()
    layer.build((None, 3))
    (kernel,) = kernels_of(layer)
    assert (kernel.name, kernel.channel_axes, kernel.input_axes) == ("w", (-1,), (-2,))


def test_register_layer_refuses_a_bare_string():
    with pytest.raises(InputError, match="at least one attribute name"):
        register_layer(object, kernels="kernel")
