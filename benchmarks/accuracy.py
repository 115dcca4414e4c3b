"""What each way to int8, fp8 and int4 weights costs small networks, over seeds: accuracy and KL divergence.

    apt install dataset-fashion-mnist
    python -m benchmarks.accuracy                     # Keras 3, three seeds
    python -m benchmarks.accuracy vit --seeds 1 --legacy
    python -m benchmarks.accuracy --columns max all   # some columns only

Each network is trained in float on Fashion-MNIST; every column begins with the same trained weights, is
calibrated on 512 training images, and judged on the test images. Trained networks are kept in `--folder`,
results in benchmarks/accuracy.json, so that a run that was stopped goes on where it was.
"""

from __future__ import annotations

import argparse
import importlib
import json
import math
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import keras_trt
from benchmarks.fashion_mnist import DATA, Data, probabilities, read, train
from benchmarks.hard_nets import HARDER
from benchmarks.page import environment, table, write_section

RESULTS = Path(__file__).with_suffix(".json")
CALIBRATION_IMAGES = 512
FLOAT = {"epochs": 4, "learning_rate": 4e-3}
FINE_TUNING = {"epochs": 1, "learning_rate": 2e-4}
BUDGET = {"max_drop": 0.002, "metric": "accuracy"}
EVERY = ("equalization", "smooth_quant", "bias_correction", "gain_correction")


def _ptq(**options: Any) -> Callable[..., Any]:
    """A column that calibrates, and leaves no layer in float."""

    def quantized(keras: Any, model: Any, data: Data) -> Any:
        images = data.x_train[:CALIBRATION_IMAGES]
        given = {"min_sqnr": None, "recover": None, **options}
        return keras_trt.quantize_model(model, calibration_data=images, verbose=0, **given)

    return quantized


def _budget(keras: Any, model: Any, data: Data) -> Any:
    rows = slice(-2000, None)  # training images: the test images judge
    labelled = data.x_train[rows], data.y_train[rows]
    images = data.x_train[:CALIBRATION_IMAGES]
    return keras_trt.quantize_model(model, calibration_data=images, data=labelled, verbose=0, **BUDGET)


def _qat(**options: Any) -> Callable[..., Any]:
    """A column that trains on."""

    def quantized(keras: Any, model: Any, data: Data) -> Any:
        keras.utils.set_random_seed(0)
        images = data.x_train[:CALIBRATION_IMAGES]
        trained = keras_trt.quantize_model(model, calibration_data=images, min_sqnr=None, verbose=0)
        callback = keras_trt.callbacks.Quantize(**options)
        train(keras, trained, data, callbacks=[callback] if options else [], **FINE_TUNING)
        return trained

    return quantized


COLUMNS: dict[str, Callable[..., Any]] = {
    "max": _ptq(method="max"),
    "auto": _ptq(),
    **{f"+ {name}": _ptq(recover=(name,)) for name in EVERY},
    "all": _ptq(recover="auto"),
    "all + adaround": _ptq(recover=(*EVERY, "adaround")),
    "budget": _budget,
    "fp8": _ptq(scheme="fp8", recover="auto"),
    "int4": _ptq(scheme="int4-weights"),
    "int4 + all": _ptq(scheme="int4-weights", recover="auto"),
    "int4 + adaround": _ptq(scheme="int4-weights", recover=(*EVERY, "adaround")),
    "QAT": _qat(),
    "QAT + teacher": _qat(distill=True),
}


def divergence(floats: np.ndarray, quantized: np.ndarray) -> float:
    """The mean Kullback-Leibler divergence from float, in thousandths of a nat."""
    p, q = (np.maximum(each.astype(np.float64), 1e-12) for each in (floats, quantized))
    return 1000 * float(np.mean(np.sum(p * np.log(p / q), axis=-1)))


def trained(keras: Any, net: str, seed: int, data: Data, folder: Path) -> Any:
    """The float network; a hard version begins with the weights of the easy one."""
    make, harden = HARDER[net]
    path = folder / f"{keras.__name__}-{make.__name__}-{seed}.keras"
    if not path.exists():
        keras.utils.set_random_seed(seed)
        model = make(keras)
        train(keras, model, data, **FLOAT)
        keras_trt.save_model(model, path)
    model = keras_trt.load_model(path, compile=False)
    if harden is not None:
        harden(model)
    return model


