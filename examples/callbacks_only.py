"""A training script as it is, and three callbacks: quantised, pruned, and the best epoch exported.

    python examples/callbacks_only.py

Nothing else changes: the same model, the same `compile`, the same `fit`.
"""

from __future__ import annotations

import fashion
import keras
from results import Results, arguments, split

import keras_trt
from keras_trt.callbacks import ExportBest, Prune, Quantize, SparsityLog

layers = keras.layers


def network() -> keras.Model:
    model = keras.Sequential([keras.Input((28, 28, 1), name="image"), layers.Rescaling(1 / 255)])
    for filters, strides in ((16, 2), (32, 2), (64, 2)):
        model.add(layers.Conv2D(filters, 3, strides=strides, padding="same", use_bias=False))
        model.add(layers.BatchNormalization(momentum=0.9))
        model.add(layers.ReLU())
    model.add(layers.GlobalAveragePooling2D())
    model.add(layers.Dense(10, activation="softmax", name="garment"))
    return model


def main() -> None:
    options = arguments(__doc__)
    keras.utils.set_random_seed(0)
    x, y, x_test, y_test = split(options, *fashion.load())
    samples, tests, epochs = (2048, 1000, 2) if options.quick else (len(x), len(x_test), 10)
    x, y, x_test, y_test, batch = x[:samples], y[:samples], x_test[:tests], y_test[:tests], 64
    steps, bundle = int(0.9 * samples) // batch + 1, options.out / "callbacks_only.bundle"
    results = Results("Fashion-MNIST", x_test, accuracy=lambda p: (p.argmax(-1) == y_test).mean())

    def fit(model: keras.Model, learning_rate: float, *callbacks: keras.callbacks.Callback) -> None:
        rate = keras.optimizers.schedules.CosineDecay(learning_rate, epochs * steps)
        model.compile(keras.optimizers.Adam(rate), "sparse_categorical_crossentropy", metrics=["accuracy"])
        model.fit(
            x, y, batch_size=batch, epochs=epochs, verbose=2, validation_split=0.1, callbacks=list(callbacks)
        )

    model = network()
    fit(model, 4e-3)
    model.save(options.out / "callbacks_only.keras")
    results.add("float", model)
    results.add("int8, PTQ", keras_trt.quantize_model(model, calibration_data=x[:512]))

    model = keras.models.load_model(options.out / "callbacks_only.keras")
    fit(model, 1e-3, Quantize())
    results.add("int8, QAT", model)

    model = keras.models.load_model(options.out / "callbacks_only.keras")
    best = ExportBest(bundle, monitor="val_accuracy", engine=None)
    quantize = Quantize(start_epoch=epochs // 2, freeze_batchnorm_epoch=epochs - 1)
    prune = Prune(0.5, end_step=steps * epochs // 3, frequency=10)  # of the weights, before the int8 grid
    fit(model, 2e-3, prune, quantize, best, SparsityLog())
    results.add("int8, half pruned", model)
    print(keras_trt.inspect(bundle))
    results.add("exported", keras_trt.load(bundle))
    results.check(quick=options.quick)


if __name__ == "__main__":
    main()
