"""Train, quantise, prune and export a network for handwritten digits, and load what was written.

python examples/quickstart.py
"""

from __future__ import annotations

import keras
from results import Results, arguments, split
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import keras_trt

layers = keras.layers


def network() -> keras.Model:
    return keras.Sequential(
        [
            keras.Input((8, 8, 1), name="image"),
            layers.Conv2D(32, 3, padding="same", use_bias=False),
            layers.BatchNormalization(momentum=0.9),
            layers.ReLU(),
            layers.Conv2D(64, 3, strides=2, padding="same", use_bias=False),
            layers.BatchNormalization(momentum=0.9),
            layers.ReLU(),
            layers.Flatten(),
            layers.Dropout(0.3),
            layers.Dense(10, activation="softmax", name="digit"),
        ]
    )


def main() -> None:
    options = arguments(__doc__)
    keras.utils.set_random_seed(0)
    digits = load_digits()
    images = digits.images[..., None].astype("float32") / 16
    x_train, x_test, y_train, y_test = train_test_split(images, digits.target, test_size=0.4, random_state=0)
    x_train, y_train, x_test, y_test = split(options, x_train, y_train, x_test, y_test)
    results = Results("Handwritten digits", x_test, accuracy=lambda p: (p.argmax(-1) == y_test).mean())

    def fit(model: keras.Model, epochs: int, learning_rate: float) -> None:
        model.compile(keras.optimizers.Adam(learning_rate), "sparse_categorical_crossentropy")
        model.fit(x_train, y_train, epochs=epochs, verbose=0)

    model = network()
    fit(model, 10 if options.quick else 30, 2e-3)
    results.add("float", model)

    quantized = keras_trt.quantize_model(model, calibration_data=x_train[:256])  # int8, without training
    results.add("int8, PTQ", quantized)

    fit(quantized, 2 if options.quick else 5, 2e-4)  # the weights adapt to the rounding
    results.add("int8, QAT", quantized)

    pruned = keras_trt.prune_model(quantized, sparsity=0.5)  # half of each layer's weights become zero
    fit(pruned, 5 if options.quick else 10, 5e-4)  # and stay zero
    results.add("int8, half pruned", pruned)

    print(keras_trt.export(pruned, options.out / "quickstart.bundle", overwrite=True))
    results.add("exported", keras_trt.load(options.out / "quickstart.bundle"))
    results.check(quick=options.quick)


if __name__ == "__main__":
    main()
