"""What pruning costs in accuracy and brings in speed: a ResNet on Fashion-MNIST, and ResNet-50's speed.

    apt install dataset-fashion-mnist
    python -m benchmarks.pruning               # Keras 3
    python -m benchmarks.pruning --legacy      # tf_keras

One trained network is fine-tuned for the same number of epochs dense, with 80 % zeros (`callbacks.Prune`,
with each strategy), with 2:4 zeros, and with 40 % of its channels removed. Each is exported in float32 and
timed on the CPU runner, the variants in turn; so is ResNet-50 with and without 40 % of its channels,
untrained. Networks are kept in `--folder` and results in benchmarks/pruning.json, so a run that was stopped
goes on where it was.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import re
import time
from collections.abc import Callable
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np
import onnx_ir as ir

import keras_trt
from benchmarks.fashion_mnist import BATCH, DATA, FLOAT, Data, accuracy, probabilities, read, shuffled, train
from benchmarks.fashion_nets import resnet
from benchmarks.page import environment, table, write_section
from keras_trt.callbacks import Prune
from keras_trt.prune import Schedule
from keras_trt.prune.facts import total_sparsity
from keras_trt.tensorrt_rules.stats import products

RESULTS = Path(__file__).with_suffix(".json")
EPOCHS, LEARNING_RATE, WIDTH = 5, 2e-3, 32
CHANNELS = "40 % of the channels"
BATCHES = {"fashion": (1, 64), "resnet50": (1, 8)}

Change = Callable[[Any], tuple[Any, list[Any]]]
"""What is done to a trained network before fine-tuning: a model, and callbacks for `fit`."""


def variants(steps: int) -> dict[str, Change]:
    """The variants by name, for a fine-tuning of so many steps."""
    schedule = Schedule(0.8, end_step=steps // 2, frequency=20)
    return {
        "dense": lambda model: (model, []),
        "80 % zeros, global": lambda model: (model, [Prune(schedule, strategy="global")]),
        "80 % zeros, uniform": lambda model: (model, [Prune(schedule)]),
        "2:4": lambda model: (keras_trt.prune_model(model, pattern="2:4"), []),
        CHANNELS: without_channels,
        "80 % zeros, lamp": lambda model: (model, [Prune(schedule, strategy="lamp")]),
    }


def without_channels(model: Any) -> tuple[Any, list[Any]]:
    """40 % of the channels of each group of tied layers go."""
    return keras_trt.prune_model(model, 0.4, pattern="channel"), []


def trained_net(keras: Any, data: Data, folder: Path, width: int) -> Any:
    """The dense network, trained once and kept."""
    path = folder / f"{keras.__name__}-resnet{width}-float.keras"
    if not path.exists():
        keras.utils.set_random_seed(0)
        model = resnet(keras, width)
        train(keras, model, data, **FLOAT)
        keras_trt.save_model(model, path)
    return keras_trt.load_model(path, compile=False)


def fine_tuned(keras: Any, change: Change, data: Data, options: argparse.Namespace) -> Any:
    """The changed network after the same training for every variant."""
    model, callbacks = change(trained_net(keras, data, options.folder, options.width))
    keras.utils.set_random_seed(options.seed)
    epochs = options.epochs
    steps = epochs * -(-len(data.x_train) // BATCH)
    optimizer = keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(LEARNING_RATE, steps))
    model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"], jit_compile=False)
    model.fit(shuffled(data), epochs=epochs, verbose=2, callbacks=callbacks)
    return model


def exported(model: Any, path: Path) -> dict[str, Any]:
    """What an exported model holds; its multiply-accumulates are those of one image."""
    keras_trt.export(model, path, batch=(1, 8, 64), engine=None, overwrite=True, verbose=0)
    macs = sum(product.macs for product in products(ir.load(path / "model.onnx"), ()))
    return {"bundle": path.name, "parameters": model.count_params(), "macs": macs}


def measure(keras: Any, options: argparse.Namespace, rows: dict[str, Any], save: Callable[[], None]) -> None:
    """Fine-tunes and exports the variants that have no row yet."""
    data, folder, epochs = read(options.data), options.folder, options.epochs
    for i, (name, change) in enumerate(variants(epochs * -(-len(data.x_train) // BATCH)).items()):
        if name in rows or (options.only and name not in options.only):
            continue
        print(f"{keras.__name__}: {name}", flush=True)
        model = fine_tuned(keras, change, data, options)
        found, zeros = accuracy(probabilities(model, data), data), round(total_sparsity(model), 4)
        bundle = f"{keras.__name__}-pruned-{options.width}-{epochs}-{options.seed}-{i}.bundle"
        facts = exported(model, folder / bundle)
        rows[name] = {"accuracy": found, "zeros": zeros, **facts}
        print(json.dumps(rows[name]), flush=True)
        save()


def export_large(keras: Any, folder: Path, rows: dict[str, Any], save: Callable[[], None]) -> None:
    """ResNet-50 whole and without 40 % of its channels, untrained: only its speed is of interest."""
    net = keras.applications.ResNet50(weights=None)
    for name, model in {"dense": net, CHANNELS: without_channels(net)[0]}.items():
        if name not in rows:
            rows[name] = exported(model, folder / f"{keras.__name__}-resnet50-{len(rows)}.bundle")
            save()


def add_latencies(rows: dict[str, Any], folder: Path, batches: tuple[int, ...], rounds: int) -> None:
    """Milliseconds of a batch on the CPU runner, the networks in turn.

    The 10th percentile over the rounds: work beside the benchmark can only make a round slower.
    """
    if all("ms" in row for row in rows.values()):
        return
    models = {name: keras_trt.load(folder / row["bundle"], verbose=0) for name, row in rows.items()}
    for batch in batches:
        x = np.random.default_rng(0).random((batch, *models["dense"].inputs[0].shape[1:]), dtype="float32")
        times: dict[str, list[float]] = {name: [] for name in models}
        for _ in range(rounds):
            for name, model in models.items():
                start = time.perf_counter()
                model.predict_on_batch(x)
                times[name].append(1000 * (time.perf_counter() - start))
        for name, found in times.items():
            rows[name].setdefault("ms", {})[str(batch)] = float(np.percentile(found, 10))


def fashion_table(rows: dict[str, Any]) -> str:
    """Accuracy, size and speed of the fine-tuned networks."""
    head = ["network", "accuracy", "to dense", "zeros", "parameters", *speed_head(BATCHES["fashion"])]
    lines = []
    for keras, found in rows.items():
        dense = found["dense"]
        for name, row in found.items():
            lines.append([
                f"{name} ({keras})", f"{row['accuracy']:.2f}", f"{row['accuracy'] - dense['accuracy']:+.2f}",
                f"{row['zeros']:.1%}", f"{row['parameters']:,}", *speed(row, dense, BATCHES["fashion"]),
            ])  # fmt: skip
    return table(head, lines)


def seeds_table(rows: dict[str, Any]) -> str:
    """What a variant loses to the dense network of the same seed, averaged over the seeds."""
    losses: dict[tuple[str, str], list[float]] = {}
    for title, found in rows.items():
        net = re.sub(", seed .*", "", title)
        for name, row in found.items():
            losses.setdefault((name, net), []).append(row["accuracy"] - found["dense"]["accuracy"])
    lines = [
        [f"{name} ({net})", str(len(of)), f"{mean(of):+.2f}", f"{stdev(of) / len(of) ** 0.5:.2f}"]
        for (name, net), of in losses.items()
        if name != "dense" and len(of) > 1
    ]
    return table(["network", "seeds", "to dense, mean", "its standard error"], lines)


def large_table(rows: dict[str, Any]) -> str:
    """Size and speed of ResNet-50."""
    lines = [
        [f"{name} ({keras})", f"{row['parameters']:,}", *speed(row, found["dense"], BATCHES["resnet50"])]
        for keras, found in rows.items()
        for name, row in found.items()
    ]
    return table(["network", "parameters", *speed_head(BATCHES["resnet50"])], lines)


def speed_head(batches: tuple[int, ...]) -> list[str]:
    """The columns that `speed` fills."""
    return ["MACs", *(f"batch {batch}" for batch in batches)]


def speed(row: dict[str, Any], dense: dict[str, Any], batches: tuple[int, ...]) -> list[str]:
    """Multiply-accumulates and milliseconds, where measured, each with its ratio to the dense network's."""
    cells = [f"{row['macs'] / 1e6:.2f} M ({row['macs'] / dense['macs']:.2f}x)"]
    if "ms" not in row:
        return cells + [""] * len(batches)
    times = [(row["ms"][str(batch)], dense["ms"][str(batch)]) for batch in batches]
    return cells + [f"{three_digits(ms)} ms ({ms / base:.2f}x)" for ms, base in times]


