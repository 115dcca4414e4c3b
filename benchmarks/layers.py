"""Takes every public layer of both Kerases down the road to TensorRT and writes docs/layers.md.

A small model around the layer is exported in float, compared with Keras on a CPU runner and built by
TensorRT-RTX for SM89; where `quantize_model` has something to do, the same once more in int8. The results
are kept in benchmarks/layers.json.

    python -m benchmarks.layers                       # all; fails where a result is not what the page says
    python -m benchmarks.layers tf_keras keras:LSTM   # these, with all their rows
    python -m benchmarks.layers --write               # all, and write the results and the page anew
"""

from __future__ import annotations

import argparse
import gc
import importlib
import json
import os
import tempfile
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.layer_cases import CASES
from benchmarks.layer_nets import KERASES, Case, build, data, layer_of, public_layers
from benchmarks.layer_page import document
from benchmarks.rows import rows_of_children

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "layers.json"
DOCUMENT = ROOT / "docs" / "layers.md"

TOLERANCE = 1e-3
"""Largest relative difference between the exported float model and Keras."""

PASSES, IMPOSSIBLE, FAILS, NOTHING = "passes", "impossible", "fails", "nothing to quantise"
MISSING = "not run"

Row = dict[str, Any]


def rows_of(keras_name: str) -> list[str]:
    """The names of the cases of a Keras.

    Raises:
        SystemExit: A public layer has no case.
    """
    there = public_layers(keras_name)
    names = [name for name, case in CASES.items() if layer_of(name) in there and keras_name in case.kerases]
    missing = sorted(set(there) - {layer_of(name) for name in names})
    if missing:
        raise SystemExit(f"No case for {', '.join(missing)} of {keras_name}: add one to layer_cases.py.")
    return names


def run(keras_name: str, name: str) -> Row:
    """One case's result, float and int8; an error is part of it."""
    row: Row = {"keras": keras_name, "name": name, "float": FAILS, "int8": "", "error": ""}
    case = CASES[name]
    start = time.perf_counter()
    try:
        model, x = build(keras_name, case), data(case, 4, seed=1)
    except ImportError as e:
        row |= {"float": MISSING, "error": f"{e}"}
    except Exception as e:
        row["error"] = f"{keras_name} cannot build it: {type(e).__name__}: {_first_line(e)}"
        row["float"] = IMPOSSIBLE if case.why_impossible(keras_name) else FAILS
    else:
        _float_road(row, case, model, x)
        if row["float"] == PASSES:
            _int8_road(row, case, model, x)
    if name == layer_of(name) and public_layers(keras_name)[name]:
        row["aliases"] = public_layers(keras_name)[name]
    row["seconds"] = round(time.perf_counter() - start, 1)
    _forget(keras_name)
    return row


def _float_road(row: Row, case: Case, model: Any, x: Any) -> None:
    from keras_trt.errors import KerasTRTError

    reason = case.why_impossible(row["keras"])
    try:
        report, found = _exported(model, case, x)
        row["runner"], difference = report.verified_with, _difference(found, model(x, training=False))
        if difference > TOLERANCE:
            row["error"] = f"it differs from Keras by {difference:.1e}"
        else:
            row["float"] = PASSES
    except KerasTRTError as e:
        row["error"] = _first_line(e)
        # An error has to say where to look.
        named = any(layer.name in str(e) for layer in model.layers)
        row["float"] = IMPOSSIBLE if reason and named else FAILS
    except Exception as e:
        traceback.print_exc()
        row["error"] = f"{type(e).__name__}: {_first_line(e)}"
    if reason and row["float"] == PASSES:
        row |= {"float": FAILS, "error": f"it passes, though it is called impossible: {reason}"}


def _int8_road(row: Row, case: Case, model: Any, x: Any) -> None:
    import keras_trt

    row["int8"] = FAILS
    try:
        if not any(line["scheme"] for line in keras_trt.quantize.plan_quantization(model).rows):
            row["int8"] = NOTHING
            return
        quantized = keras_trt.quantize_model(model, calibration_data=x, min_sqnr=None, verbose=0)
        _exported(quantized, case, x)
        row["int8"] = PASSES
    except Exception as e:
        traceback.print_exc()
        row["error"] = f"int8: {type(e).__name__}: {_first_line(e)}"


