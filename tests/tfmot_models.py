"""Small tf_keras models made and trained by the real TF-MOT, for tests."""

from __future__ import annotations

import warnings

import numpy as np
import tf_keras

from keras_trt.tfmot.imported import import_tfmot
from tests.nets import images, residual_net

tfmot = import_tfmot()
qat = tfmot.quantization.keras
pruning = tfmot.sparsity.keras


def quadrants(n=256, seed=0):
    """Images whose class is their brightest quadrant: something that can be learned."""
    x, y = images(n, seed=seed)
    corners = [(slice(0, 4), slice(0, 4)), (slice(0, 4), slice(4, 8)), (slice(4, 8), slice(0, 4))]
    corners.append((slice(4, 8), slice(4, 8)))
    for i, label in enumerate(y):
        x[i, corners[label][0], corners[label][1]] += 0.5
    return x, y


def fitted(model, epochs=4, seed=0, callbacks=()):
    """The model, trained on `quadrants`."""
    tf_keras.utils.set_random_seed(seed)
    optimizer = tf_keras.optimizers.Adam(0.01)
    model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(*quadrants(), epochs=epochs, verbose=0, callbacks=list(callbacks))
    return model


def float_net(name="net"):
    """A trained residual net."""
    tf_keras.utils.set_random_seed(1)
    return fitted(residual_net(tf_keras, name=name))


def chain_net():
    """A trained net without branches: every tensor has one reader."""
    tf_keras.utils.set_random_seed(1)
    layers = tf_keras.layers
    return fitted(
        tf_keras.Sequential(
            [
                layers.Conv2D(8, 3, padding="same", use_bias=False, name="conv", input_shape=(8, 8, 3)),
                layers.BatchNormalization(name="bn"),
                layers.ReLU(name="relu"),
                layers.DepthwiseConv2D(3, name="depthwise", activation="relu"),
                layers.Conv2D(8, 1, name="pointwise", activation="relu"),
                layers.Flatten(name="flatten"),
                layers.Dense(4, name="logits", activation="softmax"),
            ],
            name="chain",
        )
    )


def stock_quantized(model, epochs=2):
    """The model quantised by TF-MOT's default scheme, and trained on."""
    return fitted(qat.quantize_model(model), epochs)


def pruned(model, epochs=2, **options):
    """The model pruned by TF-MOT's wrappers, half of the weights unless `options` say otherwise."""
    schedule = pruning.ConstantSparsity(0.5, 0, frequency=1)
    wrapped = pruning.prune_low_magnitude(model, pruning_schedule=schedule, **options)
    return fitted(wrapped, epochs, callbacks=[pruning.UpdatePruningStep()])


def predict(model, n=64):
    """What the model says of unseen images."""
    return model.predict(quadrants(n, seed=7)[0], verbose=0)


def save_h5(model, path):
    """Saves as HDF5, the one file format that TF-MOT's wrappers load from; tf_keras warns that it is old."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        model.save(path)


def kernel_zeros(array):
    """The share of zeros."""
    return float((np.asarray(array) == 0).mean())
