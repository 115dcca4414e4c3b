"""The example that this library was made for, as it stood: quantise, prune, fuse, fit, evaluate.

    python examples/old_example.py                      # random weights, no download
    python examples/old_example.py --weights imagenet   # as the original; Keras downloads the weights
    python examples/old_example.py --legacy             # tf_keras

The original imported a module that never had these functions; `import keras_trt as tfo` provides them.
It left `x_train` to the reader: here it is scikit-learn's handwritten digits, enlarged.
"""

from __future__ import annotations

import argparse
import importlib
from types import ModuleType
from typing import Any

import numpy as np
from sklearn.datasets import load_digits

import keras_trt as tfo

CLASSES = 1000  # ResNet50's; the digits use the first ten


def data(samples: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """`samples` digits as (samples, size, size, 3) images in [0, 255] and their one-hot labels."""
    digits = load_digits()
    scale = -(-size // 8)
    images = digits.images[:samples].repeat(scale, axis=1).repeat(scale, axis=2)[:, :size, :size]
    rgb = np.repeat(images[..., np.newaxis] * (255 / 16), 3, axis=-1)
    return rgb.astype("float32"), np.eye(CLASSES, dtype="float32")[digits.target[:samples]]


def run(resnet50: ModuleType, weights: str | None, size: int, samples: int, epochs: int) -> tuple[Any, float]:
    """The script; returns the trained model and its accuracy."""
    x, y = data(2 * samples, size)
    x_train, y_train, x_test, y_test = x[:samples], y[:samples], x[samples:], y[samples:]

    model = resnet50.ResNet50(weights=weights, input_shape=(size, size, 3))

    quantized_model = tfo.keras.quantize_model(model)

    pruned_model = tfo.keras.prune_model(quantized_model, threshold=0.5)

    fused_model = tfo.keras.fuse_model(pruned_model)

    fused_model.compile(optimizer="adam", loss="categorical_crossentropy", metrics=["accuracy"])
    fused_model.fit(x_train, y_train, epochs=epochs, batch_size=32)

    loss, accuracy = fused_model.evaluate(x_test, y_test)
    print(f"Test accuracy: {accuracy}, loss: {loss}")
    return fused_model, accuracy


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--legacy", action="store_true", help="use tf_keras instead of Keras 3")
    parser.add_argument(
        "--weights", choices=["imagenet"], help="download trained weights; random ones by default"
    )
    parser.add_argument("--size", type=int, default=224, help="height and width of the images")
    parser.add_argument("--samples", type=int, default=64, help="images to train on, and as many to test on")
    parser.add_argument("--epochs", type=int, default=1)
    options = parser.parse_args()
    keras = "tf_keras" if options.legacy else "keras"
    resnet50 = importlib.import_module(f"{keras}.applications").resnet50
    run(resnet50, options.weights, options.size, options.samples, options.epochs)


if __name__ == "__main__":
    main()
