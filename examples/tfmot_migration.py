"""From TF-MOT to an engine: with what it has wrapped, with its API, or without it.

    python examples/tfmot_migration.py

TF-MOT knows tf_keras only. Three ways lead on from there, each shown with the same trained network:
1. a model that TF-MOT has quantised and trained, exported as it is;
2. TF-MOT's own API with the scheme of this library: int8 as TensorRT computes;
3. this library's functions in the place of TF-MOT's, which take Keras 3, nested models and all layers too.
"""

from __future__ import annotations

import keras as keras_3  # noqa: F401 - before TF-MOT, which sets TF_USE_LEGACY_KERAS when it is imported
import tensorflow as tf
import tf_keras as keras
from results import Results, arguments, split
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import keras_trt

tf.keras.Model  # noqa: B018 - is decided now, for the same reason
import tensorflow_model_optimization as tfmot  # noqa: E402

layers = keras.layers


def network() -> keras.Model:
    image = keras.Input((8, 8, 1), name="image")
    x = layers.Conv2D(32, 3, padding="same", activation="relu")(image)
    y = layers.Conv2D(32, 3, padding="same")(x)
    x = layers.ReLU()(layers.Add()([x, y]))
    x = layers.Conv2D(64, 3, strides=2, padding="same", activation="relu")(x)
    return keras.Model(image, layers.Dense(10, activation="softmax", name="digit")(layers.Flatten()(x)))


def main() -> None:
    options = arguments(__doc__)
    keras.utils.set_random_seed(0)
    digits = load_digits()
    images = digits.images[..., None].astype("float32") / 16
    x, x_test, y, y_test = train_test_split(images, digits.target, test_size=0.4, random_state=0)
    x, y, x_test, y_test = split(options, x, y, x_test, y_test)
    results = Results("From TF-MOT", x_test, accuracy=lambda p: (p.argmax(-1) == y_test).mean())
    epochs = 2 if options.quick else 5

    def fit(model: keras.Model, epochs: int, learning_rate: float, *callbacks: object) -> keras.Model:
        model.compile(keras.optimizers.Adam(learning_rate), "sparse_categorical_crossentropy")
        model.fit(x, y, epochs=epochs, verbose=0, callbacks=list(callbacks))
        return model

    def export(name: str, model: keras.Model) -> None:
        keras_trt.export(model, options.out / f"{name}.bundle", overwrite=True, engine=None, verbose=0)
        results.add(f"exported: {name}", keras_trt.load(options.out / f"{name}.bundle", verbose=0))

    model = fit(network(), 5 * epochs, 2e-3)
    results.add("float", model)
    results.add("int8, PTQ", keras_trt.quantize_model(model, calibration_data=x[:256], verbose=0))

    # 1. Trained with TF-MOT's default scheme, which TensorRT refuses (its zero points are not 0).
    theirs = fit(tfmot.quantization.keras.quantize_model(model), epochs, 2e-4)
    results.add("int8, TF-MOT's QAT", theirs)
    print(keras_trt.tfmot.range_report(theirs))  # what its ranges cost when they are made symmetric
    export("TF-MOT's QAT", theirs)

    # 2. The same code with another scheme.
    annotated = tfmot.quantization.keras.quantize_annotate_model(model)
    scheme = keras_trt.tfmot.TensorRTQuantizeScheme()
    export(
        "TF-MOT, our scheme", fit(tfmot.quantization.keras.quantize_apply(annotated, scheme), epochs, 2e-4)
    )

    # 3. Without TF-MOT; its schedules and masks run here, in the place of prune_low_magnitude.
    steps = -(-len(x) // 32)
    schedule = tfmot.sparsity.keras.PolynomialDecay(0.0, 0.5, 0, steps * epochs, frequency=10)
    pruned = fit(
        keras_trt.prune_model(model, schedule=schedule), 2 * epochs, 1e-3, keras_trt.callbacks.Prune()
    )
    ours = fit(keras_trt.quantize_model(pruned, calibration_data=x[:256], verbose=0), epochs, 2e-4)
    results.add("int8, half pruned", ours)
    export("ours", ours)
    names = ("exported: TF-MOT's QAT", "exported: TF-MOT, our scheme", "exported: ours")
    results.check(*names, quick=options.quick)


if __name__ == "__main__":
    main()
