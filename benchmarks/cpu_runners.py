"""int8 bundles on the CPU runners, beside the same runner on float and on ONNX Runtime's own quantisation.

Each network of `keras.applications` is quantised and exported by this library (int8), exported as it is
(float), and the float file is quantised by `onnxruntime.quantization.quantize_static` (ptq: QDQ, per channel,
uint8 activations) on the same images. Then all run call by call in one process; ratios are medians of
neighbouring calls. Each network is measured in a process of its own.

    python -m benchmarks.cpu_runners                # all
    python -m benchmarks.cpu_runners ResNet50 ...   # these, the others stay as they are
    python -m benchmarks.cpu_runners --table        # only write the section of docs/benchmarks.md anew
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
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.page import environment, table, write_section
from benchmarks.zoo_nets import build, enliven, images

ROOT = Path(__file__).parent.parent
ROWS = ROOT / "benchmarks" / "cpu_runners.json"
NETS, BATCHES, SIZE = ("ResNet50", "MobileNetV2", "EfficientNetB0"), (1, 16), 224
ROUNDS, BUDGET = 60, 60.0  # at most so many, and so many seconds, of each batch

HEAD = """`int8` is a bundle of this library through `load`, `float` the same network exported without
quantisation through `load`, `ptq` what `onnxruntime.quantization.quantize_static` makes of it, in the
runner's own Python API. Times are the processor time of one call on one thread; ratios are medians over
rounds in which all take turns. *off* is how far the outputs are from the float network's in the L2 norm
(int8 · ptq). The networks are untrained, with normalisations as training leaves them, on images of 224 x 224.

"""


def measure(net: str) -> list[dict[str, Any]]:
    """The rows of one network, measured in this process."""
    import keras_trt

    model, x = build("keras", net, SIZE), images(net, SIZE, max(BATCHES), seed=0)
    enliven(model, x)
    expected = np.asarray(model(x, training=False))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        quiet = {"engine": None, "calibration_data": x[:8], "verbose": 0}
        keras_trt.export(model, path / "float", **quiet)
        quantized = keras_trt.quantize_model(model, calibration_data=x[:8], min_sqnr=None, verbose=0)
        keras_trt.export(quantized, path / "int8", **quiet)
        ptq(path / "float" / "model.onnx", path / "ptq.onnx", x[:8])
        return [
            row | {"net": net}
            for runner, make in (("onnxruntime", onnxruntime_file), ("openvino", openvino_file))
            for row in beside(runner, path, make, x, expected)
        ]


def beside(
    runner: str, path: Path, make: Callable[[Path], Callable[[np.ndarray], np.ndarray]], x: Any, expected: Any
) -> Iterator[dict[str, Any]]:
    """A runner's rows, one a batch size."""
    import keras_trt

    loaded = {kind: keras_trt.load(path / kind, runner, verbose=0) for kind in ("int8", "float")}
    calls: dict[str, Callable[[np.ndarray], Any]] = {k: e.predict_on_batch for k, e in loaded.items()}
    calls["ptq"] = make(path / "ptq.onnx")
    off = {kind: difference(expected, call(x)) for kind, call in calls.items()}
    for batch in BATCHES:
        seconds = turns(calls, x[:batch])
        yield {
            "runner": runner,
            "batch": batch,
            "milliseconds": {kind: 1e3 * statistics.median(taken) for kind, taken in seconds.items()},
            "to_float": ratio(seconds["int8"], seconds["float"]),
            "to_ptq": ratio(seconds["int8"], seconds["ptq"]),
            "rounds": len(seconds["int8"]),
            "off": off,
            "setting": loaded["int8"].runner.reason,
        }


def turns(calls: Mapping[str, Callable[[Any], Any]], x: np.ndarray) -> dict[str, list[float]]:
    """The processor seconds of each call; who goes first changes from round to round."""
    taken: dict[str, list[float]] = {kind: [] for kind in calls}
    for call in calls.values():
        call(x)
    end, order = time.perf_counter() + BUDGET, list(calls)
    for _ in range(ROUNDS):
        order.append(order.pop(0))
        for kind in order:
            start = time.process_time()
            calls[kind](x)
            taken[kind].append(time.process_time() - start)
        if time.perf_counter() > end:
            break
    return taken