def three_digits(number: float) -> str:
    """Rounded, and without an exponent."""
    return np.format_float_positional(number, precision=3, fractional=False, trim="-")


def document(results: dict[str, Any]) -> str:
    """The section of docs/benchmarks.md."""
    return "\n\n".join(
        [
            f"Measured on: {results['environment']}.",
            f"A ResNet of {WIDTH} to {4 * WIDTH} channels (or what the row names) on Fashion-MNIST, trained "
            f"for {FLOAT['epochs']} epochs, then fine-tuned for {EPOCHS} in each variant, the dense one too "
            "(or for as many as the row says, in an order drawn from seed 0 or the one named). Accuracy in "
            "per cent of the 10,000 test images; the standard error of 92 % on so many is 0.3 points. Zeros "
            "are counted over the pruned weights. Times are of float32 on OpenVINO; in brackets, what is "
            "left of the dense network's.",
            fashion_table(results["fashion"]),
            "One training more or less moves an accuracy by 0.1 to 0.2 points; over the seeds:",
            seeds_table(results["fashion"]),
            "ResNet-50 at 224 x 224, untrained, where the arithmetic outweighs the calls:",
            large_table(results["resnet50"]),
        ]
    )


def main() -> None:
    """Measures what has no result yet and writes the section of docs/benchmarks.md."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--legacy", action="store_true", help="use tf_keras instead of Keras 3")
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--folder", type=Path, default=Path("build/fashion_mnist"))
    parser.add_argument("--epochs", type=int, default=EPOCHS, help="of fine-tuning; default: %(default)s")
    parser.add_argument("--seed", type=int, default=0, help="of fine-tuning; default: %(default)s")
    parser.add_argument("--width", type=int, default=WIDTH, help="channels at first; default: %(default)s")
    parser.add_argument("--only", nargs="+", default=(), metavar="VARIANT", help="of the variants, these")
    parser.add_argument("--again", nargs="+", default=(), metavar="VARIANT", help="variants to train again")
    parser.add_argument("--table", action="store_true", help="run nothing, write docs/benchmarks.md")
    options = parser.parse_args()
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {"fashion": {}, "resnet50": {}}
    if not options.table:
        run(options, results)
    write_section("pruning", document(results))


def run(options: argparse.Namespace, results: dict[str, Any]) -> None:
    """Measures one Keras; each result is written as soon as it is there."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    keras = importlib.import_module("tf_keras" if options.legacy else "keras")
    options.folder.mkdir(parents=True, exist_ok=True)

    def save() -> None:
        results["environment"] = environment("tensorflow", "keras", "tf_keras", "openvino")
        RESULTS.write_text(json.dumps(results, indent=2) + "\n")

    title = keras.__name__
    title += f", {options.width} to {4 * options.width} channels" if options.width != WIDTH else ""
    title += f", {options.epochs} epochs" if options.epochs != EPOCHS else ""
    title += f", seed {options.seed}" if options.seed else ""
    small = results["fashion"].setdefault(title, {})
    for name in options.again:
        small.pop(name, None)
    measure(keras, options, small, save)
    large = results["resnet50"].setdefault(keras.__name__, {})
    export_large(keras, options.folder, large, save)
    if title == keras.__name__:  # the others compute as much
        add_latencies(small, options.folder, BATCHES["fashion"], 300)
    add_latencies(large, options.folder, BATCHES["resnet50"], 40)
    save()


if __name__ == "__main__":
    main()
