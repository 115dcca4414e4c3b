"""The price of quantisation-aware training: one step of ResNet-50, plain, ours and TF-MOT's, side by side.

    python -m benchmarks.qat_step

All models live in one process and take turns, one step each, so whatever else the machine does hits them
alike. The numbers are medians: of the wall-clock time of a step, of its ratio to the plain step of the same
Keras in the same turn, and of the same ratio in processor time, which other processes disturb less.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.page import environment, table, write_section

RESULTS = Path(__file__).with_suffix(".json")
PLAIN = {"keras": "keras, plain", "tf_keras": "tf_keras, plain"}
WARM_UP = 2


def resnet50(keras: Any, size: int) -> Any:
    return keras.applications.ResNet50(weights=None, input_shape=(size, size, 3))


def timed(function: Callable[[], Any]) -> tuple[float, float, Any]:
    """Seconds by the clock, seconds of all processors, and what the function returns."""
    clock, processors = time.perf_counter(), time.process_time()
    result = function()
    return time.perf_counter() - clock, time.process_time() - processors, result


def quantizing(size: int, repeats: int) -> tuple[dict[str, list[tuple]], dict[str, Any]]:
    """(wall, processor) seconds of each `quantize_model` for ResNet-50, and the models to train."""
    import keras
    import tf_keras

    import keras_trt
    from keras_trt.tfmot.imported import import_tfmot

    models = {name: resnet50(k, size) for k, name in ((keras, PLAIN["keras"]), (tf_keras, PLAIN["tf_keras"]))}
    roads = {
        "keras, quantize_model": (PLAIN["keras"], keras_trt.quantize_model),
        "tf_keras, quantize_model": (PLAIN["tf_keras"], keras_trt.quantize_model),
        "tf_keras, TF-MOT": (PLAIN["tf_keras"], import_tfmot().quantization.keras.quantize_model),
    }
    seconds: dict[str, list[tuple]] = {name: [] for name in roads}
    for turn in range(repeats):
        for name, (plain, quantize) in roads.items():
            wall, processors, models[name] = timed(lambda q=quantize, m=models[plain]: q(m))
            seconds[name].append((wall, processors))
            print(f"quantise, turn {turn + 1}: {name} {wall:.1f} s", flush=True)
    return seconds, models


def steps(models: dict[str, Any], size: int, batch: int, turns: int, jit: bool) -> dict[str, list[tuple]]:
    """(wall, processor) seconds of every step of every model."""
    rng = np.random.default_rng(0)
    x = rng.random((batch, size, size, 3), dtype="float32")
    y = rng.integers(0, 1000, batch)
    for name, model in models.items():
        model.compile("sgd", "sparse_categorical_crossentropy", jit_compile=jit)
        for _ in range(WARM_UP):
            wall, _, _ = timed(lambda m=model: m.train_on_batch(x, y))
        print(f"{name}: warm, {wall:.1f} s", flush=True)
    found: dict[str, list[tuple]] = {name: [] for name in models}
    for turn in range(turns):
        for name, model in models.items():
            wall, processors, _ = timed(lambda m=model: m.train_on_batch(x, y))
            found[name].append((wall, processors))
        shown = ", ".join(f"{values[-1][0]:.2f}" for values in found.values())
        print(f"turn {turn + 1}: {shown} s", flush=True)
    return found


def median(values: list[tuple], which: int) -> float:
    return statistics.median(value[which] for value in values)


def ratios(found: dict[str, list[tuple]], name: str, which: int) -> float:
    """The median, over the turns, of a step's time by the plain step's in the same turn."""
    plain = found[PLAIN[name.split(",", maxsplit=1)[0]]]
    return statistics.median(step[which] / base[which] for step, base in zip(found[name], plain, strict=True))


def measure(size: int, batch: int, turns: int, repeats: int, jit: bool) -> dict[str, Any]:
    quantized, models = quantizing(size, repeats)
    found = steps(models, size, batch, turns, jit)
    rows = {
        name: {
            "step": median(found[name], 0),
            "ratio": ratios(found, name, 0),
            "processor_ratio": ratios(found, name, 1),
            "quantize": [median(quantized[name], which) for which in (0, 1)] if name in quantized else None,
        }
        for name in found
    }
    setting = f"ResNet-50, {size} x {size}, batch {batch}, {turns} turns, {'with' if jit else 'without'} XLA"
    versions = environment("tensorflow", "keras", "tf_keras", "tensorflow-model-optimization")
    return {"environment": versions, "setting": setting, "rows": rows, "steps": found}


def document(results: dict[str, Any]) -> str:
    """The section of docs/benchmarks.md."""
    head = ["model", "step", "by the plain step", "the same, processor time", "quantising took",
            "its processor time"]  # fmt: skip
    rows = [
        [
            name,
            f"{row['step']:.2f} s",
            f"{row['ratio']:.2f}",
            f"{row['processor_ratio']:.2f}",
            *([f"{seconds:.1f} s" for seconds in row["quantize"]] if row["quantize"] else ["", ""]),
        ]
        for name, row in results["rows"].items()
    ]
    parts = [f"Measured on: {results['environment']}.", f"{results['setting']}; medians.",
             results.get("note", ""), table(head, rows)]  # fmt: skip
    return "\n\n".join(part for part in parts if part)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--size", type=int, default=224, help="height and width of the images")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--turns", type=int, default=15, help="steps to time of each model")
    parser.add_argument("--repeats", type=int, default=3, help="how often to time quantize_model")
    parser.add_argument("--jit", action="store_true", help="compile the steps with XLA (about a minute each)")
    parser.add_argument("--note", default="", help="a sentence for the page, such as what else was running")
    parser.add_argument("--table", action="store_true", help="run nothing, write docs/benchmarks.md")
    parser.add_argument("--dry", action="store_true", help="print the table, write nothing")
    options = parser.parse_args()
    if options.table:
        results = json.loads(RESULTS.read_text())
    else:
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
        results = measure(options.size, options.batch, options.turns, options.repeats, options.jit)
    if options.note:
        results["note"] = options.note
    if options.dry:
        print(document(results))
        return
    RESULTS.write_text(json.dumps(results) + "\n")
    write_section("qat_step", document(results))


if __name__ == "__main__":
    main()