def ratio(ours: list[float], theirs: list[float]) -> float:
    return statistics.median(a / b for a, b in zip(ours, theirs, strict=True))


def difference(expected: np.ndarray, found: np.ndarray) -> float:
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


def ptq(source: Path, target: Path, x: np.ndarray) -> None:
    """ONNX Runtime's own static quantisation, as its documentation recommends it for x86."""
    import onnx
    from onnxruntime import quantization as q

    name = onnx.load(source).graph.input[0].name

    class Rows(q.CalibrationDataReader):
        rows = iter([{name: x[i : i + 1]} for i in range(len(x))])

        def get_next(self) -> Any:
            return next(self.rows, None)

    prepared = target.with_suffix(".prepared.onnx")
    q.shape_inference.quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True)
    types = {"activation_type": q.QuantType.QUInt8, "weight_type": q.QuantType.QInt8}
    q.quantize_static(
        str(prepared), str(target), Rows(), quant_format=q.QuantFormat.QDQ, per_channel=True, **types
    )


def onnxruntime_file(file: Path) -> Callable[[np.ndarray], np.ndarray]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda x: session.run(None, {name: x})[0]


def openvino_file(file: Path) -> Callable[[np.ndarray], np.ndarray]:
    import openvino

    options = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
    core = openvino.Core()
    request = core.compile_model(core.read_model(file), "CPU", options).create_infer_request()

    def run(x: np.ndarray) -> np.ndarray:
        request.infer({0: x}, share_inputs=True)
        return np.array(request.get_output_tensor(0).data)

    return run


def on_one_thread() -> None:
    """Sees that every ONNX Runtime session of this process has one thread, where others would spin."""
    import onnxruntime

    make = onnxruntime.SessionOptions

    def options() -> Any:
        made = make()
        made.intra_op_num_threads = 1
        return made

    onnxruntime.SessionOptions = options


def document(rows: list[dict[str, Any]]) -> str:
    lines = [
        [
            f"{row['net']}, {row['runner']}, batch {row['batch']}",
            *(f"{row['milliseconds'][kind]:.1f} ms" for kind in ("int8", "float", "ptq")),
            f"{row['to_float']:.2f}",
            f"{row['to_ptq']:.2f}",
            f"{row['off']['int8']:.1%} · {row['off']['ptq']:.1%}",
        ]
        for row in rows
    ]
    columns = ["network", "int8", "float", "ptq", "int8 / float", "int8 / ptq", "off"]
    measured = f"Measured on {environment('openvino', 'onnxruntime')}, with other work on the machine.\n"
    return HEAD + measured + "`python -m benchmarks.cpu_runners` writes this.\n\n" + table(columns, lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("nets", nargs="*", help=f"of {NETS}; default: all")
    parser.add_argument("--table", action="store_true", help="measure nothing")
    parser.add_argument("--child", metavar="NET", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        on_one_thread()
        print(json.dumps(measure(options.child)))
        return
    rows: list[dict[str, Any]] = json.loads(ROWS.read_text()) if ROWS.exists() else []
    # One processor, so that OpenVINO takes one thread, too, and processor time is the time of the work.
    one = ["taskset", "-c", str(min(os.sched_getaffinity(0)))]
    for net in [] if options.table else options.nets or NETS:
        command = [*one, sys.executable, "-m", "benchmarks.cpu_runners", "--child", net]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"{net} failed: {done.stderr[-2000:]}")
        rows = [row for row in rows if row["net"] != net] + json.loads(done.stdout.splitlines()[-1])
        rows.sort(key=lambda row: NETS.index(row["net"]))
        ROWS.write_text(json.dumps(rows, indent=1) + "\n")
        print(document(rows[-4:]), flush=True)
    write_section("cpu runners", document(rows))


if __name__ == "__main__":
    main()
