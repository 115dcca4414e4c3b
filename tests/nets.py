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


def layers_with_own_calls(k):
    """Subclasses of Keras's layers, by name, that compute with their kernels in ways of their own."""
    import tensorflow as tf

    layers = k.layers

    class Standardised(layers.Conv2D):
        def call(self, x):
            kernel = tf.convert_to_tensor(self.kernel)
            mean, variance = tf.nn.moments(kernel, (0, 1, 2), keepdims=True)
            kernel = (kernel - mean) * tf.math.rsqrt(variance + 1e-5)
            return tf.nn.bias_add(tf.nn.conv2d(x, kernel, self.strides, "SAME"), self.bias)

    class Centred(layers.DepthwiseConv2D):
        def call(self, x):
            name = "depthwise_kernel" if hasattr(self, "depthwise_kernel") else "kernel"
            kernel = tf.convert_to_tensor(getattr(self, name))
            kernel -= tf.reduce_mean(kernel, (0, 1), keepdims=True)
            return tf.nn.depthwise_conv2d(x, kernel, (1, 1, 1, 1), "SAME")

    class Adapted(layers.Dense):
        """LoRA: a product of low rank beside the one with the kernel."""

        def build(self, shape):
            super().build(shape)
            self.down = self.add_weight(name="down", shape=(shape[-1], 2), initializer="random_normal")
            self.up = self.add_weight(name="up", shape=(2, self.units), initializer="random_normal")

        def call(self, x):
            return super().call(x) + tf.matmul(tf.matmul(x, self.down), self.up)

    class Merged(Adapted):
        def call(self, x):
            low_rank = tf.matmul(tf.convert_to_tensor(self.down), self.up)
            return tf.matmul(x, self.kernel + low_rank) + self.bias

    class Clipped(layers.Dense):
        def call(self, x):
            return tf.matmul(x, tf.clip_by_value(self.kernel, -0.3, 0.3)) + self.bias

    class Noisy(layers.Dense):
        def call(self, x):
            return tf.matmul(x, self.kernel + 0.1 * tf.random.normal(self.kernel.shape)) + self.bias

    class Assigns(layers.Dense):
        def call(self, x):
            self.kernel.assign(self.kernel * 0.5)
            return super().call(x)

    class Spectral(layers.Dense):
        def call(self, x):
            kernel = tf.convert_to_tensor(self.kernel)
            v = tf.math.l2_normalize(tf.matmul(tf.ones((1, self.units)), kernel, transpose_b=True))
            return tf.matmul(x, kernel / tf.norm(tf.matmul(v, kernel))) + self.bias

    class FourBits(layers.Dense):
        def call(self, x):
            return tf.matmul(x, tf.round(self.kernel * 8.0) / 8.0) + self.bias

    class Signs(layers.Dense):
        def call(self, x):
            return tf.matmul(x, tf.sign(self.kernel)) + self.bias

    class Lower(layers.Dense):
        """Autoregressive: no output sees what comes after it."""

        def call(self, x):
            kernel = tf.convert_to_tensor(self.kernel)
            return tf.matmul(x, tf.linalg.band_part(kernel, -1, 0)) + self.bias

    class Equalised(layers.Dense):
        def call(self, x):
            return tf.nn.leaky_relu(tf.matmul(x, self.kernel * 0.37) + self.bias)

    class Padded(layers.Conv2D):
        def call(self, x):
            return super().call(tf.pad(x, [[0, 0], [1, 1], [1, 1], [0, 0]], "REFLECT"))

    class Causal(layers.Conv1D):
        def call(self, x):
            return super().call(tf.pad(x, [[0, 0], [2, 0], [0, 0]]))

    class Residual(layers.Dense):
        def call(self, x):
            return tf.nn.gelu(super().call(x)) + x

    class Demodulated(layers.Dense):
        def call(self, x):
            squares = tf.reduce_sum(tf.square(tf.convert_to_tensor(self.kernel)), 0)
            return tf.matmul(x, self.kernel) * tf.math.rsqrt(squares + 1e-8)

    class WhereTrained(layers.Dense):
        def call(self, x, training=False):
            kernel = tf.convert_to_tensor(self.kernel)
            noise = tf.random.normal(kernel.shape) if training else 0.0
            return tf.matmul(x, kernel + noise) + self.bias

    return {name: cls for name, cls in locals().items() if isinstance(cls, type)}
