"""Memory and time from export to predict, for models of Dense layers up to more than 2 GB of weights.

    python -m benchmarks.memory [--megabytes 50 500 2300] [--steps float32 int8 ...]

Each step runs in a process of its own, after the same step with a tiny model, so that all libraries are
loaded. Its number is by how much the largest resident size of the process during the step exceeds what it
held before (Linux counts it: `VmHWM` of `/proc/self/status`), the model among that, over the bytes of the
float32 weights (of the int8 weights for int8 bundles that are loaded). *own* is the part that is no pages of
mapped files, which the system takes back when it needs memory, as seen every 10 ms; *kept* is what is still
held after the step, and a collection of garbage, beyond what was before.

The 2.3 GB need about 10 GB of memory and of disk. `export` checks its own numbers, so none is compared here.
"""

from __future__ import annotations

import argparse
import gc
import json
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.page import environment, table, write_section

RESULTS = Path(__file__).with_suffix(".json")
SHAPES = {50: (1250, 8), 500: (5000, 5), 2300: (5000, 23)}
"""Width and number of the layers, by the megabytes of their weights."""

BUNDLES = ("float32", "int8", "int8, verify=False")
STEPS = {
    "export float32": ("float32",),
    "export int8": ("int8",),
    "export int8, verify=False": ("int8, verify=False",),
    "save_model, load_model": (),
    **{f"load {bundle}, {runner}": () for bundle in BUNDLES for runner in ("openvino", "onnxruntime")},
    "build float32 for SM89, tensorrt_rtx": (),
    "build int8 for SM89, tensorrt_rtx": (),
}


def network(width: int, depth: int) -> Any:
    import keras

    given = x = keras.Input((width,))
    for i in range(depth):
        x = keras.layers.Dense(width, activation="relu", name=f"dense_{i}")(x)
    return keras.Model(given, x)


