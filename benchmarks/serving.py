"""How many requests a second `serve` answers, beside the same engine bound to PyTriton by hand.

python -m benchmarks.serving make NAME FOLDER     with Keras: writes the bundle
python -m benchmarks.serving measure FOLDER       with nvidia-pytriton: measures, writes docs/benchmarks.md
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.page import environment, table, write_section

RESULTS = Path(__file__).with_suffix(".json")
CLIENTS, ROUNDS, SECONDS, DELAY = 16, 16, 6.0, 2000

BY_HAND = """
import sys, numpy as np, keras_trt
from pytriton.decorators import batch
from pytriton.model_config import DynamicBatcher, ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig
path, http, grpc, metrics, delay = sys.argv[1], *map(int, sys.argv[2:])
engine = keras_trt.load(path, verbose=0)
x, y = engine.inputs[0], engine.outputs[0]

@batch
def infer(**arrays):
    return [engine.predict_on_batch(arrays[x.name])]

config = TritonConfig(
    http_port=http, grpc_port=grpc, metrics_port=metrics,
    http_address="127.0.0.1", grpc_address="127.0.0.1", metrics_address="127.0.0.1",
)
with Triton(config=config) as triton:
    triton.bind(
        model_name="net", infer_func=infer,
        inputs=[Tensor(name=x.name, dtype=np.float32, shape=x.shape[1:])],
        outputs=[Tensor(name=y.name, dtype=np.float32, shape=y.shape[1:])],
        config=ModelConfig(
            max_batch_size=engine.bundle.manifest.batch[2],
            batcher=DynamicBatcher(max_queue_delay_microseconds=delay),
        ),
    )
    triton.serve()
"""
OURS = """
import sys, keras_trt
path, http, grpc, metrics, delay = sys.argv[1], *map(int, sys.argv[2:])
keras_trt.serve(
    {"net": path}, http_port=http, grpc_port=grpc, metrics_port=metrics, max_delay_us=delay, verbose=0
)
"""
CLIENT = """
import sys, threading, time, numpy as np, tritonclient.grpc as grpc
port, name, clients, seconds, *shape = sys.argv[1:]
shape, counts, end = (1, *map(int, shape)), [0] * int(clients), time.monotonic() + float(seconds)

def work(place):
    client = grpc.InferenceServerClient(f"127.0.0.1:{port}")
    tensor = grpc.InferInput(name, shape, "FP32")
    tensor.set_data_from_numpy(np.random.default_rng(place).random(shape, dtype=np.float32))
    while time.monotonic() < end:
        client.infer("net", [tensor])
        counts[place] += 1

threads = [threading.Thread(target=work, args=(i,)) for i in range(len(counts))]
start = time.monotonic()
for thread in threads: thread.start()
for thread in threads: thread.join()
print(sum(counts) / (time.monotonic() - start))
"""


def make(name: str, folder: str) -> None:
    import keras_trt
    from benchmarks.zoo_nets import build, images

    size = 224 if name == "ResNet50" else 96
    model = build("keras", name, size)
    model = keras_trt.quantize_model(
        model, calibration_data=images(name, size, 32, seed=0), verbose=0, recover=None
    )
    keras_trt.export(model, folder, engine=None, verify=False, verbose=0)


@contextmanager
def server(code: str, path: str, first_port: int) -> Iterator[tuple[int, Callable[[], float]]]:
    """A server's gRPC port, and what tells its processor time so far."""
    ports = [first_port, first_port + 1, first_port + 2]
    env = {**os.environ, "LD_LIBRARY_PATH": str(sysconfig.get_config_var("LIBDIR"))}
    command = [sys.executable, "-c", code, path, *map(str, ports), str(DELAY)]
    log = (Path(tempfile.gettempdir()) / f"benchmark-{first_port}.log").open("w")
    process = subprocess.Popen(command, stdout=log, stderr=log, env=env)
    try:
        wait(f"http://127.0.0.1:{first_port}/v2/models/net/ready", process)
        yield ports[1], lambda: processor_seconds(process.pid)
    finally:
        process.terminate()
        process.wait(60)
        log.close()


def processor_seconds(pid: int) -> float:
    """Of a process and its children, which other work on the machine disturbs less than the clock."""
    import psutil

    parent = psutil.Process(pid)
    return sum(sum(one.cpu_times()[:2]) for one in (parent, *parent.children(recursive=True)))


def wait(url: str, process: subprocess.Popen) -> None:
    for _ in range(1200):
        assert process.poll() is None
        try:
            urllib.request.urlopen(url).close()
            return
        except OSError:
            time.sleep(0.1)
    raise TimeoutError(url)


