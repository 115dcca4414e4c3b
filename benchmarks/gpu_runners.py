"""What a GPU makes of exported bundles, beside Keras and the CPU runners; writes docs/gpu_runners.md.

    python -m benchmarks.gpu_runners make FOLDER     # with Keras: bundles, rows and Keras's answers
    python -m benchmarks.gpu_runners run FOLDER      # on the GPU, without Keras: one line of JSON a bundle
    python -m benchmarks.gpu_runners page FILE       # the page of what `run` printed

`run` needs the package's core, onnxruntime-gpu and onnx-ir.
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

from benchmarks.page import table

ROOT = Path(__file__).parent.parent
DOCUMENT = ROOT / "docs" / "gpu_runners.md"
NETS = ("MobileNetV2", "EfficientNetB0")
PRECISIONS = ("float32", "fp16", "int8", "int8+fp16")
RUNNERS = ("onnxruntime-cuda", "onnxruntime")
SIZE, ROWS, CALLS = 96, 32, 30

HEAD = """# Bundles on a GPU by ONNX Runtime

What ONNX Runtime's CUDA provider makes of bundles that this library exported, beside Keras (TensorFlow, on
another machine's CPU) and beside ONNX Runtime on the CPU of the same machine. Untrained networks of
`keras.applications` on {rows} images of {size} x {size}, with normalisations as training leaves them.

* *off*: the relative difference to Keras's outputs (L2), for int8 to those of the quantised model.
* *images/s*: `predict_on_batch` on {rows} images, the median of {calls} calls, copies to and from the GPU
  included.
* *latency*: one image, in milliseconds.

No TensorRT engine ran for this page. int8 gains nothing here: the provider has no int8 convolutions. Float32
is off by what TF32 rounds; int8 by decisions at the borders of steps, in untrained networks. On many cores
int8 in ONNX Runtime on the CPU can be slower than its float, as here; on one it is faster
([benchmarks](benchmarks.md)).

Measured on {machine}. `python -m benchmarks.gpu_runners` writes this page.

"""


def make(folder: Path) -> None:
    """Writes the bundles, and beside each `x.npy` and `y.npy`."""
    import keras_trt
    from benchmarks.zoo_nets import build, enliven, images

    for net in NETS:
        x = images(net, SIZE, ROWS, seed=0)
        model = build("keras", net, SIZE)
        enliven(model, x)
        quantized = keras_trt.quantize_model(model, calibration_data=x, min_sqnr=None, verbose=0)
        for precision in PRECISIONS:
            source = quantized if precision.startswith("int8") else model
            place = folder / f"{net}-{precision}"
            place.mkdir(parents=True, exist_ok=True)
            asked = None if precision in ("float32", "int8") else precision
            keras_trt.export(
                source,
                place / "bundle",
                precision=asked,
                engine=None,
                calibration_data=x,
                overwrite=True,
                verbose=0,
            )
            np.save(place / "x.npy", x)
            np.save(place / "y.npy", np.asarray(source(x, training=False)))


def run(folder: Path) -> None:
    """Prints a line for each bundle and runner."""
    import keras_trt
    from keras_trt.runtime.distance import distance

    for place in sorted(folder.iterdir()):
        x, y = np.load(place / "x.npy"), np.load(place / "y.npy")
        for runner in RUNNERS:
            row: dict[str, Any] = {"bundle": place.name, "runner": runner, "machine": _machine()}
            try:
                engine = keras_trt.load(place / "bundle", runner, verbose=0)
            except keras_trt.errors.KerasTRTError as e:
                print(json.dumps(row | {"error": str(e)[:300]}), flush=True)
                continue
            with engine:
                row["reason"] = engine.runner.reason
                row["off"] = distance(y, engine.predict_on_batch(x))[0]
                row["per_second"] = len(x) / _median(engine.predict_on_batch, x)
                row["latency_ms"] = 1e3 * _median(engine.predict_on_batch, x[:1])
            print(json.dumps(row), flush=True)


def page(file: Path) -> None:
    """Writes the page from the lines of `run`."""
    lines = (line for line in file.read_text().splitlines() if line.startswith("{"))
    rows = [json.loads(line) for line in lines]
    head = HEAD.format(rows=ROWS, size=SIZE, calls=CALLS, machine=rows[0]["machine"])
    cells = [
        [
            *row["bundle"].split("-", 1),
            f"`{row['runner']}`",
            *(
                [row["error"], "", ""]
                if "error" in row
                else [f"{row['off']:.1e}", f"{row['per_second']:,.0f}", f"{row['latency_ms']:.2f}"]
            ),
        ]
        for row in rows
    ]
    text = head + table(["network", "precision", "runner", "off", "images/s", "latency"], cells)
    DOCUMENT.write_text(text + "\n")


def _median(call: Callable[[Any], Any], x: np.ndarray) -> float:
    times = []
    for _ in range(CALLS + 3):
        start = time.perf_counter()
        call(x)
        times.append(time.perf_counter() - start)
    return statistics.median(times[3:])


def _machine() -> str:
    from keras_trt.engine import gpus

    names = ", ".join(gpu.name for gpu in gpus()) or "no GPU"
    return f"{names}, {os.cpu_count()} processor cores"


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("step", choices=("make", "run", "page"))
    parser.add_argument("where", type=Path)
    asked = parser.parse_args()
    {"make": make, "run": run, "page": page}[asked.step](asked.where)


if __name__ == "__main__":
    main()
