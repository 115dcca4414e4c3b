"""Writes what this release writes, for every later release to load: `python -m tests.compat.make`.

Run it once when a release is made, and commit the folder; never change the folders of releases that are out.
"""

from __future__ import annotations

import importlib
from importlib.metadata import version
from pathlib import Path

import numpy as np

import keras_trt


def main() -> None:
    folder = Path(__file__).parent / version("keras-trt")
    folder.mkdir()
    for name in ("keras", "tf_keras"):
        keras = importlib.import_module(name)
        keras.utils.set_random_seed(0)
        layers = keras.layers
        x = np.random.default_rng(0).random((64, 6, 6, 2)).astype("float32")
        model = keras.Sequential(
            [
                keras.Input((6, 6, 2), name="image"),
                layers.Conv2D(4, 3, activation="relu", name="conv"),
                layers.Flatten(name="flat"),
                layers.Dense(3, activation="softmax", name="head"),
            ]
        )
        model = keras_trt.prune_model(model, 0.5)
        model = keras_trt.quantize_model(model, calibration_data=x, min_sqnr=None, verbose=0)
        model.compile("sgd", "sparse_categorical_crossentropy")
        model.fit(x, np.arange(64) % 3, epochs=1, verbose=0)
        keras_trt.save_model(model, folder / f"{name}.keras")
        keras_trt.Recipe.of(model).to_json(folder / f"{name}.recipe.json")
        keras_trt.export(
            model,
            folder / f"{name}.bundle",
            engine=None,
            labels=["a", "b", "c"],
            metadata={"run": 1},
            calibration_data=x,
            verbose=0,
        )
        np.savez(folder / f"{name}.npz", x=x[:8], y=model.predict(x[:8], verbose=0))


if __name__ == "__main__":
    main()
