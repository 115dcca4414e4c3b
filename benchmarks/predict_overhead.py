"""What `EngineModel` costs beside the runner that it calls; writes a section of docs/benchmarks.md.

python -m benchmarks.predict_overhead
"""

from __future__ import annotations

import contextlib
import io
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.page import environment, table, write_section
from benchmarks.zoo_nets import build, images

NET, SIZE, BATCHES, ROUNDS = "MobileNetV2", 96, 6, 10
CALLS = 5000

HEAD = f"""`predict` of {BATCHES} batches of 32 ({NET}, {SIZE} x {SIZE}, float32), with and without its
bar, over a loop of `runner.run` on the same arrays: the median ratio of neighbouring runs in one process. And
the time of one call on one row with a runner that computes nothing: all of it is this library's.

"""


def main() -> None:
    import keras_trt

    model, x = build("keras", NET, SIZE), images(NET, SIZE, 32 * BATCHES, seed=0)
    lines = []
    with tempfile.TemporaryDirectory() as folder:
        keras_trt.export(model, Path(folder) / "net", engine=None, verify=False, verbose=0)
        for name in ("openvino", "onnxruntime"):
            engine = keras_trt.load(Path(folder) / "net", name, check=False, verbose=0)
            for bar in (0, 1):
                lines.append(
                    [
                        f"{name}, {BATCHES} batches, verbose={bar}",
                        f"{ratio(engine, x, bar):.3f} x the runner's loop",
                    ]
                )
        for what, microseconds in own_time(engine, x).items():
            lines.append([what, f"{microseconds:.0f} µs"])
    measured = f"Measured on {environment('openvino', 'onnxruntime')}, with other work on the machine.\n"
    write_section(
        "predict overhead",
        HEAD
        + measured
        + "`python -m benchmarks.predict_overhead` writes this.\n\n"
        + table(["call", "cost"], lines),
    )


def ratio(engine: Any, x: np.ndarray, bar: int) -> float:
    """`predict` over the runner's own loop."""
    runner = engine.runner
    name = runner.inputs[0].name

    def loop() -> None:
        parts = [runner.run({name: x[i : i + 32]}) for i in range(0, len(x), 32)]
        np.concatenate([next(iter(part.values())) for part in parts])

    found = []
    for turn in range(ROUNDS + 1):
        with contextlib.redirect_stdout(io.StringIO()):
            both = [lambda: engine.predict(x, verbose=bar), loop]
            if turn % 2:
                ours, theirs = map(seconds, both)
            else:
                theirs, ours = map(seconds, reversed(both))
        found.append(ours / theirs)
    return statistics.median(found[1:])


def own_time(engine: Any, x: np.ndarray) -> dict[str, float]:
    """Microseconds of calls on one row, nothing computed."""
    from keras_trt.runtime import EngineModel, Runner

    class Nothing(Runner):
        name = "nothing"

        def run(self, feeds: Any) -> dict[str, np.ndarray]:
            return result

    row = x[:1]
    result = engine.runner.run({engine.runner.inputs[0].name: row})
    empty = EngineModel(engine.bundle, Nothing(engine.bundle.manifest))
    calls: dict[str, Callable[[], Any]] = {
        "predict_on_batch, one row": lambda: empty.predict_on_batch(row),
        "__call__, one row": lambda: empty(row),
        "predict, one row": lambda: empty.predict(row),
    }
    return {
        what: 1e6 * statistics.median(seconds(call) for _ in range(CALLS)) for what, call in calls.items()
    }


def seconds(call: Callable[[], Any]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
