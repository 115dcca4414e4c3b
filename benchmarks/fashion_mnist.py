"""Accuracy in int8: three small networks on Fashion-MNIST, in float, after PTQ, after QAT, exported.

    apt install dataset-fashion-mnist
    python -m benchmarks.fashion_mnist               # Keras 3
    python -m benchmarks.fashion_mnist --legacy      # tf_keras

Each network is trained in float, quantised after training with every calibration method, fine-tuned on the
int8 grid, exported, and its bundle run on all test images; beside it TF-MOT's default QAT fine-tunes the same
trained weights (in tf_keras) in the same way. Trained networks are kept in `--folder` and results in
benchmarks/fashion_mnist.json, so a run that was stopped goes on where it was.
"""

from __future__ import annotations

import argparse
import functools
import gzip
import importlib
import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import keras_trt
from benchmarks.fashion_nets import NETS
from benchmarks.page import environment, table, write_section

RESULTS = Path(__file__).with_suffix(".json")
DATA = Path("/usr/share/datasets/fashion-mnist")
METHODS = ("max", "percentile", "entropy", "mse", "std")
CALIBRATION_IMAGES = 512
BATCH = 256
FLOAT = {"epochs": 5, "learning_rate": 4e-3}
FINE_TUNING = {"epochs": 2, "learning_rate": 2e-4}


@dataclass(frozen=True)
class Data:
    """Images (n, 28, 28, 1) in [0, 1] and labels (n,)."""

    x_train: np.ndarray
    y_train: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray


def read(folder: Path) -> Data:
    """The four IDX files of the data set.

    Raises:
        SystemExit: They are not there; says how to get them.
    """

    def array(name: str, header: int) -> np.ndarray:
        with gzip.open(folder / name) as file:
            return np.frombuffer(file.read(), np.uint8, offset=header)

    def images(name: str) -> np.ndarray:
        return array(name, 16).reshape(-1, 28, 28, 1).astype("float32") / 255

    def labels(name: str) -> np.ndarray:
        return array(name, 8).astype("int64")

    try:
        return Data(
            images("train-images-idx3-ubyte.gz"),
            labels("train-labels-idx1-ubyte.gz"),
            images("t10k-images-idx3-ubyte.gz"),
            labels("t10k-labels-idx1-ubyte.gz"),
        )
    except FileNotFoundError as e:
        raise SystemExit(
            f"Fashion-MNIST is not in {str(folder)!r} ({e.filename} is missing). "
            "Run `apt install dataset-fashion-mnist`, or name its folder with --data."
        ) from e


def train(keras: Any, model: Any, data: Data, *, epochs: int, learning_rate: float) -> float:
    """Trains with Adam and a cosine schedule down to 0; returns the seconds an epoch took."""
    steps = epochs * -(-len(data.x_train) // BATCH)
    optimizer = keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(learning_rate, steps))
    # On CPUs XLA computes depthwise convolutions many times slower than TensorFlow's own kernels.
    model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"], jit_compile=False)
    start = time.perf_counter()
    model.fit(data.x_train, data.y_train, epochs=epochs, batch_size=BATCH, verbose=2)
    return (time.perf_counter() - start) / epochs


def probabilities(model: Any, data: Data) -> np.ndarray:
    return model.predict(data.x_test, batch_size=500, verbose=0)


def accuracy(found: np.ndarray, data: Data) -> float:
    """In per cent."""
    return round(100 * float((found.argmax(-1) == data.y_test).mean()), 2)


