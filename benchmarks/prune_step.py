"""The price of pruning in a training step: ResNet-50 plain, with our masks, and wrapped by TF-MOT.

    python -m benchmarks.prune_step [--size 224] [--batch 8] [--rounds 7]

One process, CPU; the variants take turns in `fit`s of a few steps, so that a busy machine is busy for all;
counted is the CPU time, of all threads, per step. A number is the median over all steps of all rounds but
the first of each `fit`; the ratio is the median over the rounds of the ratio to the plain step of the same
round. TF-MOT runs under tf_keras only; its callback (`UpdatePruningStep`) is part of its step, as ours is in
"callback".
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

import keras_trt
from benchmarks.page import environment, table, write_section
from keras_trt.callbacks import Prune
from keras_trt.callbacks.base import Callback
from keras_trt.reports import Report

STEPS = 4
"""Per `fit`; the first is not counted."""

Fit = Callable[[], list[float]]


class Clock(Callback):
    """CPU seconds of each training step."""

    def on_train_begin(self, logs: Any = None) -> None:
        """Starts anew."""
        self.seconds: list[float] = []

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        """Starts the clock."""
        self._start = time.process_time()

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Stops the clock; the callbacks of the variant stand between."""
        self.seconds.append(time.process_time() - self._start)


def variants(k: Any, size: int, batch: int) -> Iterator[tuple[str, Fit]]:
    """Variants of one Keras: a name, and a function that trains and gives the seconds of each step."""
    rng = np.random.default_rng(0)
    x = rng.random((batch * STEPS, size, size, 3), dtype="float32")
    y = rng.integers(0, 1000, batch * STEPS)

    def fit_of(model: Any, callbacks: list[Any]) -> Fit:
        model.compile(k.optimizers.SGD(0.01), "sparse_categorical_crossentropy")

        def fit() -> list[float]:
            clock = Clock()
            model.fit(x, y, batch_size=batch, verbose=0, callbacks=[clock, *callbacks])
            return clock.seconds[1:]

        return fit

    def net() -> Any:
        return k.applications.ResNet50(weights=None, input_shape=(size, size, 3))

    yield "plain", fit_of(net(), [])
    yield "prune_model(0.8)", fit_of(keras_trt.prune_model(net(), 0.8), [])
    yield "callback", fit_of(net(), [Prune(0.8, end_step=10000)])
    if k.__name__ == "tf_keras":
        yield "TF-MOT", fit_of(tfmot_wrapped(net()), [tfmot().sparsity.keras.UpdatePruningStep()])


def tfmot() -> Any:
    """TF-MOT, imported without letting it change what `tf.keras` is."""
    from keras_trt.tfmot.imported import import_tfmot

    return import_tfmot()


def tfmot_wrapped(model: Any) -> Any:
    """The model under TF-MOT's pruning, at the schedule that our callback follows."""
    found = tfmot().sparsity.keras
    return found.prune_low_magnitude(model, found.PolynomialDecay(0.0, 0.8, 0, 10000))


def measure(fits: list[tuple[str, Fit]], rounds: int) -> dict[str, list[float]]:
    """The median seconds per step of each variant in each round, after one round to warm up."""
    found: dict[str, list[float]] = {name: [] for name, _ in fits}
    for i in range(rounds + 1):
        for name, fit in fits:
            seconds = statistics.median(fit())
            if i:
                found[name].append(seconds)
    return found


def main() -> None:
    """Measures, prints the table and writes it to docs/benchmarks.md."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    import keras
    import tf_keras

    rows = []
    for k in (keras, tf_keras):
        times = measure(list(variants(k, arguments.size, arguments.batch)), arguments.rounds)
        for name, seconds in times.items():
            ratios = [a / b for a, b in zip(seconds, times["plain"], strict=True)]
            rows.append(
                {
                    "Keras": k.__name__,
                    "step": name,
                    "CPU ms": round(1000 * statistics.median(seconds)),
                    "ratio": statistics.median(ratios),
                }
            )
    print(Report(f"ResNet-50, {arguments.size} px, batch {arguments.batch}", tuple(rows)))
    lines = [[f"{r['step']} ({r['Keras']})", str(r["CPU ms"]), f"{r['ratio']:.3f}x"] for r in rows]
    about = f"ResNet-50, {arguments.size} px, batch {arguments.batch}, CPU seconds per training step."
    facts = f"Measured on: {environment('tensorflow', 'keras', 'tf_keras', 'tensorflow-model-optimization')}."
    found = table(["step", "CPU ms", "to plain"], lines)
    write_section("prune_step", f"{facts}\n\n{about}\n\n{found}")


if __name__ == "__main__":
    main()
