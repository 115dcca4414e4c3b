"""Takes small models of keras-hub's classes down the whole road and writes docs/hub.md.

Each is made from random weights (nothing is downloaded), exported in float, quantised and calibrated, trained
for one step, saved and loaded, exported in int8 with a TensorRT-RTX plan for SM89, and what both runners of
the CPU predict is compared with Keras. The results are kept in benchmarks/hub.json.

    python -m benchmarks.hub                          # all; fails where a result is not what the page says
    python -m benchmarks.hub BertBackbone ViT         # the classes whose names hold one of these
    python -m benchmarks.hub --write                  # all, and write the results and the page anew
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.hub_nets import build, data, shapes
from benchmarks.hub_newer import NETS
from benchmarks.hub_page import document
from benchmarks.rows import rows_of_children

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "hub.json"
DOCUMENT = ROOT / "docs" / "hub.md"
RUNNERS = ("openvino", "onnxruntime")

FLOAT_TOLERANCE = 1e-3
"""Largest relative difference between a float file and Keras."""

INT8_TOLERANCE = 5e-3
"""What an int8 file and Keras may differ by where the rounding of the activations changes less: one step."""

ROUNDED_TOLERANCE = 1.5
"""Largest difference of an int8 file from Keras, in units of what rounding activations changes: two runners
that round a value next to a border differently are two samples of the same noise, sqrt(2) apart."""

Row = dict[str, Any]


class Road:
    """The stages of one class, and what each found."""

    def __init__(self, name: str) -> None:
        self.row: Row = {"name": name, "failed": "", "error": ""}
        self.seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        self.row["failed"] = name  # until it has passed
        start = time.perf_counter()
        yield
        self.seconds[name] = round(time.perf_counter() - start, 1)
        self.row["failed"] = ""


def run(name: str) -> Row:
    """Takes one class down the road; an error ends it and is part of the result."""
    import keras

    road, start = Road(name), time.perf_counter()
    try:
        with tempfile.TemporaryDirectory() as folder:
            stages(road, Path(folder))
    except Exception as e:
        traceback.print_exc()
        road.row["error"] = f"{type(e).__name__}: {e}"
    road.row["seconds"] = round(time.perf_counter() - start, 1)
    print(name, road.seconds, file=sys.stderr)
    keras.backend.clear_session()
    gc.collect()
    return road.row


def stages(road: Road, folder: Path) -> None:
    """The road itself."""
    import keras_trt

    row = road.row
    with road.stage("build"):
        model = build(row["name"])
        x, unseen = data(model, 4, seed=0), data(model, 4, seed=1)
        row["parameters"] = int(model.count_params())
    with road.stage("float export"):
        float_report = keras_trt.export(
            model, folder / "float", batch=(1, 2, 4), input_shapes=shapes(model), engine=None, verbose=0
        )
        row["float"] = compared(
            folder / "float", unseen, outputs(model, unseen), FLOAT_TOLERANCE, float_report
        )
    with road.stage("quantise"):
        quantized = keras_trt.quantize_model(model, calibration_data=x, min_sqnr=None, verbose=0)
        row["int8_layers"] = count_quantized(quantized)
    with road.stage("train"):
        train(quantized, x)
    with road.stage("save and load"):
        keras_trt.save_model(quantized, folder / "model.keras")
        loaded = keras_trt.load_model(folder / "model.keras", compile=False)
        check(type(loaded) is type(quantized), f"a {type(loaded).__name__} came back")
        found, wanted = count_quantized(loaded), row["int8_layers"]
        check(found == wanted, f"{found} of {wanted} quantised layers came back")
        # Without rounding: a table that a layer computes anew while loading may differ in its last bit.
        both = (outputs(each, unseen, rounded=False) for each in (loaded, quantized))
        change = difference(*both)
        if change > 1e-6:  # as much as Keras changes when it saves and loads the model without quantisers
            row["keras_change"] = float(f"{keras_change(quantized, folder / 'plain.keras', unseen):.1e}")
        check(change <= max(1e-6, 2 * row.get("keras_change", 0.0)), f"the outputs changed by {change:.1e}")
    with road.stage("int8 export"):
        report = keras_trt.export(
            quantized, folder / "int8", batch=(1, 2, 4), engine="tensorrt_rtx", compute_capabilities=["SM89"],
            input_shapes=shapes(model), verbose=0,
        )  # fmt: skip
        row["int8_macs"] = round(report.int8_mac_share, 4)
        row["notes"] = [note for note in report.notes if "not reached" in note or "TensorRT" in note]
        expected = outputs(quantized, unseen)
        rounding = difference(outputs(quantized, unseen, rounded=False), expected)
        allowed = max(INT8_TOLERANCE, ROUNDED_TOLERANCE * rounding)
        row["int8"] = compared(folder / "int8", unseen, expected, allowed, report)


def outputs(model: Any, x: Any, rounded: bool = True) -> list[np.ndarray]:
    """What Keras makes of the data, with the activations rounded to the grid or not."""
    import keras

    from keras_trt.twins.quantizer import observing

    if rounded:
        return [np.asarray(y) for y in keras.tree.flatten(model(x, training=False))]
    with observing(lambda quantizer, tensor: None):
        return outputs(model, x)


def keras_change(quantized: Any, path: Path, x: Any) -> float:
    """How far a model without quantisers is from itself after Keras alone has saved and loaded it."""
    import keras

    import keras_trt

    plain = keras_trt.strip(quantized)
    plain.save(path)
    loaded = keras.saving.load_model(path, compile=False)
    return difference(outputs(loaded, x), outputs(plain, x))


def compared(path: Path, x: Any, expected: list[np.ndarray], allowed: float, report: Any) -> dict[str, Any]:
    """How far each runner is from Keras; one that cannot run the file right must not be the one chosen."""
    import keras

    import keras_trt

    found: dict[str, Any] = {"runner": report.verified_with}
    for runner in RUNNERS:
        try:
            predicted = keras_trt.load(path, runner=runner, verbose=0).predict(x, verbose=0)
            found[runner] = float(f"{difference(keras.tree.flatten(predicted), expected):.1e}")
        except Exception as e:
            found[runner] = f"{type(e).__name__}: {first_line(e)}".replace(f"{path}", path.name)
    wrong = {name: found[name] for name in RUNNERS if not is_right(found[name], allowed)}
    for name, how in wrong.items():
        refused = isinstance(how, str) and name != found["runner"] and name != "onnxruntime"
        check(refused, f"{name}: {how}, {allowed:.1e} is allowed")
    return found


def is_right(found: Any, allowed: float) -> bool:
    return not isinstance(found, str) and found <= allowed


def difference(found: list[Any], expected: list[Any]) -> float:
    """The largest relative difference of the outputs, in the L2 norm."""
    check(len(found) == len(expected), f"{len(found)} outputs instead of {len(expected)}")
    pairs = [
        (np.asarray(a, np.float64), np.asarray(b, np.float64)) for a, b in zip(found, expected, strict=True)
    ]
    wrong = [f"{a.shape} instead of {b.shape}" for a, b in pairs if a.shape != b.shape]
    check(not wrong, f"outputs of shape {', '.join(wrong)}")
    return max(float(np.linalg.norm(a - b) / max(np.linalg.norm(b), 1e-6)) for a, b in pairs)


def count_quantized(model: Any) -> int:
    import keras_trt

    return sum(bool(row["quantised"]) for row in keras_trt.report(model).rows)


def train(model: Any, x: Any) -> None:
    """One small step towards zeros, with `fit`, which must move the weights."""
    import keras

    before = [np.array(w) for w in model.trainable_weights]
    keras.Model.compile(model, keras.optimizers.SGD(1e-3, global_clipnorm=1.0), jit_compile=False, loss=None)
    model.compute_loss = lambda x=None, y=None, y_pred=None, sample_weight=None, training=True: sum(
        keras.ops.mean(keras.ops.square(keras.ops.cast(part, "float32")))
        for part in keras.tree.flatten(y_pred)
    )
    try:
        history = keras.Model.fit(model, x, batch_size=2, epochs=1, verbose=0)
    finally:
        del model.compute_loss
    loss = history.history["loss"][-1]
    moved = any((np.array(w) != old).any() for w, old in zip(model.trainable_weights, before, strict=True))
    check(np.isfinite(loss) and moved, f"the loss is {loss} and the weights {'moved' if moved else 'stayed'}")


def check(passed: bool, message: str) -> None:
    if not passed:
        raise AssertionError(message)


def first_line(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), "")


def run_all(names: list[str]) -> Iterator[Row]:
    """The results, from a process of their own; a class that ends it fails, and the rest gets another one."""

    def failed(name: str, why: str) -> Row:
        return {"name": name, "failed": "process", "error": why, "seconds": 0.0}

    return rows_of_children(["benchmarks.hub", "--child"], names, failed)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("classes", nargs="*", help="parts of names, e.g. Bert or ViTBackbone; default: all")
    parser.add_argument("--write", action="store_true", help="write the results and docs/hub.md")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(options.classes)
        return
    names = [name for name in NETS if not options.classes or any(part in name for part in options.classes)]
    if not names:
        raise SystemExit(f"No class is called {' or '.join(options.classes)}.")
    recorded, found = read_results(), {}
    for row in run_all(names):
        found[row["name"]] = row
        result = f"FAILED at {row['failed']}: {row['error']}" if row["failed"] else "passed"
        print(f"[{len(found)}/{len(names)}] {row['name']} {result} ({row['seconds']} s)", flush=True)
        if options.write:  # each at once: the whole takes an hour
            write_results(recorded | found)
            DOCUMENT.write_text(document(read_results()))
    if options.write:
        return
    wrong = [
        name for name, row in found.items() if row["failed"] != recorded.get(name, {"failed": ""})["failed"]
    ]
    if wrong:
        raise SystemExit(f"{len(wrong)} of {len(found)} are not as docs/hub.md says: {', '.join(wrong)}")


def child(names: list[str]) -> None:
    """Prints a line of results for each class; whatever else is printed goes to stderr."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    results = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for name in names:
        print(json.dumps(run(name)), file=results, flush=True)


def read_results(path: Path = RESULTS) -> dict[str, Row]:
    """The last result of every class."""
    rows = json.loads(path.read_text()) if path.exists() else []
    return {row["name"]: row for row in rows}


def write_results(rows: dict[str, Row], path: Path = RESULTS) -> None:
    """One line a class, in the order of the table."""
    lasting = [
        {key: value for key, value in rows[name].items() if key != "seconds"} for name in NETS if name in rows
    ]
    path.write_text("[\n" + ",\n".join(map(json.dumps, lasting)) + "\n]\n")


if __name__ == "__main__":
    main()