class Road:
    """One network's way through the benchmark; every step can use what the steps before it left."""

    def __init__(self, keras: Any, net: str, data: Data, folder: Path) -> None:
        self.keras, self.net, self.data, self.folder = keras, net, data, folder
        self.row: dict[str, Any] = {"keras": keras.__name__, "net": net}

    def run(self) -> dict[str, Any]:
        trained = self._kept("float", self._train_float)
        self.row["parameters"] = trained.count_params()
        self.row["float"] = accuracy(probabilities(trained, self.data), self.data)
        self.row["ptq"] = self._ptq(trained)
        quantized = self._kept("qat", functools.partial(self._qat, trained))
        self.row["qat"] = accuracy(expected := probabilities(quantized, self.data), self.data)
        self.row |= self._exported(quantized, expected)
        self.row["tfmot"] = self._tfmot(trained)
        return self.row

    def _kept(self, stage: str, make: Callable[[], Any]) -> Any:
        """The model of a stage: from the folder, or made and put there."""
        path = self.folder / f"{self.keras.__name__}-{self.net}-{stage}.keras"
        if not path.exists():
            print(f"{self.keras.__name__} {self.net}: {stage}", flush=True)
            keras_trt.save_model(make(), path)
        return keras_trt.load_model(path, compile=False)

    def _train_float(self) -> Any:
        self.keras.utils.set_random_seed(0)
        model = NETS[self.net](self.keras)
        train(self.keras, model, self.data, **FLOAT)
        return model

    def _ptq(self, trained: Any) -> dict[str, float]:
        """Accuracy by calibration method."""
        images = self.data.x_train[:CALIBRATION_IMAGES]
        quantized, found = keras_trt.quantize_model(trained), {}
        for method in METHODS:
            keras_trt.calibrate(quantized, images, method, verbose=0)
            found[method] = accuracy(probabilities(quantized, self.data), self.data)
            print(f"{self.net}: PTQ {method} {found[method]}", flush=True)
        return found

    def _qat(self, trained: Any) -> Any:
        images = self.data.x_train[:CALIBRATION_IMAGES]
        self.keras.utils.set_random_seed(0)
        quantized = keras_trt.quantize_model(trained, calibration_data=images, verbose=0)
        train(self.keras, quantized, self.data, **FINE_TUNING)
        return quantized

    def _exported(self, quantized: Any, expected: np.ndarray) -> dict[str, Any]:
        """What the bundle of the QAT model does on the same images, with OpenVINO."""
        path = self.folder / f"{self.keras.__name__}-{self.net}.bundle"
        keras_trt.export(quantized, path, batch=(1, 500, 500), engine=None, overwrite=True, verbose=0)
        engine = keras_trt.load(path, runner="openvino", verbose=0)
        found = engine.predict(self.data.x_test, batch_size=500, verbose=0)
        same = int((found.argmax(-1) == expected.argmax(-1)).sum())
        return {"exported": accuracy(found, self.data), "same": same, "images": len(expected)}

    def _tfmot(self, trained: Any) -> dict[str, Any]:
        """TF-MOT's default QAT of the same trained weights, or why it takes them not."""
        import tf_keras

        from keras_trt._keras.tfmot_import import import_tfmot

        model = NETS[self.net](tf_keras)
        for layer in trained.layers:  # both Kerases give the layers the same names
            model.get_layer(layer.name).set_weights(layer.get_weights())
        start = accuracy(probabilities(model, self.data), self.data)
        if abs(start - self.row["float"]) > 0.05:
            raise RuntimeError(f"The copy for TF-MOT is right on {start} %, not {self.row['float']} %")
        tf_keras.utils.set_random_seed(0)
        try:
            quantized = import_tfmot().quantization.keras.quantize_model(model)
        except (RuntimeError, ValueError) as e:
            return {"refused": f"{type(e).__name__}: {e}"}
        train(tf_keras, quantized, self.data, **FINE_TUNING)
        return {"qat": accuracy(probabilities(quantized, self.data), self.data)}


def document(results: dict[str, Any]) -> str:
    """The section of docs/benchmarks.md."""
    head = ["network", "parameters", "float", "PTQ, best", "QAT", "QAT - float", "exported", "same decision",
            "TF-MOT's QAT"]  # fmt: skip
    methods = ["network", "float", *METHODS]
    rows, by_method, refused = [], [], []
    for row in results["rows"].values():
        name = f"{row['net']} ({row['keras']})"
        best = max(row["ptq"], key=row["ptq"].__getitem__)
        tfmot = row["tfmot"]
        if "refused" in tfmot:
            refused.append(f"* TF-MOT refuses {row['net']}: `{tfmot['refused'].splitlines()[0]}`")
        rows.append([
            name, f"{row['parameters']:,}", f"{row['float']:.2f}", f"{row['ptq'][best]:.2f} ({best})",
            f"{row['qat']:.2f}", f"{row['qat'] - row['float']:+.2f}", f"{row['exported']:.2f}",
            f"{row['same'] / row['images']:.2%}", f"{tfmot['qat']:.2f}" if "qat" in tfmot else "refused",
        ])  # fmt: skip
        by_method.append([name, f"{row['float']:.2f}", *(f"{row['ptq'][m]:.2f}" for m in METHODS)])
    accuracies = "Per cent of the 10,000 test images; one seed."
    parts = [f"Measured on: {results['environment']}.", accuracies, table(head, rows), *refused,
             "Post-training quantisation by calibration method:", table(methods, by_method)]  # fmt: skip
    return "\n\n".join(parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("nets", nargs="*", help=f"of {', '.join(NETS)}; default: all")
    parser.add_argument("--legacy", action="store_true", help="use tf_keras instead of Keras 3")
    parser.add_argument(
        "--data", type=Path, default=DATA, help="folder of the IDX files; default: %(default)s"
    )
    parser.add_argument("--folder", type=Path, default=Path("build/fashion_mnist"),
                        help="where trained networks and bundles are kept; default: %(default)s")  # fmt: skip
    parser.add_argument("--again", action="store_true", help="measure again what results exist of")
    parser.add_argument("--table", action="store_true", help="run nothing, write docs/benchmarks.md")
    options = parser.parse_args()
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {"environment": "", "rows": {}}
    if not options.table:
        measure(options, results)
    write_section("fashion_mnist", document(results))


def measure(options: argparse.Namespace, results: dict[str, Any]) -> None:
    """Runs the networks that have no result yet, and writes each result as soon as it is there."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    keras = importlib.import_module("tf_keras" if options.legacy else "keras")
    data = read(options.data)
    options.folder.mkdir(parents=True, exist_ok=True)
    for net in options.nets or NETS:
        key = f"{keras.__name__}:{net}"
        if key in results["rows"] and not options.again:
            continue
        results["rows"][key] = Road(keras, net, data, options.folder).run()
        results["environment"] = environment("tensorflow", "keras", "tf_keras", "openvino")
        RESULTS.write_text(json.dumps(results, indent=2) + "\n")
        print(json.dumps(results["rows"][key]), flush=True)


if __name__ == "__main__":
    main()
