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
from collections.abc import Callable, Sequence
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


def train(
    keras: Any, model: Any, data: Data, *, epochs: int, learning_rate: float, callbacks: Sequence[Any] = ()
) -> float:
    """Trains with Adam and a cosine schedule down to 0; returns the seconds an epoch took."""
    steps = epochs * -(-len(data.x_train) // BATCH)
    optimizer = keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(learning_rate, steps))
    # On CPUs XLA computes depthwise convolutions many times slower than TensorFlow's own kernels.
    model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"], jit_compile=False)
    start = time.perf_counter()
    model.fit(shuffled(data), epochs=epochs, callbacks=list(callbacks), verbose=2)
    return (time.perf_counter() - start) / epochs


def shuffled(data: Data) -> Any:
    """Batches of the training images, in another order every epoch.

    Not the arrays themselves: with a seed set, Keras 3 shuffles those in the same way every epoch.
    """
    import tensorflow as tf

    images = tf.data.Dataset.from_tensor_slices((data.x_train, data.y_train))
    return images.shuffle(len(data.x_train)).batch(BATCH)


def probabilities(model: Any, data: Data) -> np.ndarray:
    return model.predict(data.x_test, batch_size=500, verbose=0)


def accuracy(found: np.ndarray, data: Data) -> float:
    """In per cent."""
    return round(100 * float((found.argmax(-1) == data.y_test).mean()), 2)


class Road:
    """One network's way through the benchmark, stage by stage; stages that have a result are skipped."""

    STAGES = ("float", "ptq", "qat", "tfmot")

    def __init__(self, keras: Any, net: str, data: Data, folder: Path, row: dict[str, Any]) -> None:
        self.keras, self.net, self.data, self.folder, self.row = keras, net, data, folder, row

    def run(self, save: Callable[[], None]) -> None:
        for stage in self.STAGES:
            if stage not in self.row:
                print(f"{self.keras.__name__} {self.net}: {stage}", flush=True)
                self.row[stage] = getattr(self, stage)()
                print(json.dumps(self.row[stage]), flush=True)
                save()

    @functools.cached_property
    def trained(self) -> Any:
        return self._kept("float", self._train_float)

    def float(self) -> dict[str, Any]:
        found = accuracy(probabilities(self.trained, self.data), self.data)
        return {"accuracy": found, "parameters": self.trained.count_params()}

    def ptq(self) -> dict[str, float]:
        """Accuracy by calibration method."""
        images = self.data.x_train[:CALIBRATION_IMAGES]
        quantized, found = keras_trt.quantize_model(self.trained), {}
        for method in METHODS:
            keras_trt.calibrate(quantized, images, method, verbose=0)
            found[method] = accuracy(probabilities(quantized, self.data), self.data)
        return found

    def qat(self) -> dict[str, Any]:
        """The fine-tuned model, and what its bundle does on the same images with OpenVINO."""
        quantized = self._kept("qat", self._fine_tune)
        expected = probabilities(quantized, self.data)
        path = self.folder / f"{self.keras.__name__}-{self.net}.bundle"
        keras_trt.export(quantized, path, batch=(1, 500, 500), engine=None, overwrite=True, verbose=0)
        found = keras_trt.load(path, runner="openvino", verbose=0).predict(
            self.data.x_test, batch_size=500, verbose=0
        )
        return {
            "accuracy": accuracy(expected, self.data),
            "exported": accuracy(found, self.data),
            "same": int((found.argmax(-1) == expected.argmax(-1)).sum()),
            "images": len(expected),
        }

    def tfmot(self) -> dict[str, Any]:
        """TF-MOT's default QAT of the same trained weights, or why it does not take them."""
        import tf_keras

        from keras_trt.tfmot.imported import import_tfmot

        model = NETS[self.net](tf_keras)
        for layer in self.trained.layers:  # both Kerases give the layers the same names
            model.get_layer(layer.name).set_weights(layer.get_weights())
        start, trained = accuracy(probabilities(model, self.data), self.data), self.row["float"]["accuracy"]
        if abs(start - trained) > 0.05:
            raise RuntimeError(f"The copy for TF-MOT is right on {start} %, not on {trained} %")
        tf_keras.utils.set_random_seed(0)
        try:
            quantized = import_tfmot().quantization.keras.quantize_model(model)
        except (RuntimeError, ValueError) as e:
            return {"refused": f"{type(e).__name__}: {e}"}
        train(tf_keras, quantized, self.data, **FINE_TUNING)
        return {"accuracy": accuracy(probabilities(quantized, self.data), self.data)}

    def _kept(self, name: str, make: Callable[[], Any]) -> Any:
        """A trained model: from the folder, or made and put there."""
        path = self.folder / f"{self.keras.__name__}-{self.net}-{name}.keras"
        if not path.exists():
            keras_trt.save_model(make(), path)
        return keras_trt.load_model(path, compile=False)

    def _train_float(self) -> Any:
        self.keras.utils.set_random_seed(0)
        model = NETS[self.net](self.keras)
        train(self.keras, model, self.data, **FLOAT)
        return model

    def _fine_tune(self) -> Any:
        images = self.data.x_train[:CALIBRATION_IMAGES]
        self.keras.utils.set_random_seed(0)
        quantized = keras_trt.quantize_model(self.trained, calibration_data=images, verbose=0)
        train(self.keras, quantized, self.data, **FINE_TUNING)
        return quantized


