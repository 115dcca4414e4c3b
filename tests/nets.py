"""Small networks, written once for both Kerases (`k` is the namespace)."""

from __future__ import annotations

import numpy as np

from keras_trt.quantize.inventory import inventory


def residual_net(k, size=8, classes=4, name=None):
    """Conv, BN, ReLU, a residual block with a separable and a depthwise convolution, pooling, Dense."""
    layers = k.layers
    inputs = k.Input((size, size, 3), name="image")
    x = layers.Conv2D(8, 3, padding="same", use_bias=False, name="stem")(inputs)
    x = layers.BatchNormalization(name="stem_bn")(x)
    x = shortcut = layers.ReLU(name="stem_relu")(x)
    x = layers.SeparableConv2D(8, 3, padding="same", activation="relu", name="separable")(x)
    x = layers.DepthwiseConv2D(3, padding="same", use_bias=False, name="depthwise")(x)
    x = layers.BatchNormalization(name="depthwise_bn")(x)
    x = layers.Add(name="add")([shortcut, x])
    x = layers.ReLU(name="add_relu")(x)
    x = layers.ZeroPadding2D(1, name="pad")(x)
    x = layers.Conv2D(8, 3, strides=2, activation="relu", name="strided")(x)
    a = layers.AveragePooling2D(2, name="average")(x)
    b = layers.MaxPooling2D(2, name="max")(x)
    x = layers.Concatenate(name="both")([a, b])
    x = layers.Dropout(0.1, name="dropout")(x)
    x = layers.Flatten(name="flatten")(x)
    outputs = layers.Dense(classes, activation="softmax", name="probabilities")(x)
    return k.Model(inputs, outputs, name=name or "residual_net")


def images(n=64, size=8, seed=0):
    """Random images and labels of four classes."""
    rng = np.random.default_rng(seed)
    return rng.random((n, size, size, 3), dtype=np.float32), rng.integers(0, 4, n)


def compiled(k, model, optimizer="adam"):
    """The model, ready for `fit` on integer labels."""
    model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def dense_net(k, inputs, units, classes):
    """Dense "a", batch normalisation "bn", ReLU, Dense "b"; its weights are the same each time."""
    k.utils.set_random_seed(0)
    layers = [
        k.layers.Dense(units, name="a"),
        k.layers.BatchNormalization(name="bn"),
        k.layers.ReLU(),
        k.layers.Dense(classes, activation="softmax", name="b"),
    ]
    return k.Sequential([k.Input((inputs,)), *layers])


def ranges(model):
    """The amax of every activation quantiser."""
    return [tensor.amax for tensor in inventory(model) if tensor.kind == "activation"]


def metric_best_in(k, epoch):
    """A callback that logs a `metric`, which is best in one epoch while the model still changes."""

    class Metric(k.callbacks.Callback):
        def on_epoch_end(self, now, logs=None):
            logs["metric"] = -abs(now - epoch)

    return Metric()


def masked_convolution(k):
    """A layer as PixelCNN's tutorial has it: its convolution `inner` gets its kernel masked in every call."""

    class Masked(k.layers.Layer):
        def __init__(self, **options):
            super().__init__(**options)
            self.conv = k.layers.Conv2D(4, 3, padding="same", name="inner")

        def build(self, shape):
            self.conv.build(shape)
            self.mask = np.ones((3, 3, shape[-1], 4), "float32")
            self.mask[2:] = 0
            self.built = True

        def call(self, x):
            self.conv.kernel.assign(self.conv.kernel * self.mask)
            return self.conv(x)

        def compute_output_shape(self, shape):
            return (*shape[:-1], 4)

    return Masked(name="masked")
