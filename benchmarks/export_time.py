"""Time and memory of an export, beside Keras 3's own `model.export(format="onnx")`.

    python -m benchmarks.export_time [--rounds 3]

Times: one process, the exporters take turns, so whatever else the machine does hits them alike. A number is
the median over the turns; a ratio is the median of the ratios within a turn. `verify=False` is what compares,
since Keras does not run what it has written; our default, which does, has a line of its own.

Memory: a process of its own for each number. It builds the network, exports a tiny one of the same kinds of
layers so that all libraries are loaded, and then notes by how much its peak during the export exceeds what it
held before (Linux counts it: `VmHWM` of `/proc/self/status`). The ratio is to the bytes of the weights.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.page import environment, table, write_section

RESULTS = Path(__file__).with_suffix(".json")
NETWORKS = {
    "ResNet50": "ResNet50, 224 px",
    "EfficientNetB0": "EfficientNetB0, 224 px",
    "encoder": "Transformer encoder, 12 layers of BERT-base's sizes, 128 tokens",
}
OURS, CHECKED, KERAS = "keras_trt, verify=False", "keras_trt", "Keras"


def network(name: str) -> Any:
    import keras

    return called(encoder() if name == "encoder" else getattr(keras.applications, name)(weights=None))


def called(model: Any) -> Any:
    """The model after one call, without which Keras does not export it."""
    (given,) = model.inputs
    model(np.zeros((1, *given.shape[1:]), given.dtype))
    return model


def encoder(depth: int = 12, width: int = 768, heads: int = 12, words: int = 30522, tokens: int = 128) -> Any:
    """BERT's encoder without its second and third embedding."""
    import keras

    layers = keras.layers
    ids = keras.Input((tokens,), dtype="int32", name="ids")
    x = layers.Embedding(words, width)(ids)
    for _ in range(depth):
        x = layers.LayerNormalization()(x + layers.MultiHeadAttention(heads, width // heads)(x, x))
        x = layers.LayerNormalization()(x + layers.Dense(width)(layers.Dense(4 * width, "gelu")(x)))
    return keras.Model(ids, x)


def tiny(name: str) -> Any:
    """A network of the kinds of layers that the named one has, to load libraries with."""
    import keras

    if name == "encoder":
        return called(encoder(depth=1, width=8, heads=2, words=10, tokens=4))
    layers = keras.layers
    image = keras.Input((16, 16, 3))
    x = layers.Normalization()(layers.Rescaling(1 / 255)(image))
    for convolution in (layers.Conv2D(4, 3), layers.DepthwiseConv2D(3)):
        x = convolution(layers.ZeroPadding2D()(x))
        x = layers.ReLU()(layers.BatchNormalization()(x))
    scale = layers.Reshape((1, 1, 4))(layers.GlobalAveragePooling2D()(x))
    scale = layers.Conv2D(4, 1, activation="sigmoid")(layers.Conv2D(2, 1, activation="swish")(scale))
    x = layers.MaxPooling2D()(layers.Add()([x, layers.Multiply()([x, scale])]))
    y = layers.Dense(3, activation="softmax")(layers.Dropout(0.2)(layers.GlobalAveragePooling2D()(x)))
    return called(keras.Model(image, y))


def exporters(model: Any, folder: Path) -> dict[str, Callable[[], Any]]:
    import keras_trt

    options = {"engine": None, "verbose": 0, "overwrite": True}
    return {
        OURS: lambda: keras_trt.export(model, folder / "bundle", verify=False, **options),
        CHECKED: lambda: keras_trt.export(model, folder / "bundle", **options),
        KERAS: lambda: model.export(folder / "model.onnx", format="onnx", verbose=False),
    }


def megabytes(model: Any) -> float:
    return sum(weight.numpy().nbytes for weight in model.weights) / 1e6


def times(name: str, rounds: int) -> dict[str, list[float]]:
    """Seconds of each export; a tiny network is exported before them."""
    found: dict[str, list[float]] = {exporter: [] for exporter in (OURS, CHECKED, KERAS)}
    with tempfile.TemporaryDirectory() as folder:
        for warm_up in exporters(tiny(name), Path(folder)).values():
            warm_up()
        exports = exporters(network(name), Path(folder))
        for turn in range(rounds):
            for exporter, export in exports.items():
                gc.collect()
                start = time.perf_counter()
                export()
                found[exporter].append(time.perf_counter() - start)
            shown = ", ".join(f"{exporter} {seconds[-1]:.1f} s" for exporter, seconds in found.items())
            print(f"{name}, turn {turn + 1}: {shown}", flush=True)
    return found


def peak(name: str, exporter: str) -> dict[str, float]:
    """Megabytes of the weights, and those that one export in this process takes beyond what it held."""
    with tempfile.TemporaryDirectory() as folder:
        exporters(tiny(name), Path(folder))[exporter]()
        model = network(name)
        weights = megabytes(model)
        export = exporters(model, Path(folder))[exporter]
        gc.collect()
        Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
        before = _kilobytes("VmRSS")
        export()
        return {"weights": weights, "peak": (_kilobytes("VmHWM") - before) / 1e3}


def _kilobytes(field: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1.024 * next(float(line.split()[1]) for line in lines if line.startswith(field))


def peak_elsewhere(name: str, exporter: str) -> dict[str, float]:
    """`peak` in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.export_time", "--peak", name, exporter]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return json.loads(output.splitlines()[-1])


def measure(rounds: int) -> dict[str, Any]:
    rows = {}
    for name in NETWORKS:
        peaks = {exporter: peak_elsewhere(name, exporter) for exporter in (OURS, CHECKED, KERAS)}
        print(name, peaks, flush=True)
        rows[name] = {"seconds": times(name, rounds), "peaks": peaks}
        results = {"environment": environment("tensorflow", "keras", "tf2onnx"), "rows": rows}
        RESULTS.write_text(json.dumps(results) + "\n")
    return results


def document(results: dict[str, Any]) -> str:
    """The section of docs/benchmarks.md."""
    head = ["export", "time", "to Keras", "peak memory", "to the weights"]
    parts = [
        f"Measured on: {results['environment']}; medians.",
        results.get("note", ""),
    ]
    for name, row in results["rows"].items():
        keras = row["seconds"][KERAS]
        lines = []
        for exporter, seconds in row["seconds"].items():
            ratio = statistics.median(a / b for a, b in zip(seconds, keras, strict=True))
            used = row["peaks"][exporter]
            cells = [f"{statistics.median(seconds):.1f} s", f"{ratio:.2f}", f"{used['peak']:.0f} MB"]
            lines.append([exporter, *cells, f"{used['peak'] / used['weights']:.2f}"])
        weights = row["peaks"][KERAS]["weights"]
        turns = f"{len(keras)} turn{'s' if len(keras) > 1 else ''}"
        parts += [f"{NETWORKS[name]}: {weights:.0f} MB of weights, {turns}.", table(head, lines)]
    return "\n\n".join(part for part in parts if part)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="exports to time of each kind")
    parser.add_argument("--note", default="", help="a sentence for the page, such as what else was running")
    parser.add_argument("--peak", nargs=2, metavar=("NETWORK", "EXPORTER"), help="print one number and stop")
    parser.add_argument("--table", action="store_true", help="run nothing, write docs/benchmarks.md")
    options = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    if options.peak:
        print(json.dumps(peak(*options.peak)))
        return
    results = json.loads(RESULTS.read_text()) if options.table else measure(options.rounds)
    if options.note:
        results["note"] = options.note
    RESULTS.write_text(json.dumps(results) + "\n")
    write_section("export_time", document(results))


if __name__ == "__main__":
    main()