def document(results: dict[str, Any]) -> str:
    """The section of docs/benchmarks.md."""
    head = ["network", "parameters", "float", "PTQ, best", "QAT", "QAT - float", "exported", "same decision",
            "TF-MOT's QAT"]  # fmt: skip
    rows, by_method, refused = [], [], []
    complete = [row for row in results["rows"].values() if row.keys() >= set(Road.STAGES)]
    missing = [f"`{net}`" for net in NETS if net not in {row["net"] for row in complete}]
    for row in complete:
        name, ptq, qat, tfmot = f"{row['net']} ({row['keras']})", row["ptq"], row["qat"], row["tfmot"]
        best, start = max(ptq, key=ptq.__getitem__), row["float"]["accuracy"]
        if "refused" in tfmot:
            refused.append(f"TF-MOT refuses {row['net']}: `{tfmot['refused'].splitlines()[0]}`")
        rows.append([
            name, f"{row['float']['parameters']:,}", f"{start:.2f}", f"{ptq[best]:.2f} ({best})",
            f"{qat['accuracy']:.2f}", f"{qat['accuracy'] - start:+.2f}", f"{qat['exported']:.2f}",
            f"{qat['same'] / qat['images']:.2%}",
            "refused" if "refused" in tfmot else f"{tfmot['accuracy']:.2f}",
        ])  # fmt: skip
        by_method.append([name, f"{start:.2f}", *(f"{ptq[method]:.2f}" for method in METHODS)])
    parts = [
        f"Measured on: {results['environment']}.",
        "Per cent of the 10,000 test images; one seed. The standard error of 91 % on so many is 0.3 points.",
        table(head, rows),
        *refused,
        *([f"Not measured yet: {', '.join(missing)}."] if missing else []),
        "Post-training quantisation by calibration method:",
        table(["network", "float", *METHODS], by_method),
    ]
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
    parser.add_argument("--again", nargs="+", choices=Road.STAGES, default=(), metavar="STAGE",
                        help=f"stages to measure again, of {', '.join(Road.STAGES)}")  # fmt: skip
    parser.add_argument("--table", action="store_true", help="run nothing, write docs/benchmarks.md")
    options = parser.parse_args()
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {"environment": "", "rows": {}}
    if not options.table:
        measure(options, results)
    write_section("fashion_mnist", document(results))


def measure(options: argparse.Namespace, results: dict[str, Any]) -> None:
    """Runs the stages that have no result yet, and writes each result as soon as it is there."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    keras = importlib.import_module("tf_keras" if options.legacy else "keras")
    data = read(options.data)
    options.folder.mkdir(parents=True, exist_ok=True)

    def save() -> None:
        results["environment"] = environment("tensorflow", "keras", "tf_keras", "openvino")
        RESULTS.write_text(json.dumps(results, indent=2) + "\n")

    for net in options.nets or NETS:
        row = results["rows"].setdefault(f"{keras.__name__}:{net}", {"keras": keras.__name__, "net": net})
        for stage in options.again:
            row.pop(stage, None)
        Road(keras, net, data, options.folder, row).run(save)


if __name__ == "__main__":
    main()
