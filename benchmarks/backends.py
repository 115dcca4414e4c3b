"""What a quantised training step costs beside the plain one, on the backend that Keras runs on.

    KERAS_BACKEND=jax python -m benchmarks.backends

Eight convolutions with batch normalisation, batches of 32 images of 64 x 64 x 3, `train_on_batch` of both
models in turn, in one process; the median of the ratios.
"""

from __future__ import annotations

import os
import platform
import statistics
import time

import numpy as np

ROUNDS = 15


def network(keras):
    keras.utils.set_random_seed(0)
    x = inputs = keras.Input((64, 64, 3))
    for i, filters in enumerate((32, 32, 64, 64, 64, 128, 128, 128)):
        x = keras.layers.Conv2D(filters, 3, strides=1 + i % 2, padding="same", use_bias=False)(x)
        x = keras.layers.ReLU()(keras.layers.BatchNormalization()(x))
    x = keras.layers.Dense(10, activation="softmax")(keras.layers.GlobalAveragePooling2D()(x))
    return keras.Model(inputs, x)


def main() -> None:
    import keras

    import keras_trt

    rng = np.random.default_rng(0)
    x, y = rng.random((32, 64, 64, 3), "float32"), rng.integers(0, 10, 32)
    plain = network(keras)
    quantized = keras_trt.quantize_model(plain, calibration_data=x, verbose=0)
    for model in (plain, quantized):
        model.compile("adam", "sparse_categorical_crossentropy")
        for _ in range(3):
            model.train_on_batch(x, y)
    ratios, steps = [], []
    for _ in range(ROUNDS):
        took = []
        for model in (plain, quantized):
            start = time.perf_counter()
            model.train_on_batch(x, y)
            took.append(time.perf_counter() - start)
        ratios.append(took[1] / took[0])
        steps.append(took[0])
    print(
        f"{keras.backend.backend()}: {statistics.median(ratios):.2f} of a plain step of "
        f"{statistics.median(steps) * 1000:.0f} ms ({os.cpu_count()} cores, {platform.machine()})"
    )


if __name__ == "__main__":
    main()
