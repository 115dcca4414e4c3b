"""The price of `Quantize(start_epoch=n)` before its start: training steps with the quantisers switched off.

    python -m benchmarks.float_epochs [--turns 40]

A small convolutional net of each Keras, plain, with the silent quantisers of the callback, and quantised. The
variants take turns, one step each, so whatever else the machine does hits them alike. A ratio is the median,
over the turns, of a step's processor time by the plain step's in the same turn.
"""

from __future__ import annotations

import argparse
import statistics
from typing import Any

import numpy as np

from benchmarks.page import environment, table, write_section
from benchmarks.qat_step import WARM_UP, timed
from keras_trt.callbacks import Quantize

VARIANTS = {"plain": None, "before start_epoch": Quantize(start_epoch=1), "quantised": Quantize()}
SIZE, BATCH = 64, 32


def net(k: Any) -> Any:
    layers = [k.Input((SIZE, SIZE, 3))]
    for filters in (32, 64, 64):
        layers += [k.layers.Conv2D(filters, 3, padding="same", use_bias=False), k.layers.BatchNormalization()]
        layers += [k.layers.ReLU(), k.layers.MaxPooling2D()]
    model = k.Sequential([*layers, k.layers.Flatten(), k.layers.Dense(10)])
    loss = k.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("sgd", loss, jit_compile=False)
    return model


def measure(k: Any, turns: int) -> list[list[str]]:
    """The rows of one Keras."""
    rng = np.random.default_rng(0)
    x = rng.random((BATCH, SIZE, SIZE, 3), dtype="float32")
    y = rng.integers(0, 10, BATCH)
    models = {}
    for name, callback in VARIANTS.items():
        models[name] = net(k)
        if callback is not None:
            callback.set_model(models[name])
        for _ in range(WARM_UP):
            models[name].train_on_batch(x, y)
    seconds: dict[str, list[float]] = {name: [] for name in VARIANTS}
    for _ in range(turns):
        for name, model in models.items():
            seconds[name].append(timed(lambda m=model: m.train_on_batch(x, y))[1])
    rows = []
    for name, found in seconds.items():
        ratio = statistics.median(a / b for a, b in zip(found, seconds["plain"], strict=True))
        rows.append([f"{k.__name__}, {name}", f"{1000 * statistics.median(found):.0f} ms", f"{ratio:.3f}"])
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--turns", type=int, default=40, help="steps to time of each model")
    parser.add_argument("--dry", action="store_true", help="print the table, write nothing")
    options = parser.parse_args()
    import keras
    import tf_keras

    rows = [row for k in (keras, tf_keras) for row in measure(k, options.turns)]
    facts = f"Measured on: {environment('tensorflow', 'keras', 'tf_keras')}."
    setting = (
        f"Three convolutions, {SIZE} x {SIZE}, batch {BATCH}, {options.turns} turns, without XLA; medians."
    )
    text = "\n\n".join([facts, setting, table(["model", "processor time", "by the plain step"], rows)])
    print(text)
    if not options.dry:
        write_section("float_epochs", text)


if __name__ == "__main__":
    main()
