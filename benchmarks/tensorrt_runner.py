"""What the TensorRT runner costs around an engine, on a GPU; writes its part of docs/benchmarks.md.

The engine is the tests' stand-in: it launches kernels of ours, from C, where TensorRT would launch its own.
So these are figures of copies, streams, graphs and Python, and none of TensorRT.

    python -m benchmarks.tensorrt_runner              # measure and write
    python -m benchmarks.tensorrt_runner --table      # only write the tables anew
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import json
import os
import resource
import statistics
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from benchmarks.page import table, write_section
from keras_trt.engine import _trt, gpus
from keras_trt.runtime import EngineModel
from keras_trt.runtime.runners.tensorrt._cuda import (
    Buffer,
    Device,
    Pinned,
    Stream,
    bindings,
    to_device,
    to_host,
)
from keras_trt.runtime.runners.tensorrt.runner import TensorRTOptions, TensorRTRunner
from tests.runtime.runners import stand_in

ROOT = Path(__file__).parent.parent
ROWS = ROOT / "benchmarks" / "tensorrt_runner.json"
WIDTH = 3
LAUNCHER = """
typedef unsigned u;
int cuLaunchKernel(void*, u, u, u, u, u, u, u, void*, void**, void**);
int launch(void* f, unsigned blocks, void* stream, void** arguments, int count) {
    for (int i = 0; i < count; i++) {
        int code = cuLaunchKernel(f, blocks, 1, 1, 128, 1, 1, 0, stream, arguments, 0);
        if (code) return code;
    }
    return 0;
}
"""


def launcher(folder: Path) -> Any:
    """A C function that launches a kernel many times, as TensorRT does; Python would take longer."""
    (folder / "launch.c").write_text(LAUNCHER)
    command = ["cc", "-O2", "-shared", "-fPIC", "launch.c", "-o", "launch.so"]
    subprocess.run(command, cwd=folder, check=True)
    ctypes.CDLL("libcuda.so.1", ctypes.RTLD_GLOBAL)
    return ctypes.CDLL(str(folder / "launch.so")).launch


class Context(stand_in.Context):
    """Its kernels are launched from C."""

    launch: Any = None

    def execute_async_v3(self, stream: int) -> bool:
        n, engine = int(np.prod(self.shape)), self.engine
        first = (self.address["x"], self.address["x"], self.memory, n, engine.spin)
        last = (self.memory, self.memory, self.address["y"], n, 0)
        return all(
            self._many(stream, values, n, count) for values, count in ((first, engine.layers), (last, 1))
        )

    def _many(self, stream: int, values: tuple[int, ...], n: int, count: int) -> bool:
        types = (ctypes.c_uint64,) * 3 + (ctypes.c_uint32,) * 2
        held = [kind(value) for kind, value in zip(types, values, strict=True)]
        arguments = (ctypes.c_void_p * 5)(*(ctypes.addressof(one) for one in held))
        function = ctypes.c_void_p(int(self.engine.kernel.function))
        blocks = max(-(-n // 128), 1)
        return type(self).launch(function, blocks, ctypes.c_void_p(stream), arguments, count) == 0


class Engine(stand_in.Engine):
    def create_execution_context(self, strategy: object) -> Context:
        return Context(self)


@contextlib.contextmanager
def runner_of(folder: Path, *, cuda_graph: bool = True, **options: Any) -> Iterator[TensorRTRunner]:
    stand_in.Engine = Engine  # type: ignore[misc]
    trt = stand_in.stand_in(**options)
    _trt.load = lambda module, why: trt  # type: ignore[assignment]
    _trt.logger = lambda trt: SimpleNamespace(log=stand_in._log)  # type: ignore[assignment]
    bundle = stand_in.bundle_of(Path(tempfile.mkdtemp(dir=folder)) / "b")
    made = TensorRTRunner(b"plan", bundle.manifest, options=TensorRTOptions(cuda_graph=cuda_graph))
    with made:
        made.model = EngineModel(bundle, made)  # type: ignore[attr-defined]
        made.stand_in = trt.engine  # type: ignore[attr-defined]
        yield made


def seconds(work: Callable[[], object], calls: int, rounds: int = 7) -> float:
    """Median over rounds of the mean time of a call."""
    work()
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        for _ in range(calls):
            work()
        times.append((time.perf_counter() - start) / calls)
    return statistics.median(times)


def copies(size: int) -> dict[str, float]:
    """Seconds of one copy of so many bytes: within the host, and to and from the GPU."""
    a, b = np.random.default_rng(0).bytes(size), np.empty(size, np.uint8)
    source = np.frombuffer(a, np.uint8)
    stream, pinned, memory = Stream(), Pinned(size), Buffer(size)
    view = pinned.array((size,), np.dtype(np.uint8))

    def there(copy: Callable[..., None], first: int, second: int) -> float:
        def many() -> None:
            for _ in range(20):
                copy(first, second, size, stream)
            stream.synchronize()

        return seconds(many, 2) / 20

    found = {
        "host to pinned": seconds(lambda: view.__setitem__(slice(None), source), 10),
        "pinned to a new array": seconds(view.copy, 10),
        "to the GPU": there(to_device, memory.pointer, pinned.pointer),
        "to the host": there(to_host, pinned.pointer, memory.pointer),
        "pageable to the GPU": there(to_device, memory.pointer, source.ctypes.data),
        "to pageable": there(to_host, b.ctypes.data, memory.pointer),
    }
    for thing in (memory, pinned, stream):
        thing.close()
    return found


def kernel_seconds(runner: TensorRTRunner, count: int) -> float:
    """The engine alone: enqueued again and again on memory that is there."""
    slot = runner._slots.take()
    gpu = runner._gpu
    slot.start({"x": np.ones((count, WIDTH), np.float32)})
    slot.finish()
    context = next(iter(slot._contexts._plain.values())).context

    def many() -> None:
        for _ in range(10):
            gpu.enqueue(context, gpu.compute)
        gpu.compute.synchronize()

    found = seconds(many, 2) / 10
    runner._slots.give_back(slot)
    return found


def overlap(folder: Path) -> list[dict[str, Any]]:
    """Batches one by one and several under way, for kernels shorter and longer than the copies."""
    rows = []
    for megabytes, spins in ((1, (0, 8000, 32_000, 64_000)), (16, (0, 2000, 8000, 32_000))):
        count = (megabytes << 20) // (WIDTH * 4)
        with Device():
            copy = copies(count * WIDTH * 4)
        alone = 0.0
        for spin in spins:
            with runner_of(folder, profiles=((1, count, count),), spin=spin) as runner:
                row = {"bytes": count * WIDTH * 4, "spin": spin, **under_way(runner, count), "pieces": copy}
            alone = alone or row["many"]  # the kernels of the first row do next to nothing
            rows.append(row | {"copies": alone, "overlap": max(alone, row["kernel"]) / row["many"]})
            print(rows[-1], flush=True)
    return rows


def under_way(runner: TensorRTRunner, count: int) -> dict[str, float]:
    rng = np.random.default_rng(0)
    data = [rng.normal(size=(count, WIDTH)).astype(np.float32) for _ in range(8)]
    feeds = [{"x": x} for x in data] * (4 if count > 1 << 20 else 16)
    for x, result in zip(data, runner.run_many(feeds[:8]), strict=True):
        assert np.array_equal(result["y"], x * 4)

    def one_by_one() -> None:
        for feed in feeds:
            runner.run(feed)

    def several() -> None:
        for _ in runner.run_many(feeds):
            pass

    with runner._gpu.device:
        kernel = kernel_seconds(runner, count)
    calls = len(feeds)
    return {"kernel": kernel, "one": seconds(one_by_one, 1) / calls, "many": seconds(several, 1) / calls}


def graphs(folder: Path) -> list[dict[str, Any]]:
    rows = []
    for layers in (10, 50, 200):
        row: dict[str, Any] = {"launches": layers + 1}
        for name, cuda_graph in (("launched", False), ("replayed", True)):
            with runner_of(folder, layers=layers, cuda_graph=cuda_graph) as runner:
                x = np.ones((8, WIDTH), np.float32)
                row[name] = seconds(lambda: runner.run({"x": x}), 300)  # noqa: B023
                row[f"{name} by predict"] = seconds(lambda: runner.model(x), 300)  # type: ignore[attr-defined] # noqa: B023
        rows.append(row)
        print(row, flush=True)
    return rows


def zero_copy(folder: Path) -> list[dict[str, Any]]:
    import torch

    rows = []
    for megabytes in (0, 1, 16):
        count = max((megabytes << 20) // (WIDTH * 4), 8)
        with runner_of(folder, profiles=((1, count, count),)) as runner:
            model = runner.model  # type: ignore[attr-defined]
            there = torch.from_numpy(np.ones((count, WIDTH), np.float32)).cuda()

            def by_host() -> None:
                torch.from_numpy(model.predict_on_batch(there.cpu().numpy())).cuda()  # noqa: B023
                torch.cuda.synchronize()

            def on_gpu() -> None:
                torch.from_dlpack(model.predict_on_batch(there, on_device=True))  # noqa: B023
                torch.cuda.synchronize()

            calls = 300 if megabytes == 0 else 20
            row = {"bytes": count * WIDTH * 4, "host": seconds(by_host, calls), "gpu": seconds(on_gpu, calls)}
        rows.append(row)
        print(row, flush=True)
    return rows


def growth(folder: Path) -> dict[str, Any]:
    """10,000 calls of changing shapes and kinds, from one thread, then from eight."""

    def free() -> int:
        with Device():
            return int(bindings().cuMemGetInfo()[1])

    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()

    with runner_of(folder) as runner:
        rng = np.random.default_rng(0)
        data = [rng.normal(size=(count, WIDTH)).astype(np.float32) for count in (5000, 1, 8, 8, 700, 32)]
        wrong = []

        def work(calls: int) -> None:
            for i in range(calls):
                x = data[i % 6]
                if i % 50 == 0:
                    right = all(np.array_equal(r["y"], x * 4) for r in runner.run_many([{"x": x}] * 5))
                elif i % 7 == 0:
                    right = np.array_equal(runner.run_on_device({"x": x})["y"].numpy(), x * 4)
                else:
                    right = np.array_equal(runner.run({"x": x})["y"], x * 4)
                if not right:
                    wrong.append(i)

        def threads(calls: int) -> None:
            pool = [threading.Thread(target=work, args=(calls,)) for _ in range(8)]
            for one in pool:
                one.start()
            for one in pool:
                one.join()

        work(1000)
        threads(200)
        found: dict[str, Any] = {}
        for name, step in (("one thread", lambda: work(10_000)), ("eight threads", lambda: threads(1250))):
            device, host = free(), resident()
            step()
            found[name] = {"device": device - free(), "host": resident() - host, "wrong": len(wrong)}
    print(found, flush=True)
    return found


def predict_cost(folder: Path) -> dict[str, float]:
    """`predict` beside the runner's own loop, and what a call costs beyond the runner."""
    with runner_of(folder, spin=2000, layers=20) as runner:
        x = np.random.default_rng(0).normal(size=(3200, WIDTH)).astype(np.float32)
        feeds = [{"x": x[i : i + 32]} for i in range(0, 3200, 32)]
        model = runner.model  # type: ignore[attr-defined]
        found = {
            "run": seconds(lambda: [runner.run(feed) for feed in feeds], 3) / 100,
            "run_many": seconds(lambda: [None for _ in runner.run_many(feeds)], 3) / 100,
            "predict": seconds(lambda: model.predict(x, batch_size=32, verbose=0), 3) / 100,
            "run one row": seconds(lambda: runner.run({"x": x[:1]}), 200),
            "predict one row": seconds(lambda: model.predict(x[:1], verbose=0), 200),
            "predict_on_batch one row": seconds(lambda: model.predict_on_batch(x[:1]), 200),
        }
    print(found, flush=True)
    return found


