"""From NVIDIA's `tensorflow_quantization` toolkit: its calls, and what becomes of them.

    python examples/nvidia_toolkit_migration.py

| The toolkit                                          | Here                                         |
|------------------------------------------------------|----------------------------------------------|
| `quantize_model(model)`                              | `quantize_model(model, calibration_data=x)`  |
| `quantization_mode="partial", quantization_spec=...` | `quantize_model(model, only=[...])`          |
| `spec.add("head", quantize_input=False, ...)`        | `quantize_model(model, skip=["head"])`       |
| `ResNetV1QDQCase()` and the like                     | nothing: placement knows residual blocks     |
| `model.save(...)`, `python -m tf2onnx.convert ...`   | `export(model, "net.bundle")`                |
| `trtexec --onnx=... --int8`                          | nothing, or `keras-trt build` on the target  |

The toolkit starts from the ranges of the first training batches; here calibration comes first, so that
fine-tuning is short or not needed. It takes Functional models of tf_keras, this library also Keras 3
and nested models.
"""

from __future__ import annotations

import tf_keras as keras
from results import Results, arguments, split
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import keras_trt

layers = keras.layers


def network(blocks: tuple[tuple[int, int], ...]) -> keras.Model:
    """A residual network: what needs `ResNetV1QDQCase` in the toolkit."""

    def convolution(x: object, filters: int, strides: int = 1, size: int = 3) -> object:
        x = layers.Conv2D(filters, size, strides, padding="same", use_bias=False)(x)
        return layers.BatchNormalization(momentum=0.9)(x)

    image = keras.Input((8, 8, 1), name="image")
    x = layers.ReLU()(convolution(image, 32))
    for filters, strides in blocks:
        y = convolution(layers.ReLU()(convolution(x, filters, strides)), filters)
        shortcut = x if strides == 1 else convolution(x, filters, strides, size=1)
        x = layers.ReLU()(layers.Add(name=f"add_{filters}")([shortcut, y]))
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(image, layers.Dense(10, activation="softmax", name="head")(x))


def main() -> None:
    options = arguments(__doc__)
    keras.utils.set_random_seed(0)
    digits = load_digits()
    images = digits.images[..., None].astype("float32") / 16
    x, x_test, y, y_test = train_test_split(images, digits.target, test_size=0.4, random_state=0)
    x, y, x_test, y_test = split(options, x, y, x_test, y_test)
    results = Results("From NVIDIA's toolkit", x_test, accuracy=lambda p: (p.argmax(-1) == y_test).mean())
    epochs = 1 if options.quick else 5

    def fit(model: keras.Model, epochs: int, learning_rate: float) -> None:
        model.compile(keras.optimizers.Adam(learning_rate), "sparse_categorical_crossentropy")
        model.fit(x, y, epochs=epochs, verbose=0)

    model = network(((64, 2),) if options.quick else ((32, 1), (64, 2)))
    fit(model, 5 * epochs, 2e-3)
    results.add("float", model)

    # q_model = quantize_model(model, custom_qdq_cases=[ResNetV1QDQCase()])
    quantized = keras_trt.quantize_model(model, calibration_data=x[:256])
    results.add("int8, PTQ", quantized)
    shortcuts = [row for row in keras_trt.plan(model).rows if row["kind"] == "Add"]
    print(*(f"{row['layer']}: {row['reason']}" for row in shortcuts), sep="\n")

    # spec.add("head", quantize_input=False, quantize_weight=False)
    partly = keras_trt.quantize_model(model, calibration_data=x[:256], skip=["head"])
    results.add("int8, head in float", partly)

    fit(quantized, epochs, 2e-4)  # fine-tuning, as with the toolkit
    results.add("int8, QAT", quantized)
    pruned = keras_trt.prune_model(quantized, pattern="2:4")  # for sparse tensor cores
    fit(pruned, 2 * epochs, 5e-4)
    results.add("int8, 2:4 pruned", pruned)

    bundle = options.out / "from_nvidia.bundle"
    print(keras_trt.export(pruned, bundle, overwrite=True))
    results.add("exported", keras_trt.load(bundle))
    results.check(quick=options.quick)


if __name__ == "__main__":
    main()