def rows(width: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((16, width)).astype(np.float32)


def quantized(model: Any, x: np.ndarray) -> Any:
    import keras_trt

    return keras_trt.quantize_model(model, calibration_data=x, recover=None, min_sqnr=None, verbose=0)


def prepared(step: str, width: int, depth: int, folder: Path) -> Callable[[], Any]:
    """The step as a function, with all that it works on made ready."""
    import keras_trt

    kind, _, rest = step.partition(" ")
    if kind == "export":
        model = network(width, depth)
        if rest != "float32":
            x = rows(width)
            model = keras_trt.quantize_model(
                model, calibration_data=x, recover=None, min_sqnr=None, verbose=0
            )
        verify = "verify=False" not in rest
        options = {"engine": None, "verbose": 0, "overwrite": True, "verify": verify}
        return lambda: keras_trt.export(model, folder / rest, **options)
    if kind == "save_model,":
        model = keras_trt.quantize_model(
            network(width, depth), calibration_data=rows(width), recover=None, verbose=0
        )
        file = folder / "model.keras"

        def there_and_back() -> None:
            keras_trt.save_model(model, file)
            keras_trt.load_model(file)

        return there_and_back
    if kind == "load":
        bundle, _, runner = rest.rpartition(", ")
        x = rows(width)
        return lambda: keras_trt.load(folder / bundle, runner, verbose=0).predict(x, verbose=0)
    bundle = rest.split()[0]
    config = keras_trt.EngineConfig(compute_capabilities="SM89", optimization_level=0)
    return lambda: keras_trt.build(folder / bundle, "tensorrt_rtx", config=config, verbose=0)


def measured(step: str, megabytes: int, folder: Path) -> dict[str, float]:
    """Megabytes beyond what the process held before the step, at most and afterwards, and seconds."""
    prepared(step, 16, 2, folder / "tiny")()
    work = prepared(step, *SHAPES[megabytes], folder)
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
    before, start = _megabytes("VmRSS"), time.perf_counter()
    with own_memory() as own:
        result = work()
    seconds, peak = time.perf_counter() - start, _megabytes("VmHWM") - before
    if step.startswith("load"):
        assert result.shape == (16, SHAPES[megabytes][0])
        assert np.isfinite(result).all()
    del result
    gc.collect()
    kept = _megabytes("VmRSS") - before
    return {"peak": peak, "own": max(own) - own[0], "kept": kept, "seconds": seconds}


@contextmanager
def own_memory() -> Iterator[list[float]]:
    """Megabytes that are no pages of files, again and again while open."""
    found, done = [_megabytes("RssAnon")], threading.Event()

    def look() -> None:
        while not done.wait(0.01):
            found.append(_megabytes("RssAnon"))

    looking = threading.Thread(target=look)
    looking.start()
    try:
        yield found
    finally:
        done.set()
        looking.join()


def _megabytes(field: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1.024e-3 * next(float(line.split()[1]) for line in lines if line.startswith(field))


def measured_elsewhere(step: str, megabytes: int, folder: Path) -> dict[str, Any]:
    """`measured` in a process of its own; the end of what it printed where it failed."""
    command = [sys.executable, "-m", "benchmarks.memory", "--one", step, str(megabytes), str(folder)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        return {"error": (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]}
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def measure(sizes: list[int], steps: list[str], folder: Path) -> dict[str, Any]:
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {"rows": {}}
    results["environment"] = environment("tensorflow", "keras", "onnxruntime", "openvino")
    for megabytes in sizes:
        into = folder / str(megabytes)
        (into / "tiny").mkdir(parents=True, exist_ok=True)
        for step in STEPS:
            if not steps or any(word in step for word in steps):
                found = measured_elsewhere(step, megabytes, into)
                print(f"{megabytes} MB, {step}: {found}", flush=True)
                results["rows"].setdefault(str(megabytes), {})[step] = found
                RESULTS.write_text(json.dumps(results, indent=1) + "\n")
    return results


def document(results: dict[str, Any]) -> str:
    """The section of docs/benchmarks.md."""
    sizes = list(results["rows"])
    head = ["step", *(f"{size} MB" for size in sizes), "seconds"]
    lines = []
    for step in STEPS:
        found = [results["rows"][size].get(step) for size in sizes]
        cells = [_cell(one, int(size), step) for one, size in zip(found, sizes, strict=True)]
        seconds = next((f"{one['seconds']:.0f}" for one in reversed(found) if one and "seconds" in one), "-")
        lines.append([step, *cells, seconds])
    return f"Measured on: {results['environment']}.\n\n" + table(head, lines)


def _cell(found: dict[str, Any] | None, megabytes: int, step: str) -> str:
    if found is None:
        return "-"
    if "error" in found:
        return "failed"
    width, depth = SHAPES[megabytes]
    weights = 4e-6 * width * width * depth / (4 if step.startswith("load int8") else 1)
    shown = f"{found['peak'] / weights:.2f}"
    if "own" in found and found["peak"] - found["own"] > 0.1 * weights:
        shown += f" (own {found['own'] / weights:.2f})"
    return shown + (f", kept {found['kept'] / weights:.2f}" if found["kept"] > 0.1 * weights else "")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--megabytes", type=int, nargs="*", default=list(SHAPES), choices=SHAPES)
    parser.add_argument("--steps", nargs="*", default=[], help="words of steps to measure; else all")
    parser.add_argument("--folder", type=Path, help="where bundles are kept between runs")
    parser.add_argument("--one", nargs=3, metavar=("STEP", "MEGABYTES", "FOLDER"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        step, megabytes, folder = options.one
        print(json.dumps(measured(step, int(megabytes), Path(folder))))
        return
    folder = options.folder or Path(tempfile.mkdtemp())
    try:
        text = document(measure(options.megabytes, options.steps, folder))
    finally:
        if options.folder is None:
            shutil.rmtree(folder)
    write_section("memory", text)


if __name__ == "__main__":
    main()
