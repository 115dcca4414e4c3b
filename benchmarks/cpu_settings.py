"""What `load` runs int8 networks on, on this CPU, and what that costs; writes docs/cpu_settings.md.

One small network of every family of `keras.applications`, and of those that tf_keras alone has, untrained,
with normalisations as training leaves them: quantised, exported, loaded by default. Its `predict_on_batch` is
timed against OpenVINO as it is, on the same file with all of its int8 arithmetic and none of this library's
repairs, call by call in one process. Each network runs in a process of its own.

    python -m benchmarks.cpu_settings                       # all
    python -m benchmarks.cpu_settings keras:VGG16 ...       # these, the others stay as they are
    python -m benchmarks.cpu_settings --table               # only write the page anew
"""

from __future__ import annotations

import argparse
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

from benchmarks.page import environment, table
from benchmarks.zoo_nets import FAMILIES, LEGACY_FAMILIES, build, enliven, images

ROOT = Path(__file__).parent.parent
ROWS = ROOT / "benchmarks" / "cpu_settings.json"
DOCUMENT = ROOT / "docs" / "cpu_settings.md"

SIZE, BATCH = 96, 4
CALLS, BUDGET = 200, 20.0  # pairs of calls at most, and the seconds that they may take

HEAD = """# What int8 networks run on, on a CPU

`load` takes the fastest setting that computes the bundle's probe right (see [runners](runners.md) for what
would be wrong otherwise). This table shows which one that is for a small network of every family of
`keras.applications` (of `tf_keras.applications` where only that has it), and what being right costs.

* *setting*: what `load` chose by default.
* *time*: the median time of `predict_on_batch` on {batch} images of {size} x {size}.
* *ratio*: that time over the time of OpenVINO on the same file, with all its int8 arithmetic and no repairs:
  the median of pairs of calls, one after the other in one process. Below 1 the bundle is faster.
* *bundle off*, *OpenVINO off*: how far the outputs of the bundle, and of OpenVINO on the file as it is, are
  from those of the quantised Keras model on the images that it was calibrated on.

Where the last columns are large the random network is chaotic, as the Inceptions are: there, quantised
tensors that are moved by 1/10000 of a step move Keras's own outputs by 71 %, so no runner can be nearer.
Where only the very last one is large, OpenVINO by itself computes the file wrongly.

Measured on {environment}, with other work on the machine: trust the ratios, not the times.
`python -m benchmarks.cpu_settings` writes this page.

"""


def names() -> list[str]:
    """The smallest network of every family, e.g. `"keras:VGG16"`; of Keras 3 where both have it."""
    families = {"keras": FAMILIES, "tf_keras": LEGACY_FAMILIES}
    return [f"{keras}:{nets[0]}" for keras, known in families.items() for nets in known.values()]


def measure(name: str) -> dict[str, Any]:
    """One network's row, measured in this process."""
    import keras_trt

    keras_name, net = name.split(":")
    model = build(keras_name, net, SIZE)
    x = images(net, SIZE, BATCH, seed=0)
    enliven(model, x)
    quantized = keras_trt.quantize_model(model, calibration_data=x, min_sqnr=None, verbose=0)
    expected = np.asarray(quantized(x, training=False))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "net"
        keras_trt.export(quantized, path, engine=None, calibration_data=x, verbose=0)
        with keras_trt.load(path, verbose=0) as engine:
            plain = plain_openvino(path / "model.onnx")
            ours, theirs = paired(lambda: engine.predict_on_batch(x), lambda: plain(x))
            return {
                "setting": setting_of(engine),
                "milliseconds": 1e3 * statistics.median(ours),
                "ratio": statistics.median(a / b for a, b in zip(ours, theirs, strict=True)),
                "pairs": len(ours),
                "off": difference(expected, engine.predict_on_batch(x)),
                "plain_off": difference(expected, plain(x)),
            }


def plain_openvino(file: Path) -> Callable[[np.ndarray], np.ndarray]:
    """OpenVINO on a file as it is."""
    import openvino

    core = openvino.Core()
    options = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
    request = core.compile_model(core.read_model(file), "CPU", options).create_infer_request()

    def run(x: np.ndarray) -> np.ndarray:
        request.infer({0: x}, share_inputs=True)
        return np.array(request.get_output_tensor(0).data)

    return run


def paired(one: Callable[[], Any], other: Callable[[], Any]) -> tuple[list[float], list[float]]:
    """The seconds of each call of two functions, which take turns in going first."""
    taken: tuple[list[float], list[float]] = ([], [])
    for function in (one, other):
        function()
    end = time.perf_counter() + BUDGET
    for turn in range(CALLS):
        for which in (0, 1) if turn % 2 else (1, 0):
            start = time.perf_counter()
            (one, other)[which]()
            taken[which].append(time.perf_counter() - start)
        if time.perf_counter() > end:
            break
    return taken


def setting_of(engine: Any) -> str:
    """The setting that `load` took: the first one of which its reason says nothing."""
    from keras_trt.runtime.runners.cpu import settings

    tried = map(str, settings(engine.bundle.manifest))
    said = engine.runner.reason
    return next(one for one in tried if f"{one} computes" not in said and f"{one} cannot" not in said)


def difference(expected: np.ndarray, found: np.ndarray) -> float:
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


def document(rows: dict[str, dict[str, Any]]) -> str:
    """The page."""
    lines = [
        [
            name.replace(":", ".applications."),
            row["setting"],
            f"{row['milliseconds']:.1f} ms",
            f"{row['ratio']:.2f}",
            f"{row['off']:.1e}",
            f"{row['plain_off']:.1e}",
        ]
        for name, row in rows.items()
    ]
    head = HEAD.format(size=SIZE, batch=BATCH, environment=environment("openvino", "onnxruntime"))
    columns = ["network", "setting", "time", "ratio", "bundle off", "OpenVINO off"]
    return head + table(columns, lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("nets", nargs="*", help="e.g. keras:VGG16; default: all")
    parser.add_argument("--table", action="store_true", help="measure nothing")
    parser.add_argument("--child", metavar="NET", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
        print(json.dumps(measure(options.child)))
        return
    rows: dict[str, dict[str, Any]] = json.loads(ROWS.read_text()) if ROWS.exists() else {}
    for name in [] if options.table else options.nets or names():
        command = [sys.executable, "-m", "benchmarks.cpu_settings", "--child", name]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"{name} failed: {done.stderr[-2000:]}")
        rows[name] = json.loads(done.stdout.splitlines()[-1])
        print(name, rows[name], flush=True)
        rows = {known: rows[known] for known in names() if known in rows}
        ROWS.write_text(json.dumps(rows, indent=1) + "\n")
    DOCUMENT.write_text(document(rows))


if __name__ == "__main__":
    main()
