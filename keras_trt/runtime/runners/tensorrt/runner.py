"""Runs a plan on the GPU with TensorRT, its lean runtime, or TensorRT-RTX.

A batch passes three stages: copy to the GPU, kernels, copy back. Each has a stream of its own, and a batch on
its way has a `Slot`: pinned and device memory, execution contexts and recorded graphs. `run_many` keeps a few
slots under way, so the copies of one batch go beside the kernels of another, and results come in order.
Threads take a slot each. A slot is free again when its batch is done or has failed; a few are kept.

The contexts of one engine take turns on the compute stream, so they share one memory for activations. The
plan's optimisation profile is chosen by shape, and a shape that comes again is replayed as a CUDA graph.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Collection, Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import numpy as np

from keras_trt._base.tensors import BATCH_AXIS
from keras_trt.bundle.manifest import Manifest
from keras_trt.engine import _trt
from keras_trt.errors import RunnerError
from keras_trt.runtime.runners.lifetime import check_process
from keras_trt.runtime.runners.runner import Executed, Runner
from keras_trt.runtime.runners.tensorrt._cuda import OutOfMemoryError
from keras_trt.runtime.runners.tensorrt.device_array import DeviceArray, device_array, on_gpu
from keras_trt.runtime.runners.tensorrt.gpu_engine import GpuEngine
from keras_trt.runtime.runners.tensorrt.layers import executed_layers
from keras_trt.runtime.runners.tensorrt.profiles import batch_ranges, padded
from keras_trt.runtime.runners.tensorrt.slot import Slot
from keras_trt.runtime.runners.tensorrt.slots import Slots

UNDER_WAY = 4
"""Batches at a time in `run_many`: one for each stage, and one that is being staged on the host."""


@dataclass(frozen=True)
class TensorRTOptions:
    """How an engine is run.

    Attributes:
        cuda_graph: Record the launches of an input shape that comes again, and replay them: less latency for
            small batches, some memory per shape.
        allow_host_code: Let a version-compatible plan run the code it carries. Only for plans you trust.
        device: The number of the GPU, as CUDA counts them.
    """

    cuda_graph: bool = True
    allow_host_code: bool = False
    device: int = 0


class TensorRTRunner(Runner):
    """A plan on the GPU. Memory is kept between calls and grows with the largest batch seen."""

    def __init__(
        self,
        plan: bytes,
        manifest: Manifest,
        *,
        module: str = "tensorrt",
        options: TensorRTOptions = TensorRTOptions(),
    ) -> None:
        """Loads a plan.

        Args:
            plan: The serialized engine.
            manifest: Names, shapes and dtypes of the inputs and outputs.
            module: `"tensorrt"`, `"tensorrt_lean"` or `"tensorrt_rtx"`.
            options: See `TensorRTOptions`.

        Raises:
            MissingDependencyError: `module` or `cuda-bindings` is not installed.
            EngineError: TensorRT cannot load the plan here.
            RunnerError: No GPU, or the plan is of another model.
        """
        super().__init__(manifest)
        trt = _trt.load(module, why=f"runner={module!r}")
        check_process(module)
        self.name = module
        self._closing = threading.Lock()
        self._closed = False
        self._gpu = GpuEngine(
            trt,
            plan,
            options.device,
            cuda_graph=options.cuda_graph,
            allow_host_code=options.allow_host_code,
        )
        inputs, outputs = (tuple(spec.name for spec in specs) for specs in (self.inputs, self.outputs))
        self._names = inputs, outputs
        self._slots = Slots(self._gpu, inputs, outputs)
        try:
            self._check_names(manifest)
            self._read_ranges(manifest)
        except BaseException:
            self.close()
            raise

    def _check_names(self, manifest: Manifest) -> None:
        wanted = {spec.name for spec in (*manifest.inputs, *manifest.outputs)}
        if wanted != set(self._gpu.dtypes):
            raise RunnerError(
                "The plan is not of this model: its tensors differ from the manifest's. "
                f"Received: {sorted(self._gpu.dtypes)}, expected: {sorted(wanted)}"
            )

    def _read_ranges(self, manifest: Manifest) -> None:
        self._gpu.read_profiles([spec.name for spec in manifest.inputs])
        open_ = [spec.name for spec in manifest.inputs if spec.shape[:1] == (BATCH_AXIS,)]
        self._ranges = batch_ranges(self._gpu.profiles, open_[0]) if open_ else []
        if self._ranges:
            self.batch_range = min(low for low, _ in self._ranges), max(high for _, high in self._ranges)

    def batch_for(self, rows: int) -> int:  # noqa: D102
        return padded(rows, self._ranges) if self._ranges else super().batch_for(rows)

    def run(self, feeds: Mapping[str, object]) -> dict[str, np.ndarray]:  # noqa: D102
        return self._ran(feeds, on_device=False)

    def run_on_device(self, feeds: Mapping[str, object]) -> dict[str, DeviceArray]:  # noqa: D102
        return self._ran(feeds, on_device=True)

    def run_many(  # noqa: D102
        self, batches: Iterable[Mapping[str, object]]
    ) -> Generator[dict[str, np.ndarray], None, None]:
        under_way: deque[Slot] = deque()
        most = UNDER_WAY
        try:
            for feeds in batches:
                slot = None if len(under_way) == most else self._started_ahead(feeds, under_way)
                if slot is None:
                    most = len(under_way)  # no memory for more
                    with self._in_use():
                        result = self._slots.finish(under_way.popleft())
                    yield result
                    with self._in_use():
                        slot = self._begun(feeds)
                under_way.append(slot)
            while under_way:
                with self._in_use():
                    result = self._slots.finish(under_way.popleft())
                yield result
        finally:
            if under_way and not self._closed:  # an error, or nobody asks for the rest
                with self._in_use():
                    for slot in under_way:
                        self._slots.drop(slot)

    def device_array(self, value: object) -> DeviceArray | None:  # noqa: D102
        if not on_gpu(value):
            return None
        with self.lifetime.use(), self._gpu.device as device:
            return device_array(value, device.index, self._gpu.compute.handle)

    def executed(self, feeds: Mapping[str, np.ndarray], calls: int) -> list[Executed]:  # noqa: D102
        with self._in_use():
            return executed_layers(self._gpu, *self._names, feeds, calls)

    def close(self) -> None:
        """Waits for calls under way, then frees the engine's memory on the GPU."""
        if not self.lifetime.end():
            return
        with self._closing:
            if self._closed:
                return
            self._closed = True
            with self._gpu.device:
                with suppress(RunnerError):  # a GPU that has failed has nothing under way
                    self._gpu.drain()
                self._slots.close()
            self._gpu.close()

    def _ran(self, feeds: Mapping[str, object], *, on_device: bool) -> dict[str, Any]:
        with self._in_use():
            return self._slots.finish(self._slots.start(feeds, on_device=on_device))

    @contextmanager
    def _in_use(self) -> Iterator[None]:
        """Around all use of slots, but not while a caller of `run_many` has the turn."""
        with self.lifetime.use(), self._gpu.device:
            yield

    def _started_ahead(self, feeds: Mapping[str, object], others: Collection[Slot]) -> Slot | None:
        """None where there is no memory for one more."""
        with self._in_use():
            try:
                return self._begun(feeds)
            except OutOfMemoryError:
                if not others:
                    raise
                return None

    def _begun(self, feeds: Mapping[str, object]) -> Slot:
        slot = self._slots.start(feeds)
        slot.let_go()  # the source of the feeds goes on, and may write the next batch over this one
        return slot
