"""What pruning costs in accuracy and brings in speed: a ResNet on Fashion-MNIST.

    apt install dataset-fashion-mnist
    python -m benchmarks.pruning               # Keras 3
    python -m benchmarks.pruning --legacy      # tf_keras

One trained network is fine-tuned for the same number of epochs dense, with 80 % zeros (`callbacks.Prune`),
with 2:4 zeros, and with 40 % of its channels removed. Each is exported in float32 and timed on the CPU
runner, the variants in turn.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir

import keras_trt
from benchmarks.fashion_mnist import BATCH, DATA, FLOAT, Data, accuracy, probabilities, read, train
from benchmarks.fashion_nets import NETS
from benchmarks.page import environment, table, write_section
from keras_trt.callbacks import Prune
from keras_trt.export.stats import products
from keras_trt.prune import Schedule
from keras_trt.prune.facts import total_sparsity

RESULTS = Path(__file__).with_suffix(".json")
EPOCHS, LEARNING_RATE = 2, 2e-3


def variants(steps: int) -> dict[str, Callable[[Any], tuple[Any, list[Any]]]]:
    """What is done to the trained network before fine-tuning: a model, and callbacks for `fit`."""
    schedule = Schedule(0.8, end_step=steps // 2, frequency=20)
    return {
        "dense": lambda model: (model, []),
        "80 % zeros": lambda model: (model, [Prune(schedule)]),
        "2:4": lambda model: (keras_trt.prune_model(model, pattern="2:4"), []),
        "40 % of the channels": lambda model: (keras_trt.prune_model(model, 0.4, pattern="channel"), []),
    }


def trained_net(keras: Any, data: Data, folder: Path) -> Any:
    """The dense network, trained once and kept."""
    path = folder / f"{keras.__name__}-resnet-float.keras"
    if path.exists():
        return keras.models.load_model(path, compile=False)
    model = NETS["resnet"](keras)
    train(keras, model, data, **FLOAT)
    model.save(path)
    return model


def fine_tuned(keras: Any, model: Any, data: Data, callbacks: list[Any]) -> Any:
    """The model after the same training for every variant."""
    steps = EPOCHS * -(-len(data.x_train) // BATCH)
    optimizer = keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(LEARNING_RATE, steps))
    model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"], jit_compile=False)
    model.fit(data.x_train, data.y_train, epochs=EPOCHS, batch_size=BATCH, verbose=2, callbacks=callbacks)
    return model


def macs(bundle: Path) -> int:
    """Multiply-accumulates of one image, counted on the exported graph."""
    return sum(product.macs for product in products(ir.load(bundle / "model.onnx")))


def latencies(bundles: dict[str, Path], batch: int, rounds: int = 200) -> dict[str, float]:
    """Median milliseconds of a batch on the CPU runner, the bundles in turn."""
    x = np.random.default_rng(0).random((batch, 28, 28, 1), dtype="float32")
    models = {name: keras_trt.load(path) for name, path in bundles.items()}
    times: dict[str, list[float]] = {name: [] for name in bundles}
    for i in range(rounds):
        for name, model in models.items():
            start = time.perf_counter()
            model.predict_on_batch(x)
            if i >= rounds // 10:
                times[name].append(1000 * (time.perf_counter() - start))
    return {name: statistics.median(found) for name, found in times.items()}


def measure(keras: Any, data: Data, folder: Path) -> list[dict[str, Any]]:
    """One row per variant."""
    rows, bundles = [], {}
    for name, change in variants(EPOCHS * -(-len(data.x_train) // BATCH)).items():
        model, callbacks = change(trained_net(keras, data, folder))
        model = fine_tuned(keras, model, data, callbacks)
        bundles[name] = folder / f"{keras.__name__}-pruned-{len(bundles)}.bundle"
        keras_trt.export(model, bundles[name], engine=None, overwrite=True, verbose=0)
        rows.append(
            {
                "keras": keras.__name__,
                "variant": name,
                "accuracy": accuracy(probabilities(model, data), data),
                "zeros": round(total_sparsity(model), 4),
                "parameters": model.count_params(),
                "macs": macs(bundles[name]),
            }
        )
    for batch in (1, 32):
        for row, ms in zip(rows, latencies(bundles, batch).values(), strict=True):
            row[f"ms_{batch}"] = ms
    return rows


def document(results: dict[str, Any]) -> str:
    """The section of docs/benchmarks.md."""
    head = ["network", "accuracy", "to dense", "zeros", "parameters", "MACs", "batch 1", "batch 32"]
    lines = []
    for rows in results["rows"].values():
        dense = rows[0]
        for row in rows:
            ratios = [f"{row[what] / dense[what]:.2f}x" for what in ("macs", "ms_1", "ms_32")]
            lines.append([
                f"{row['variant']} ({row['keras']})", f"{row['accuracy']:.2f}",
                f"{row['accuracy'] - dense['accuracy']:+.2f}", f"{row['zeros']:.1%}",
                f"{row['parameters']:,}", *ratios,
            ])  # fmt: skip
    return "\n\n".join(
        [
            f"Measured on: {results['environment']}.",
            f"A ResNet on Fashion-MNIST, {EPOCHS} epochs of fine-tuning each; accuracy in per cent of the "
            "10,000 test images, one seed. Zeros are counted over the pruned weights; MACs and times "
            "(float32, OpenVINO) are over those of the dense network.",
            table(head, lines),
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--legacy", action="store_true", help="use tf_keras instead of Keras 3")
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--folder", type=Path, default=Path("build/fashion_mnist"))
    parser.add_argument("--table", action="store_true", help="run nothing, write docs/benchmarks.md")
    options = parser.parse_args()
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {"environment": "", "rows": {}}
    if not options.table:
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
        keras = importlib.import_module("tf_keras" if options.legacy else "keras")
        options.folder.mkdir(parents=True, exist_ok=True)
        results["rows"][keras.__name__] = measure(keras, read(options.data), options.folder)
        results["environment"] = environment("tensorflow", "keras", "tf_keras", "openvino")
        RESULTS.write_text(json.dumps(results, indent=2) + "\n")
    write_section("pruning", document(results))


if __name__ == "__main__":
    main()
