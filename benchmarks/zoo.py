"""Takes every network of both Kerases' `applications` down the whole road and writes docs/zoo.md.

Build it (untrained), export it in float32, quantise and calibrate it, train it for one step, export it, build
a TensorRT-RTX plan for SM89, compare what the bundles predict with what Keras does, count how much of it runs
in int8. Each
network runs in a process of its own; its result is a line of benchmarks/zoo.jsonl, and networks that have
passed are skipped when the script is started again.

    python -m benchmarks.zoo                          # all that have not passed yet
    python -m benchmarks.zoo keras:VGG16 ResNet50     # these
    python -m benchmarks.zoo --table                  # only write docs/zoo.md anew
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from benchmarks.zoo_nets import build, enliven, images, networks
from benchmarks.zoo_page import BELOW_SHARE, WANTED_PARITY, WANTED_ROUNDED, WANTED_SHARE, document

ROOT = Path(__file__).parent.parent
ROWS = ROOT / "benchmarks" / "zoo.jsonl"
DOCUMENT = ROOT / "docs" / "zoo.md"


def run_apart(
    keras_name: str, net: str, size: int | None = None, float_only: bool = False, timeout: float = 3600
) -> dict[str, Any]:
    """One network's result, from a process of its own, which gives all its memory back."""
    command = [sys.executable, "-m", "benchmarks.zoo", "--child", f"{keras_name}:{net}"]
    command += ["--size", str(size)] if size else []
    command += ["--float-only"] if float_only else []
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=timeout, check=False)
    lines = done.stdout.splitlines()
    if done.returncode or not lines:
        error = f"exit code {done.returncode}: {done.stderr[-2000:]}"
        return {"keras": keras_name, "net": net, "failed": "process", "error": error}
    return json.loads(lines[-1])


class _Road:
    """The stages, in order, and what each found."""

    def __init__(self, keras_name: str, net: str) -> None:
        self.row: dict[str, Any] = {"keras": keras_name, "net": net, "failed": "", "error": "", "seconds": {}}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        self.row["failed"] = name  # until it has passed
        start = time.perf_counter()
        try:
            yield
        finally:
            self.row["seconds"][name] = round(time.perf_counter() - start, 2)
        self.row["failed"] = ""


def run(keras_name: str, net: str, size: int | None = None, float_only: bool = False) -> dict[str, Any]:
    """Takes one network down the road, in this process; an error ends it and is part of the result."""
    road = _Road(keras_name, net)
    try:
        _stages(road, size, float_only)
    except Exception as e:
        road.row["error"] = f"{type(e).__name__}: {e}"
        traceback.print_exc()
    road.row["peak_gb"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2)
    return road.row


def _stages(road: _Road, size: int | None, float_only: bool) -> None:
    import keras_trt

    row = road.row
    with road.stage("build"):
        model = build(row["keras"], row["net"], size)
        row["input"] = int(model.input_shape[1])
        row["parameters"] = int(model.count_params())
        x = images(row["net"], row["input"], 4, seed=0)
        unseen = images(row["net"], row["input"], 4, seed=1)
        enliven(model, x)
    with tempfile.TemporaryDirectory() as folder, road.stage("float export"):
        report = keras_trt.export(model, Path(folder) / "net", engine=None, verbose=0)
        row["float_parity"] = max(d["relative"] for d in report.differences)
    row["float_only"] = float_only
    if float_only:
        return
    with road.stage("quantise"):
        quantized = keras_trt.quantize_model(model, calibration_data=x, min_sqnr=None, verbose=0)
    del model
    with road.stage("train"):
        row["loss"] = train_one_step(quantized, x[:2])
    expected, unrounded = logits(quantized, unseen), logits_unrounded(quantized, unseen)
    row["int8_error"] = difference(unrounded, expected)
    with tempfile.TemporaryDirectory() as folder:
        with road.stage("export"):
            report = keras_trt.export(
                quantized, Path(folder) / "net", batch=(1, 2, 4), engine="tensorrt_rtx",
                compute_capabilities=["SM89"], verbose=0,
            )  # fmt: skip
        row["export_seconds"] = report.seconds
        row["int8_layers"], row["float_layers"] = len(report.int8_layers), list(report.float_layers)
        row["onnx_mb"] = round(report.onnx_bytes / 1e6, 1)
        row["plan_mb"] = round(report.plans[0]["bytes"] / 1e6, 1)
        row["computes"] = report.plans[0]["computes"]
        with road.stage("parity"):
            path = Path(folder) / "net"
            row["rounded"] = difference(expected, predictions(path, unseen)) / row["int8_error"]
            row["parity"] = difference(unrounded, predictions_unrounded(path, unseen))
            check(row["parity"] <= WANTED_PARITY, f"the logits differ by {row['parity']:.2%}")
            check(row["rounded"] <= WANTED_ROUNDED, f"int8 differs by {row['rounded']:.2f} of its error")
    with road.stage("share"):
        row["mac_share"] = round(report.int8_mac_share, 4)
        named = row["net"] in BELOW_SHARE
        check(row["mac_share"] >= WANTED_SHARE or named, f"only {row['mac_share']:.1%} run in int8")


