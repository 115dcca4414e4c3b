"""Every ordered pair of layers, with and without a skip over the second: exported, and run by default.

    python -m benchmarks.pairs [--keras keras3] [--kind image] [--precision int8] [--axes open] [--first NAME]
                               [--part 1/3] [--shared]

A model holds all pairs with one first layer, side by side behind one input and with outputs of their own, so
that one export tries them all; where it fails, each of its pairs is tried alone. With `--shared` all pairs
read one first layer, as runners go wrong where one reader changes what another reads. Prints what fails,
which graphs `load` did not give to the first runner as it is, and how many ran where; ends with an error
where anything failed.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import itertools
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

CHANNELS, STEPS, SIZE = 8, 12, 8
Make = Callable[[Any], Callable[[Any], Any]]


def _squeeze_excite(L: Any, x: Any) -> Any:
    gate = L.Dense(CHANNELS, activation="sigmoid")(L.GlobalAveragePooling2D(keepdims=True)(x))
    return L.Multiply()([x, gate])


ANY: dict[str, Make] = {
    "dense": lambda L: L.Dense(CHANNELS),
    "dense relu": lambda L: L.Dense(CHANNELS, activation="relu"),
    "dense gelu": lambda L: L.Dense(CHANNELS, activation="gelu"),
    "batch norm": lambda L: L.BatchNormalization(),
    "layer norm": lambda L: L.LayerNormalization(),
    "group norm": lambda L: L.GroupNormalization(2),
    "gelu": lambda L: L.Activation("gelu"),
    "swish": lambda L: L.Activation("swish"),
    "sigmoid": lambda L: L.Activation("sigmoid"),
    "softmax": lambda L: L.Softmax(),
    "relu": lambda L: L.ReLU(),
    "leaky relu": lambda L: L.LeakyReLU(),
    "rescaling": lambda L: L.Rescaling(0.5, 0.1),
}
SEQUENCE: dict[str, Make] = {
    **ANY,
    "conv": lambda L: L.Conv1D(CHANNELS, 3, padding="same"),
    "conv relu": lambda L: L.Conv1D(CHANNELS, 3, padding="same", activation="relu"),
    "causal conv": lambda L: L.Conv1D(CHANNELS, 3, padding="causal", dilation_rate=2),
    "depthwise conv": lambda L: L.DepthwiseConv1D(3, padding="same"),
    "separable conv": lambda L: L.SeparableConv1D(CHANNELS, 3, padding="same"),
    "conv transpose": lambda L: L.Conv1DTranspose(CHANNELS, 3, padding="same"),
    "lstm": lambda L: L.LSTM(CHANNELS, return_sequences=True),
    "gru": lambda L: L.GRU(CHANNELS, return_sequences=True),
    "rnn": lambda L: L.SimpleRNN(CHANNELS, return_sequences=True),
    "bidirectional": lambda L: L.Bidirectional(L.LSTM(CHANNELS // 2, return_sequences=True)),
    "attention": lambda L: lambda x: L.MultiHeadAttention(2, 4)(x, x),
    "time distributed": lambda L: L.TimeDistributed(L.Dense(CHANNELS)),
    "max pooling": lambda L: L.MaxPooling1D(3, 1, padding="same"),
    "average pooling": lambda L: L.AveragePooling1D(3, 1, padding="same"),
}
IMAGE: dict[str, Make] = {
    **ANY,
    "conv": lambda L: L.Conv2D(CHANNELS, 3, padding="same"),
    "conv relu": lambda L: L.Conv2D(CHANNELS, 3, padding="same", activation="relu"),
    "pointwise": lambda L: L.Conv2D(CHANNELS, 1, use_bias=False),
    "dilated conv": lambda L: L.Conv2D(CHANNELS, 3, padding="same", dilation_rate=2),
    "grouped conv": lambda L: L.Conv2D(CHANNELS, 3, padding="same", groups=2),
    "depthwise conv": lambda L: L.DepthwiseConv2D(3, padding="same"),
    "separable conv": lambda L: L.SeparableConv2D(CHANNELS, 3, padding="same"),
    "conv transpose": lambda L: L.Conv2DTranspose(CHANNELS, 3, padding="same"),
    "padded conv": lambda L: lambda x: L.Conv2D(CHANNELS, 3)(L.ZeroPadding2D(1)(x)),
    "conv bn relu": lambda L: (
        lambda x: L.ReLU(6.0)(L.BatchNormalization()(L.Conv2D(CHANNELS, 3, padding="same")(x)))
    ),
    "squeeze excite": lambda L: partial(_squeeze_excite, L),
    "prelu": lambda L: L.PReLU(shared_axes=[1, 2]),
    "max pooling": lambda L: L.MaxPooling2D(3, 1, padding="same"),
    "average pooling": lambda L: L.AveragePooling2D(3, 1, padding="same"),
    "down and up": lambda L: lambda x: L.UpSampling2D(2)(L.Conv2D(CHANNELS, 3, 2, padding="same")(x)),
}
KINDS = {"sequence": SEQUENCE, "image": IMAGE}
JOINS: dict[str, Callable[[Any, Any, Any], Any]] = {
    "none": lambda L, x, y: y,
    "add": lambda L, x, y: L.Add()([x, y]),
    "concatenate": lambda L, x, y: L.Concatenate()([x, y]),
    "multiply": lambda L, x, y: L.Multiply()([x, y]),
}
Pair = tuple[str, str]


def main() -> None:
    options = _options()
    tried, failed, runners, started = 0, 0, Counter[str](), time.time()
    for what in _cases(options):
        pairs = list(itertools.product(KINDS[what[1]], JOINS))
        try:
            runner = _try(*what, pairs, shared=options.shared)
            runners[runner] += 1
            if runner != "openvino":
                print(*what, runner, sep=" | ", flush=True)
        except Exception as e:
            failed += _told(what, [] if options.shared else pairs) or _say(*what, "all pairs together", e)
        tried += len(pairs)
        print(f"{tried} pairs, {failed} failed, {time.time() - started:.0f} s", flush=True)
    print("computed by:", dict(runners))
    if failed:
        raise SystemExit(1)


def _told(what: tuple[str, str, str, str, str], pairs: list[Pair]) -> int:
    """Prints which of the pairs fail alone, and why; their number."""
    failed = 0
    for pair in pairs:
        try:
            _try(*what, [pair])
        except Exception as e:
            failed += _say(*what, *pair, e)
    return failed


def _say(*what: Any) -> int:
    *named, error = what
    print(*named, type(error).__name__, str(error).splitlines()[0][:300], sep=" | ", flush=True)
    return 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--keras", choices=["keras3", "legacy"])
    parser.add_argument("--kind", choices=list(KINDS))
    parser.add_argument("--precision", choices=["float32", "int8", "fp8"])
    parser.add_argument("--axes", choices=["fixed", "open"])
    parser.add_argument("--first")
    parser.add_argument("--shared", action="store_true", help="one first layer that all pairs read")
    parser.add_argument("--part", default="1/1", help="e.g. 1/3: the first of three parts")
    options = parser.parse_args()
    part, parts = map(int, options.part.split("/"))
    if not 1 <= part <= parts:
        parser.error(f"--part is e.g. 1/3, from 1/1 on. Received: --part {options.part}")
    return options


def _cases(options: argparse.Namespace) -> Iterator[tuple[str, str, str, str, str]]:
    """(Keras, kind, precision, axes, first layer)."""
    part, parts = map(int, options.part.split("/"))
    every = (
        (keras, kind, precision, axes, first)
        for keras, kind, precision, axes in itertools.product(
            ("keras3", "legacy"), KINDS, ("float32", "int8", "fp8"), ("fixed", "open")
        )
        for first in KINDS[kind]
    )
    asked = (options.keras, options.kind, options.precision, options.axes, options.first)
    fits = [what for what in every if all(a in (None, w) for a, w in zip(asked, what, strict=True))]
    yield from fits[part - 1 :: parts]


def _try(
    keras: str, kind: str, precision: str, axes: str, first: str, pairs: list[Pair], shared: bool = False
) -> str:
    """Quantises, exports, loads and predicts; the runner that `load` took."""
    import keras_trt

    k = importlib.import_module("keras" if keras == "keras3" else "tf_keras")
    k.backend.clear_session()
    k.utils.set_random_seed(0)
    fixed = (STEPS, CHANNELS) if kind == "sequence" else (SIZE, SIZE, CHANNELS)
    shape = fixed if axes == "fixed" else (*[None] * (len(fixed) - 1), CHANNELS)
    model = _model(k, kind, shape, first, pairs, shared)
    x = np.random.default_rng(0).standard_normal((8, *fixed)).astype(np.float32)
    if precision != "float32":
        with contextlib.suppress(keras_trt.errors.ModelError):  # nothing in it to quantise
            model = keras_trt.quantize_model(model, precision, calibration_data=x, min_sqnr=None, verbose=0)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "pair"
        keras_trt.export(model, path, engine=None, calibration_data=x, verbose=0)
        engine = keras_trt.load(path, verbose=0)
        found, expected = engine.predict(x, verbose=0), model.predict(x, verbose=0)
    found, expected = (y if isinstance(y, list) else [y] for y in (found, expected))
    allowed = 1e-3 if precision == "float32" else 0.05
    for pair, y, right in zip(pairs, found, expected, strict=True):
        off = float(np.linalg.norm(y - right) / max(np.linalg.norm(right), 1e-6))
        if not off <= allowed:
            raise ValueError(f"{pair}: {engine.runner.name} is {off:.2%} off")
    return engine.runner.name + (" in another setting" if "wrongly" in engine.runner.reason else "")


def _model(
    k: Any, kind: str, shape: tuple[int | None, ...], first: str, pairs: list[Pair], shared: bool
) -> Any:
    L, layers = k.layers, KINDS[kind]
    x = k.Input(shape)
    outputs, one = [], layers[first](L)(x) if shared else None
    for second, join in pairs:
        y = one if shared else layers[first](L)(x)
        joined = JOINS[join](L, y, layers[second](L)(y))
        outputs.append(L.Dense(3)(joined))
    return k.Model(x, outputs)


if __name__ == "__main__":
    main()