def _exported(model: Any, case: Case, x: Any) -> tuple[Any, Any]:
    """The report of an export, which compares with Keras by itself, and what the bundle predicts."""
    import keras_trt

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "layer"
        report = keras_trt.export(
            model, path, batch=(1, 2, 4), input_shapes=case.input_shapes, engine="tensorrt_rtx",
            compute_capabilities=["SM89"], verbose=0,
        )  # fmt: skip
        return report, keras_trt.load(path, runner=report.verified_with, verbose=0).predict(x, verbose=0)


def _difference(found: Any, expected: Any) -> float:
    """The largest relative difference of the outputs, in the L2 norm."""
    import tensorflow as tf

    pairs = zip(tf.nest.flatten(found), tf.nest.flatten(expected), strict=True)
    arrays = [(np.asarray(a, np.float64), np.asarray(b, np.float64)) for a, b in pairs]
    return max(float(np.linalg.norm(a - b) / max(np.linalg.norm(b), 1e-6)) for a, b in arrays)


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines[:2]) if lines and lines[0].endswith(":") else next(iter(lines), "")


def _forget(keras_name: str) -> None:
    keras = importlib.import_module(keras_name)
    keras.backend.clear_session()
    gc.collect()


def run_all(keras_name: str, names: list[str]) -> Iterator[Row]:
    """The results, from a process of their own; a case that ends it fails, and the rest gets another one."""

    def failed(name: str, why: str) -> Row:
        row = {"keras": keras_name, "name": name, "float": FAILS, "int8": "", "seconds": 0.0}
        return row | {"error": why}

    return rows_of_children(["benchmarks.layers", "--child", keras_name], names, failed)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("layers", nargs="*", help="e.g. LSTM, keras:LSTM, or keras; default: all")
    parser.add_argument("--write", action="store_true", help="write the results and docs/layers.md")
    parser.add_argument("--child", metavar="KERAS", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
        _child(options.child, options.layers)
        return
    recorded = read_results()
    found = sweep(options.layers)
    if options.write:
        known = {(keras_name, name) for keras_name in KERASES for name in rows_of(keras_name)}
        merged = {key: row for key, row in (recorded | found).items() if key in known}
        write_results(merged)
        DOCUMENT.write_text(document(merged))
    wrong = [row for key, row in found.items() if not options.write and differs(row, recorded.get(key))]
    wrong += [row for row in found.values() if FAILS in (row["float"], row["int8"]) and row not in wrong]
    if wrong:
        lines = [f"  {row['keras']} {row['name']}: {row['error'] or row['float']}" for row in wrong]
        raise SystemExit("\n".join([f"{len(wrong)} of {len(found)} are not as they should be:", *lines]))


def _child(keras_name: str, names: list[str]) -> None:
    """Prints a line of results for each case; whatever else is printed goes to stderr."""
    results = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for name in names:
        print(json.dumps(run(keras_name, name)), file=results, flush=True)


def sweep(wanted: list[str]) -> dict[tuple[str, str], Row]:
    """Runs the cases of the wanted layers, or of all."""
    found = {}
    for keras_name in KERASES:
        names = [
            name
            for name in rows_of(keras_name)
            if not wanted or {keras_name, layer_of(name), f"{keras_name}:{layer_of(name)}"} & set(wanted)
        ]
        for row in run_all(keras_name, names):
            found[row["keras"], row["name"]] = row
            result = ", ".join(filter(None, (row["float"], row["int8"] and f"int8 {row['int8']}")))
            print(f"{keras_name} {row['name']}: {result} ({row['seconds']} s) {row['error']}", flush=True)
    if not found:
        raise SystemExit(f"No layer is called {' or '.join(wanted)}.")
    return found


def differs(row: Row, recorded: Row | None) -> bool:
    """Whether a result is not the one that the page shows; what cannot be run here does not count."""
    if recorded is None:
        return True
    return row["float"] != MISSING and any(row[key] != recorded[key] for key in ("float", "int8"))


def read_results(path: Path = RESULTS) -> dict[tuple[str, str], Row]:
    """The last result of every case."""
    rows = json.loads(path.read_text()) if path.exists() else []
    return {(row["keras"], row["name"]): row for row in rows}


def write_results(rows: dict[tuple[str, str], Row], path: Path = RESULTS) -> None:
    """One line a case, in the order of the table."""
    order = {name: n for n, name in enumerate(CASES)}
    sorted_rows = sorted(rows.values(), key=lambda row: (KERASES.index(row["keras"]), order[row["name"]]))
    lasting = [{key: value for key, value in row.items() if key != "seconds"} for row in sorted_rows]
    path.write_text("[\n" + ",\n".join(map(json.dumps, lasting)) + "\n]\n")


if __name__ == "__main__":
    main()