def row(keras: Any, net: str, seed: int, data: Data, folder: Path, done: dict[str, Any], columns: Any) -> Any:
    """Fills one network's row of one seed, column by column; yields after each."""
    waiting = [name for name in columns if name not in done]
    if not waiting:
        return
    model = trained(keras, net, seed, data, folder)
    floats = probabilities(model, data)
    right = floats.argmax(-1) == data.y_test
    done["float"] = {"accuracy": 100 * float(right.mean())}
    for name in waiting:
        start = time.perf_counter()
        quantized = COLUMNS[name](keras, model, data)
        seconds = time.perf_counter() - start
        now = probabilities(quantized, data)
        done[name] = {
            "lost": 100 * float(right.mean() - (now.argmax(-1) == data.y_test).mean()),
            "kl": divergence(floats, now),
            "seconds": round(seconds, 1),
        }
        print(f"{keras.__name__} {net} {seed} {name}: {done[name]}", flush=True)
        yield


def document(results: dict[str, Any]) -> str:
    """The section of docs/benchmarks.md: two tables, of the points lost and of the divergence."""
    rows = {key: seeds for key, seeds in results["rows"].items() if any(seeds.values())}
    shown = [
        name for name in COLUMNS if any(name in one for seeds in rows.values() for one in seeds.values())
    ]
    lost, divergences = [], []
    for key, seeds in rows.items():
        keras, net = key.split(":", 1)
        head = [
            f"{net} ({keras})",
            str(len(seeds)),
            _mean([one["float"]["accuracy"] for one in seeds.values()]),
        ]
        for measured, what in ((lost, "lost"), (divergences, "kl")):
            values = [[one[name][what] for one in seeds.values() if name in one] for name in shown]
            measured.append([*head, *(_mean(each, signed=what == "lost") for each in values)])
    missing = [f"`{net}`" for net in HARDER if not any(key.endswith(f":{net}") for key in rows)]
    titles = ["network", "seeds", "float", *shown]
    return "\n\n".join([
        f"Measured on: {results['environment']}.",
        "Points of accuracy lost to the same network in float (mean over seeds ± standard error of the "
        "paired differences; a minus where accuracy was gained):",
        table(titles, lost),
        "Mean KL divergence from float, in thousandths of a nat:",
        table(titles, divergences),
        *([f"Not measured yet: {', '.join(missing)}."] if missing else []),
    ])  # fmt: skip


def _mean(values: list[float], signed: bool = False) -> str:
    """A mean with its standard error; a minus, as points lost are negative where accuracy was gained."""
    if not values:
        return "-"
    mean = f"{np.mean(values):+.2f}" if signed else f"{np.mean(values):.2f}"
    if len(values) == 1:
        return mean
    return f"{mean} ± {np.std(values, ddof=1) / math.sqrt(len(values)):.2f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("nets", nargs="*", help=f"of {', '.join(map(repr, HARDER))}; default: all")
    parser.add_argument("--legacy", action="store_true", help="use tf_keras instead of Keras 3")
    parser.add_argument("--seeds", type=int, default=3, help="how many; default: %(default)s")
    names = ", ".join(map(repr, COLUMNS))
    parser.add_argument("--columns", nargs="+", choices=list(COLUMNS), default=list(COLUMNS),
                        metavar="COLUMN", help=f"of {names}; default: all")  # fmt: skip
    parser.add_argument("--data", type=Path, default=DATA, help="of the IDX files; default: %(default)s")
    parser.add_argument("--folder", type=Path, default=Path("build/accuracy"),
                        help="where trained networks are kept; default: %(default)s")  # fmt: skip
    parser.add_argument("--table", action="store_true", help="run nothing, write docs/benchmarks.md")
    options = parser.parse_args()
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {"environment": "", "rows": {}}
    if not options.table:
        measure(options, results)
    write_section("accuracy", document(results))


def measure(options: argparse.Namespace, results: dict[str, Any]) -> None:
    """Fills what has no result yet, seed by seed, and writes each result as soon as it is there."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    keras = importlib.import_module("tf_keras" if options.legacy else "keras")
    data = read(options.data)
    options.folder.mkdir(parents=True, exist_ok=True)
    for seed in range(options.seeds):
        for net in options.nets or HARDER:
            done = results["rows"].setdefault(f"{keras.__name__}:{net}", {}).setdefault(str(seed), {})
            for _ in row(keras, net, seed, data, options.folder, done, options.columns):
                results["environment"] = environment("tensorflow", "keras", "tf_keras")
                RESULTS.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
