"""The example that this library was made for: quantise, prune and fuse a ResNet50, and fine-tune it.

    python examples/old_example.py                      # random weights, trained here, 32 x 32 pixels
    python examples/old_example.py --weights imagenet   # as the original; a download, 224 x 224 pixels
    python examples/old_example.py --legacy             # tf_keras

The original imported a module that never had these functions; `import keras_trt as tfo` provides them. It
left `x_train` to the reader: here it is scikit-learn's handwritten digits, enlarged. Added are calibration
data, a fine-tuning before the pruning, and the export; the learning rate is another.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import numpy as np
from results import Results, arguments, split
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import keras_trt as tfo

CLASSES = 1000  # ResNet50's; the digits use the first ten


def data(size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """x, y, x_test, y_test: digits as (n, size, size, 3) images in [0, 255], one-hot labels."""
    digits = load_digits()
    scale = -(-size // 8)
    images = digits.images.astype("float32").repeat(scale, axis=1).repeat(scale, axis=2)[:, :size, :size]
    rgb, labels = np.repeat(images[..., np.newaxis] * (255 / 16), 3, axis=-1), np.eye(CLASSES)[digits.target]
    x, x_test, y, y_test = train_test_split(rgb, labels, test_size=0.4, random_state=0)
    return x, y, x_test, y_test


def network(keras: Any, weights: str | None, size: int, quick: bool = False) -> Any:
    model = keras.applications.resnet50.ResNet50(weights=weights, input_shape=(size, size, 3))
    for layer in model.layers:
        if weights is None and isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.9  # 0.99 needs hundreds of steps before inference is what was trained
    if not quick:
        return model
    x = keras.layers.GlobalAveragePooling2D()(model.get_layer("conv3_block1_out").output)  # 4 of 16 blocks
    return keras.Model(model.input, keras.layers.Dense(CLASSES, activation="softmax")(x))


def compressed(
    model: Any, x: np.ndarray | None, fit: Callable[..., None], epochs: int, add: Callable[..., None]
) -> Any:
    """The script, on a trained model, calibrated with `x`.

    `fit` takes a model, epochs and a learning rate, `add` the name of a line of the table and its model.
    """
    quantized_model = tfo.keras.quantize_model(model, calibration_data=x)
    add("int8, PTQ", quantized_model)
    fit(quantized_model, 1, 1e-4)
    add("int8, QAT", quantized_model)

    pruned_model = tfo.keras.prune_model(quantized_model, threshold=0.5)

    fused_model = tfo.keras.fuse_model(pruned_model)

    # Adam moves each weight by about the learning rate in its first step, however small the gradient. Where
    # BatchNormalization has been fused nothing scales the outputs of 53 layers back, and 1e-3, the default of
    # `optimizer="adam"`, raised the loss from 0.4 to 17 in one step.
    fit(fused_model, epochs, 1e-5)
    add("int8, pruned, fused", fused_model)
    return fused_model


def main() -> None:
    options = arguments(__doc__, legacy=False, weights="none")
    keras = importlib.import_module("tf_keras" if options.legacy else "keras")
    weights = None if options.weights == "none" else options.weights
    keras.utils.set_random_seed(0)
    size = 224 if weights else 32  # what the weights of ImageNet ask for, and the least that ResNet50 takes
    x, y, x_test, y_test = split(options, *data(size))
    if options.quick:
        x, y, x_test, y_test = x[:256], y[:256], x_test[:200], y_test[:200]
    epochs, gentle = (3, 2) if options.quick else (12, 12)
    results = Results("ResNet50", x_test, accuracy=lambda p: (p.argmax(-1) == y_test.argmax(-1)).mean())

    def fit(model: Any, epochs: int, learning_rate: float) -> None:
        rate = keras.optimizers.schedules.CosineDecay(learning_rate, epochs * -(-len(x) // 32))
        # XLA would take most of a minute on a CPU to compile each of the training steps.
        model.compile(
            keras.optimizers.Adam(rate), "categorical_crossentropy", metrics=["accuracy"], jit_compile=False
        )
        model.fit(x, y, epochs=epochs, batch_size=32, verbose=2)

    model = network(keras, weights, size, options.quick)
    fit(model, epochs, 1e-3)
    results.add("float", model)
    fused_model = compressed(model, x[:128], fit, gentle, results.add)

    bundle = options.out / "old_example.bundle"
    print(tfo.export(fused_model, bundle, calibration_data=x[:32], overwrite=True))
    results.add("exported", tfo.load(bundle))
    results.check(quick=options.quick)


if __name__ == "__main__":
    main()
