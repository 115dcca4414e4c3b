"""Fashion-MNIST, from Debian's package where it is installed, else by Keras's own download."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np

FOLDER = Path("/usr/share/datasets/fashion-mnist")  # apt install dataset-fashion-mnist


def load() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """x_train, y_train, x_test, y_test: images (n, 28, 28, 1) uint8, labels (n,)."""
    if not FOLDER.exists():
        import keras

        (x, y), (x_test, y_test) = keras.datasets.fashion_mnist.load_data()
        return x[..., None], y.astype("int64"), x_test[..., None], y_test.astype("int64")

    def images(name: str) -> np.ndarray:
        return read(f"{name}-images-idx3-ubyte.gz", 16).reshape(-1, 28, 28, 1)

    def labels(name: str) -> np.ndarray:
        return read(f"{name}-labels-idx1-ubyte.gz", 8).astype("int64")

    return images("train"), labels("train"), images("t10k"), labels("t10k")


def read(name: str, header: int) -> np.ndarray:
    """The bytes of an IDX file behind its header."""
    with gzip.open(FOLDER / name) as file:
        return np.frombuffer(file.read(), np.uint8, offset=header)
