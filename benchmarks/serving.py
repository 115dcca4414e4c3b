"""How many requests a second `serve` answers, beside the same engine bound to PyTriton by hand.

python -m benchmarks.serving make NAME FOLDER     with Keras: writes the bundle
python -m benchmarks.serving measure FOLDER       with nvidia-pytriton: prints a row of docs/serving.md
"""

from __future__ import annotations

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

CLIENTS, ROUNDS, SECONDS, DELAY = 16, 16, 3.0, 2000

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
    import keras_trt

    engine = keras_trt.load(folder, verbose=0)
    spec = engine.inputs[0]
    with (
        server(OURS, folder, 18400) as (ours, our_work),
        server(BY_HAND, folder, 18500) as (theirs, their_work),
    ):
        for port in (ours, theirs):
            requests_a_second(port, spec.name, spec.shape[1:], 2)
        found, spent = [], {ours: 0.0, theirs: 0.0}
        answered = dict.fromkeys(spent, 0.0)
        work = {ours: our_work, theirs: their_work}
        for turn in range(ROUNDS):
            order = (ours, theirs) if turn % 2 else (theirs, ours)
            rate = {}
            for port in order:
                before = work[port]()
                rate[port] = requests_a_second(port, spec.name, spec.shape[1:], SECONDS)
                spent[port] += work[port]() - before
                answered[port] += rate[port] * SECONDS
            batch = formed_batch(ours)
            found.append((rate[ours], rate[theirs], rows_a_second(engine, max(1, round(batch)))))
    served, by_hand, direct = (statistics.median(side) for side in zip(*found, strict=True))
    ratios = [statistics.median(turn[0] / turn[i] for turn in found) for i in (1, 2)]
    per_request = {port: 1000 * spent[port] / answered[port] for port in spent}
    print(f"processor ms a request: {per_request[ours]:.2f}, by hand {per_request[theirs]:.2f}")
    print(f"| {engine.name} | {served:.0f} | {by_hand:.0f} | {ratios[0]:.2f} ", end="")
    print(f"| {batch:.1f} | {direct:.0f} | {ratios[1]:.2f} |")


def rows_a_second(engine: Any, rows: int) -> float:
    """What `predict_on_batch` does alone, at the batch that the server forms."""
    x = np.random.default_rng(0).random((rows, *engine.inputs[0].shape[1:]), dtype=np.float32)
    start, done = time.monotonic(), 0
    while time.monotonic() - start < SECONDS:
        engine.predict_on_batch(x)
        done += rows
    return done / (time.monotonic() - start)


if __name__ == "__main__":
    {"make": make, "measure": measure}[sys.argv[1]](*sys.argv[2:])