def requests_a_second(port: int, name: str, shape: tuple[int | str, ...], seconds: float) -> float:
    command = [sys.executable, "-c", CLIENT, str(port), name, str(CLIENTS), str(seconds), *map(str, shape)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def formed_batch(port: int) -> float:
    with urllib.request.urlopen(f"http://127.0.0.1:{port + 1}/metrics") as page:
        lines = [line.split() for line in page.read().decode().splitlines() if 'model="net"' in line]
    values = {name.partition("{")[0]: float(value) for name, value in lines}
    return values["nv_inference_count"] / values["nv_inference_exec_count"]


def measure(folder: str) -> None:
    """Three take turns, each in an order that the next turn reverses; results are medians over the turns."""
    import keras_trt

    engine = keras_trt.load(folder, verbose=0)
    spec = engine.inputs[0]
    with (
        server(OURS, folder, 18400) as (ours, our_work),
        server(BY_HAND, folder, 18500) as (theirs, their_work),
    ):
        for port in (ours, theirs):
            requests_a_second(port, spec.name, spec.shape[1:], 2)
        turns: list[dict[str, float]] = []
        work = {ours: our_work, theirs: their_work}
        spent, answered = dict.fromkeys(work, 0.0), dict.fromkeys(work, 0.0)
        for turn in range(ROUNDS):
            rate = {}
            for port in (ours, theirs) if turn % 2 else (theirs, ours):
                before = work[port]()
                rate[port] = requests_a_second(port, spec.name, spec.shape[1:], SECONDS)
                spent[port] += work[port]() - before
                answered[port] += rate[port] * SECONDS
            batch = formed_batch(ours)
            predicted = rows_a_second(engine, max(1, round(batch)))
            turns.append({"serve": rate[ours], "by_hand": rate[theirs], "predict": predicted})
            print(" ".join(f"{name} {value:.1f}" for name, value in turns[-1].items()), flush=True)
    shape = " x ".join(map(str, spec.shape[1:3]))
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    results[f"{engine.name}, {shape}"] = {
        "batch": batch,
        "processor_ms": {"serve": cost(ours, spent, answered), "by_hand": cost(theirs, spent, answered)},
        "environment": environment("nvidia-pytriton", "openvino"),
        "turns": turns,
    }
    RESULTS.write_text(json.dumps(results, indent=1) + "\n")
    write_section("serving", section(results))


def cost(port: int, spent: dict[int, float], answered: dict[int, float]) -> float:
    """Milliseconds of the server's processors for a request."""
    return 1000 * spent[port] / answered[port]


def section(results: dict[str, Any]) -> str:
    """The section of the page, of all networks that were measured."""
    rows = []
    for name, result in results.items():
        medians, neighbouring = compared(result["turns"])
        used = result["processor_ms"]
        rows.append(
            (
                name,
                f"{medians['serve']:.1f}",
                f"{medians['by_hand']:.1f}",
                f"{medians['serve'] / medians['by_hand']:.2f} ({neighbouring['by_hand']:.2f})",
                f"{result['batch']:.1f}",
                f"{medians['predict']:.1f}",
                f"{medians['serve'] / medians['predict']:.2f} ({neighbouring['predict']:.2f})",
                f"{used['serve']:.2f} · {used['by_hand']:.2f}",
            )
        )
    head = ["Network", "`serve`", "by hand", "ratio", "batch formed", "`predict`", "ratio", "processor ms"]
    measured = {result["environment"] for result in results.values()}
    return (
        f"Measured on: {' | '.join(sorted(measured))}, with other work on the machine.\n\n{table(head, rows)}"
    )


def compared(turns: list[dict[str, float]]) -> tuple[dict[str, float], dict[str, float]]:
    """Medians of each, and the median of `serve`'s ratio to each within a turn."""
    medians = {name: statistics.median(turn[name] for turn in turns) for name in turns[0]}
    ratios = {name: statistics.median(turn["serve"] / turn[name] for turn in turns) for name in turns[0]}
    return medians, ratios


def rows_a_second(engine: Any, rows: int) -> float:
    """What `predict` does alone, at the batch that the server forms."""
    x = np.random.default_rng(0).random((4 * rows, *engine.inputs[0].shape[1:]), dtype=np.float32)
    start, done = time.monotonic(), 0
    while time.monotonic() - start < SECONDS:
        engine.predict(x, batch_size=rows, verbose=0)
        done += len(x)
    return done / (time.monotonic() - start)


if __name__ == "__main__":
    {"make": make, "measure": measure}[sys.argv[1]](*sys.argv[2:])
