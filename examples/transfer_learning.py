"""A pretrained backbone, nested as one layer, and a head of one's own: quantised and exported as they are.

    python examples/transfer_learning.py                  # weights of ImageNet, which Keras downloads
    python examples/transfer_learning.py --weights none   # random weights, trained along: needs no network

With weights the backbone stands still while the head is trained, as in Keras's guide to transfer learning.
"""

from __future__ import annotations

import fashion
import keras
from results import Results, arguments, split

import keras_trt

layers = keras.layers


def network(weights: str | None, size: int, quick: bool) -> keras.Model:
    backbone = keras.applications.MobileNet(
        input_shape=(size, size, 3), alpha=0.25, include_top=False, pooling="avg", weights=weights
    )
    if quick:  # its first three blocks
        x = layers.GlobalAveragePooling2D()(backbone.get_layer("conv_pw_3_relu").output)
        backbone = keras.Model(backbone.input, x, name=backbone.name)
    backbone.trainable = weights is None
    for layer in backbone.layers:
        if weights is None and isinstance(layer, layers.BatchNormalization):
            layer.momentum = 0.9  # 0.999 needs thousands of steps before inference is what was trained
    image = keras.Input((28, 28, 1), dtype="uint8", name="image")
    x = layers.Resizing(size, size)(image)
    x = layers.Rescaling(1 / 127.5, offset=-1)(layers.Concatenate()([x, x, x]))  # what MobileNet expects
    x = layers.Dropout(0.2)(backbone(x))
    return keras.Model(image, layers.Dense(10, activation="softmax", name="garment")(x))


def main() -> None:
    options = arguments(__doc__, weights="imagenet")
    weights = None if options.weights == "none" else options.weights
    keras.utils.set_random_seed(0)
    x, y, x_test, y_test = split(options, *fashion.load())
    count, tests, epochs, size = (1000, 500, 3, 32) if options.quick else (12000, 10000, 8, 64)
    size = 128 if weights and not options.quick else size  # of ImageNet's weights the least
    x, y, x_test, y_test = x[:count], y[:count], x_test[:tests], y_test[:tests]
    results = Results("Transferred", x_test, accuracy=lambda p: (p.argmax(-1) == y_test).mean())

    def fit(model: keras.Model, epochs: int, learning_rate: float) -> None:
        rate = keras.optimizers.schedules.CosineDecay(learning_rate, epochs * -(-count // 64))
        # On CPUs XLA computes depthwise convolutions many times slower than TensorFlow's own kernels.
        model.compile(keras.optimizers.Adam(rate), "sparse_categorical_crossentropy", jit_compile=False)
        model.fit(x, y, batch_size=64, epochs=epochs, verbose=2)

    model = network(weights, size, options.quick)
    fit(model, epochs, 3e-3)
    results.add("float", model)
    quantized = keras_trt.quantize_model(model, calibration_data=x[:256])
    results.add("int8, PTQ", quantized)
    fit(quantized, max(1, epochs // 4), 2e-4)
    results.add("int8, QAT", quantized)
    pruned = keras_trt.prune_model(quantized, sparsity=0.3, strategy="lamp")
    pruned.trainable = True  # what is pruned must be free to recover
    fit(pruned, max(2, epochs // 3), 2e-4)
    results.add("int8, 30 % pruned", pruned)

    bundle = options.out / "transfer_learning.bundle"
    print(keras_trt.export(pruned, bundle, calibration_data=x[:32], overwrite=True))
    results.add("exported", keras_trt.load(bundle))
    results.check(quick=options.quick)


if __name__ == "__main__":
    main()
