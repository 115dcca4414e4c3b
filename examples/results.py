"""What the examples share: their options, the table they print, and the goal that each must meet."""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table


def arguments(documentation: str | None, **more: Any) -> argparse.Namespace:
    """The command line: `--quick`, `--validate`, `--out`, and more options as {name: default}."""
    parser = argparse.ArgumentParser(description=(documentation or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="less data and fewer epochs, to try it out")
    parser.add_argument(
        "--validate", action="store_true", help="measure on training data left out: for trying settings"
    )
    parser.add_argument("--out", type=Path, default=Path("build/examples"), help="folder for the bundles")
    for name, default in more.items():
        action: Any = {"action": "store_true"} if default is False else {"default": default}
        parser.add_argument(f"--{name.replace('_', '-')}", **action)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    return options


def split(options: argparse.Namespace, x: Any, y: Any, x_test: Any, y_test: Any) -> tuple[Any, Any, Any, Any]:
    """The four as given; with `--validate` the last fifth of the training data is what is measured on."""
    if not options.validate:
        return x, y, x_test, y_test
    rows = len(x) * 4 // 5
    return x[:rows], y[:rows], x[rows:], y[rows:]


class Results:
    """Measures models and engines on the same test data, prints a table, checks the goal.

    Args:
        title: Stands above the table.
        x: Test inputs, as `predict` takes them: an array, or a dict of arrays.
        scores: {name: function of the predictions, in [0, 1], larger is better}.
    """

    def __init__(self, title: str, x: Any, **scores: Callable[[Any], float]) -> None:
        self.title, self.x, self.scores = title, x, scores
        self.rows: dict[str, list[float]] = {}
        self.table = Table("", *scores, "one row", "size", title=title)

    def add(self, name: str, model: Any) -> None:
        """A line of the table, of a Keras model or of an engine that `keras_trt.load` returned."""
        predictions = model.predict(self.x, verbose=0)
        self.rows[name] = [score(predictions) for score in self.scores.values()]
        cells = [f"{100 * value:.2f} %" for value in self.rows[name]]
        self.table.add_row(name, *cells, f"{milliseconds(model, self.x):.2f} ms", f"{size(model):,.0f} KB")

    def check(self, *names: str, beside: str = "float", points: float = 0.5, quick: bool = False) -> None:
        """Prints the table and ends with exit code 1 where a score has fallen by more than `points`.

        The goal is for full runs: a `quick` one that misses it says so, and has ended well.
        """
        Console(width=110).print(self.table)
        for name in names or ("exported",):
            for score, value, before in zip(self.scores, self.rows[name], self.rows[beside], strict=True):
                lost = 100 * (before - value)
                if lost > points:
                    missed = f"{score} of {name!r} is {lost:.2f} points below that of {beside!r}"
                    if not quick:
                        sys.exit(f"Goal missed: {missed}")
                    print(f"Goal not met by this quick run, it is for full ones: {missed}")
                    return
            print(f"Goal met: {name!r} is within {points} points of {beside!r}")


def milliseconds(model: Any, x: Any, repeats: int = 20) -> float:
    """Median time to predict one row, from NumPy to NumPy."""
    row = {name: values[:1] for name, values in x.items()} if isinstance(x, dict) else x[:1]
    times = []
    for _ in range(repeats + 3):  # the first ones warm up
        start = time.perf_counter()
        model.predict_on_batch(row)
        times.append(1000 * (time.perf_counter() - start))
    return statistics.median(times[3:])


def size(model: Any) -> float:
    """Kilobytes: of a bundle's ONNX file, or of the weights that Keras keeps in float32."""
    if hasattr(model, "bundle"):
        return model.bundle.onnx_path.stat().st_size / 1000
    return 4 * model.count_params() / 1000