def measure() -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        Context.launch = launcher(folder)
        return {
            "gpu": gpus()[0].name,
            "cores": os.cpu_count(),
            "predict": predict_cost(folder),
            "graphs": graphs(folder),
            "growth": growth(folder),
            "zero copy": zero_copy(folder),
            "overlap": overlap(folder),
        }


def page(found: dict[str, Any]) -> str:
    def us(value: float) -> str:
        return f"{value * 1e6:,.0f}"

    overlapped = table(
        ("Batch in and out", "Kernels", "Copies", "One by one", "Under way", "Slower of the two / under way"),
        [
            (
                f"{row['bytes'] / 2**20:.0f} MiB",
                *(us(row[name]) for name in ("kernel", "copies", "one", "many")),
                f"{row['overlap']:.0%}",
            )
            for row in found["overlap"]
        ],
    )
    replayed = table(
        ("Launches", "Launched", "Replayed", "Launched / replayed"),
        [
            (
                str(row["launches"]),
                us(row["launched"]),
                us(row["replayed"]),
                f"{row['launched'] / row['replayed']:.1f}",
            )
            for row in found["graphs"]
        ],
    )
    direct = table(
        ("Batch", "By the host", "On the GPU", "Ratio"),
        [
            (f"{row['bytes']:,} bytes", us(row["host"]), us(row["gpu"]), f"{row['host'] / row['gpu']:.1f}")
            for row in found["zero copy"]
        ],
    )
    grown = table(
        ("10,000 calls by", "GPU memory", "Host memory", "Wrong results"),
        [
            (name, f"{row['device']:+,} bytes", f"{row['host']:+,} bytes", str(row["wrong"]))
            for name, row in found["growth"].items()
        ],
    )
    pieces, costs = found["overlap"][-1]["pieces"], found["predict"]
    parts = ", ".join(f"{name} {us(seconds)}" for name, seconds in pieces.items())
    machine = f"{found['gpu']}, {found['cores']} cores of an x86-64 server processor"
    return f"""Measured on: {machine}. Microseconds a batch.

{overlapped}

The steps of copying 16 MiB, each by itself and by one thread: {parts}.

{replayed}

{direct}

{grown}

`predict` at batch 32 takes {costs["predict"] / costs["run_many"]:.2f} times the runner's own loop."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--table", action="store_true", help="only write the tables anew")
    parser.add_argument("--out", type=Path, default=ROWS, help="where the numbers go")
    options = parser.parse_args()
    if not options.table:
        options.out.write_text(json.dumps(measure(), indent=1) + "\n")
    if options.out == ROWS:
        write_section("tensorrt_runner", page(json.loads(ROWS.read_text())))


if __name__ == "__main__":
    main()
