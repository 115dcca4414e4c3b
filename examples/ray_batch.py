"""Predictions for a table that is larger than one machine, by two actors of Ray Data.

pip install '.[keras,ray]' scikit-learn
python examples/ray_batch.py
"""

from __future__ import annotations

import time

import keras
import numpy as np
import ray
from results import Results, arguments, split
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import keras_trt

layers = keras.layers


def main() -> None:
    options = arguments(__doc__)
    keras.utils.set_random_seed(0)
    digits = load_digits()
    images = digits.images[..., None].astype("float32") / 16
    x, x_test, y, y_test = train_test_split(images, digits.target, test_size=0.4, random_state=0)
    x, y, x_test, y_test = split(options, x, y, x_test, y_test)
    results = Results("For Ray", x_test, accuracy=lambda p: (p.argmax(-1) == y_test).mean())
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1), name="image"),
            layers.Conv2D(48, 3, activation="relu"),
            layers.Flatten(),
            layers.Dense(10, activation="softmax", name="digit"),
        ]
    )

    def fit(model: keras.Model, epochs: int, learning_rate: float) -> None:
        model.compile(keras.optimizers.Adam(learning_rate), "sparse_categorical_crossentropy")
        model.fit(x, y, epochs=epochs, verbose=0)

    fit(model, 6 if options.quick else 25, 2e-3)
    results.add("float", model)
    quantized = keras_trt.quantize_model(model, calibration_data=x[:256], verbose=0)
    results.add("int8, PTQ", quantized)
    fit(quantized, 1 if options.quick else 5, 2e-4)
    results.add("int8, QAT", quantized)
    pruned = keras_trt.prune_model(quantized, sparsity=0.5)
    fit(pruned, 2 if options.quick else 8, 5e-4)
    results.add("int8, half pruned", pruned)
    bundle = options.out / "ray.bundle"
    keras_trt.export(pruned, bundle, engine=None, overwrite=True, verbose=0)
    results.add("exported", keras_trt.load(bundle))

    repeats = 2 if options.quick else 40
    images = np.tile(x_test, (repeats, 1, 1, 1))
    start = time.perf_counter()
    scores = keras_trt.ray.predict_dataset(
        ray.data.from_items([{"id": i, "pixels": image} for i, image in enumerate(images)]),
        bundle.absolute(),
        columns={"image": "pixels"},
        keep=["id"],
        actors=2,
    ).to_pandas()
    seconds = time.perf_counter() - start
    decided = np.stack(scores.sort_values("id")["digit"]).argmax(-1)
    right = (decided == np.tile(y_test, repeats)).mean()
    print(f"Ray: {len(decided)} rows in {seconds:.1f} s, {right:.2%} right")
    results.check(quick=options.quick)


if __name__ == "__main__":
    main()