def check(passed: bool, message: str) -> None:
    if not passed:
        raise AssertionError(message)


def logits(model: Any, x: np.ndarray) -> np.ndarray:
    return log_probabilities(np.asarray(model(x, training=False)))


def logits_unrounded(model: Any, x: np.ndarray) -> np.ndarray:
    """With the weights on the int8 grid and the activations in float."""
    from keras_trt.twins.quantizer import observing

    with observing(lambda quantizer, tensor: None):
        return logits(model, x)


def predictions(path: Path, x: np.ndarray) -> np.ndarray:
    import keras_trt

    return log_probabilities(keras_trt.load(path, runner="openvino", verbose=0).predict(x, verbose=0))


def predictions_unrounded(path: Path, x: np.ndarray) -> np.ndarray:
    """The same with the activations' Q/DQ taken out of the graph; the weights stay int8."""
    import onnxruntime

    from keras_trt.compare.numbers import without_rounding

    graph = without_rounding(onnx.load(path / "model.onnx"))
    options = onnxruntime.SessionOptions()  # unoptimised: a reference, not a contestant
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(graph.SerializeToString(), options, ["CPUExecutionProvider"])
    return log_probabilities(session.run(None, {graph.graph.input[0].name: x})[0])


def log_probabilities(p: np.ndarray) -> np.ndarray:
    """The logits before a softmax, each sample's mean taken out (a softmax hides it)."""
    z = np.log(np.maximum(p.astype(np.float64), 1e-30))
    return z - z.mean(axis=1, keepdims=True)


def difference(expected: np.ndarray, found: np.ndarray) -> float:
    """|a - b| relative to how much b differs between images (the rest of b may be the biases' alone)."""
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected - expected.mean(axis=0)))


def train_one_step(model: Any, x: np.ndarray) -> float:
    """The loss of one small step, which must be a number and move the weights."""
    # Tracing a graph would take most of the road's time, and XLA minutes, for one step.
    model.compile("sgd", "sparse_categorical_crossentropy", jit_compile=False, run_eagerly=True)
    model.optimizer.learning_rate = 1e-2
    model.optimizer.global_clipnorm = 1.0  # the gradients of an untrained network can be of any size
    before = [w.numpy().copy() for w in model.trainable_weights[:5]]
    loss = float(model.train_on_batch(x, np.arange(len(x))))
    moved = any((w.numpy() != old).any() for w, old in zip(model.trainable_weights, before, strict=False))
    check(np.isfinite(loss) and moved, f"the loss is {loss} and the weights {'moved' if moved else 'stayed'}")
    return round(loss, 4)


def read_rows(path: Path = ROWS) -> dict[tuple[str, str], dict[str, Any]]:
    """The last result of every network that was run."""
    lines = path.read_text().splitlines() if path.exists() else []
    return {(row["keras"], row["net"]): row for row in map(json.loads, lines)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument(
        "nets", nargs="*", help="e.g. keras:VGG16, or ResNet50 for both Kerases; default: all"
    )
    parser.add_argument("--size", type=int, help="height and width of the images; default: the network's own")
    parser.add_argument("--rows", type=Path, default=ROWS, help="the file of results; default: %(default)s")
    parser.add_argument("--float-only", action="store_true", help="end after the export in float32")
    parser.add_argument("--table", action="store_true", help="run nothing, write docs/zoo.md")
    parser.add_argument("--child", metavar="NET", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
        print(json.dumps(run(*options.child.split(":"), options.size, options.float_only)))
        return
    if not options.table:
        sweep(options.nets, options.size, options.rows, options.float_only)
    if options.rows == ROWS:
        DOCUMENT.write_text(document(read_rows()))


def sweep(wanted: list[str], size: int | None, path: Path, float_only: bool = False) -> None:
    """Runs the wanted networks, or all that have not passed yet; a line of results each."""
    done = {
        key
        for key, row in read_rows(path).items()
        if not row["failed"] and "float_parity" in row and (float_only or not row.get("float_only"))
    }
    matching = [[key for key in networks() if name in (key[1], ":".join(key))] for name in wanted]
    if [] in matching:
        raise SystemExit(f"No network is called {wanted[matching.index([])]!r}.")
    chosen = [key for keys in matching for key in keys] or [key for key in networks() if key not in done]
    for n, (keras_name, net) in enumerate(chosen, start=1):
        print(f"[{n}/{len(chosen)}] {keras_name}.{net} ...", end=" ", flush=True)
        start = time.perf_counter()
        row = run_apart(keras_name, net, size, float_only)
        with path.open("a") as file:
            file.write(json.dumps(row) + "\n")
        result = f"FAILED at {row['failed']}: {row['error']}" if row["failed"] else "passed"
        print(f"{result} ({time.perf_counter() - start:.0f} s)", flush=True)


if __name__ == "__main__":
    main()
