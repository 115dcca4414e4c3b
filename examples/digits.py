"""The whole road on real handwritten digits: train, quantise, export, build an engine, load it, predict.

    python examples/digits.py                  # Keras 3
    python examples/digits.py --backend jax    # Keras 3 on JAX; or torch
    python examples/digits.py --legacy         # tf_keras

Needs no GPU: TensorRT-RTX builds the engine ahead of time, and OpenVINO runs the same ONNX file on the CPU.
"""

from __future__ import annotations

import argparse
import importlib
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import keras_trt

TARGETS = ("SM86", "SM89", "SM120")  # Ampere, Ada and Blackwell cards


def data() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """1797 digits of 8 x 8 pixels, as x_train, x_test, y_train, y_test; pixels in [0, 1]."""
    digits = load_digits()
    images = (digits.images[..., np.newaxis] / 16).astype("float32")
    return train_test_split(images, digits.target, test_size=0.2, stratify=digits.target, random_state=0)


def network(keras):
    """A small residual CNN; `keras` is `keras` or `tf_keras`."""
    layers = keras.layers

    def convolution(x, filters: int, size: int, strides: int = 1):
        x = layers.Conv2D(filters, size, strides=strides, padding="same", use_bias=False)(x)
        return layers.BatchNormalization(momentum=0.9)(x)

    def block(x, filters: int, strides: int = 1):
        y = layers.ReLU()(convolution(x, filters, 3, strides))
        y = convolution(y, filters, 3)
        if strides > 1:
            x = convolution(x, filters, 1, strides)
        return layers.ReLU()(layers.Add()([x, y]))

    image = keras.Input((8, 8, 1), name="image")
    x = layers.ReLU()(convolution(image, 32, 3))
    x = block(x, 32)
    x = block(x, 64, strides=2)
    x = block(x, 64)
    x = layers.GlobalAveragePooling2D()(x)
    digit = layers.Dense(10, activation="softmax", name="digit")(x)
    return keras.Model(image, digit, name="digits")


def train(keras, model, x, y, *, epochs: int, learning_rate: float) -> None:
    steps = epochs * -(-len(x) // 32)
    optimizer = keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(learning_rate, steps))
    model.compile(optimizer, loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(x, y, epochs=epochs, batch_size=32, verbose=2)


def accuracy(probabilities: np.ndarray, labels: np.ndarray) -> float:
    return float((probabilities.argmax(-1) == labels).mean())


def milliseconds(predict: Callable, x: np.ndarray, repeats: int = 30) -> float:
    """Median time of one `predict` of the whole of `x`."""
    times = []
    for _ in range(repeats + 5):  # the first ones warm up
        start = time.perf_counter()
        predict(x, verbose=0)
        times.append(1000 * (time.perf_counter() - start))
    return statistics.median(times[5:])


def size(path: Path) -> str:
    return f"{path.stat().st_size / 1024:.0f} KiB"


def show(rows: list[tuple], labels: np.ndarray, x: np.ndarray) -> None:
    """Prints one line for each (name, model, file)."""
    table = Table(title=f"Handwritten digits, {len(labels)} test images")
    table.add_column("model")
    for column in ("accuracy", "file", "predict, batch 1", "predict, batch 32"):
        table.add_column(column, justify="right")
    for name, model, file in rows:
        latency = [f"{milliseconds(model.predict, x[:batch]):.2f} ms" for batch in (1, 32)]
        table.add_row(name, f"{accuracy(model.predict(x, verbose=0), labels):.2%}", size(file), *latency)
    Console(width=110).print(table)


def difference(quantized: np.ndarray, exported: np.ndarray) -> None:
    """Prints how close the exported bundle is to the Keras model it was made from."""
    same = int((quantized.argmax(-1) == exported.argmax(-1)).sum())
    mean = float(np.abs(quantized - exported).mean())
    print(f"The int8 bundle decides as the QAT model on {same} of {len(quantized)} images; "
          f"mean difference of the probabilities {mean:.1e}")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--legacy", action="store_true", help="use tf_keras instead of Keras 3")
    parser.add_argument("--backend", choices=("tensorflow", "jax", "torch"), help="what Keras 3 trains on")
    parser.add_argument("--seed", type=int, default=0, help="of the first weights and the order of images")
    parser.add_argument("--epochs", type=int, default=12, help="epochs of float training")
    parser.add_argument("--out", type=Path, help="folder for the files; a temporary one by default")
    options = parser.parse_args()
    if options.legacy and options.backend not in (None, "tensorflow"):
        parser.error("tf_keras has no other backend than TensorFlow")
    if options.backend:
        os.environ["KERAS_BACKEND"] = options.backend  # before Keras is imported
    keras = importlib.import_module("tf_keras" if options.legacy else "keras")
    keras.utils.set_random_seed(options.seed)
    x_train, x_test, y_train, y_test = data()
    start = time.perf_counter()

    with tempfile.TemporaryDirectory() as temporary:
        out = options.out or Path(temporary)
        out.mkdir(parents=True, exist_ok=True)

        backend = "" if options.legacy else f" on {keras.backend.backend()}"
        print(f"1. Train in float ({keras.__name__} {keras.__version__}{backend})")
        model = network(keras)
        train(keras, model, x_train, y_train, epochs=options.epochs, learning_rate=2e-3)

        print("2. Quantise to int8 and fine-tune")
        quantized = keras_trt.quantize_model(model, calibration_data=x_train[:256])
        train(keras, quantized, x_train, y_train, epochs=max(1, options.epochs // 4), learning_rate=1e-4)

        print("3. Export to ONNX and build a TensorRT-RTX engine")
        path = out / "digits.bundle"
        keras_trt.export(
            quantized,
            path,
            batch=(1, 8, 32),
            engine="tensorrt_rtx",
            compute_capabilities=TARGETS,
            overwrite=True,
        )
        keras_trt.export(model, out / "float.bundle", engine=None, overwrite=True, verbose=0)

        print("4. Load the bundles and predict")
        engine = keras_trt.load(path)
        float_engine = keras_trt.load(out / "float.bundle", verbose=0)
        for name, trained in (("float", model), ("int8", quantized)):
            keras_trt.save_model(keras_trt.strip(trained), out / f"{name}.keras")  # without optimizer state
        show(
            [
                (f"float32 {keras.__name__}", model, out / "float.keras"),
                (f"int8 QAT {keras.__name__}", quantized, out / "int8.keras"),
                (
                    f"float32 bundle on {float_engine.runner.name}",
                    float_engine,
                    out / "float.bundle/model.onnx",
                ),
                (f"int8 bundle on {engine.runner.name}", engine, path / "model.onnx"),
            ],
            y_test,
            x_test,
        )
        difference(quantized.predict(x_test, verbose=0), engine.predict(x_test, verbose=0))
        for plan in engine.bundle.manifest.plans:
            targets = ", ".join(plan.compute_capabilities)
            print(f"Engine: {plan.kind} {plan.version}, {plan.bytes / 1024:.0f} KiB, for GPUs {targets}")
    print(f"Done in {time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
