"""An engine on a GPU, and what all batches on it share: three streams and the memory for activations."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Any

from keras_trt._base.formats import dtype_of
from keras_trt.engine import _trt
from keras_trt.errors import RunnerError
from keras_trt.runtime.runners.tensorrt._cuda import Buffer, Device, Stream
from keras_trt.runtime.runners.tensorrt.profiles import Profile

if TYPE_CHECKING:
    from tensorrt import IExecutionContext, IOutputAllocator, IProfiler


class GpuEngine:
    """A plan in memory.

    Contexts take turns on one compute stream, so one memory for activations serves them all. Copies to and
    from the GPU have a stream each, and run beside the kernels of another batch.

    Attributes:
        device: The GPU.
        copy_in: The stream of copies to the GPU.
        compute: The stream of kernels. Hold `lock` while something is queued there.
        copy_out: The stream of copies to the host.
        dtypes: Of the inputs and outputs, by name.
        profiles: The ranges of shapes that it takes, once they are read.
        records: Whether shapes that come again are recorded as CUDA graphs.
    """

    def __init__(
        self, trt: ModuleType, plan: bytes, device: int, *, cuda_graph: bool, allow_host_code: bool
    ) -> None:
        self._trt, self._cuda_graph = trt, cuda_graph
        self.records = cuda_graph and not _trt.records_graphs_itself(trt)
        self.lock = threading.RLock()
        self._streams: list[Stream] = []
        self._activations: Buffer | None = None
        self._engine: Any = None
        self.profiles: list[Profile] = []
        self.device = Device(device)
        try:
            with self.device:
                self._open(plan, allow_host_code)
        except BaseException:
            self.close()
            raise

    def _open(self, plan: bytes, allow_host_code: bool) -> None:
        for _ in range(3):
            self._streams.append(Stream())
        self.copy_in, self.compute, self.copy_out = self._streams
        self._engine = _trt.deserialize(self._trt, plan, allow_host_code=allow_host_code)
        self.dtypes = {name: dtype_of(dtype) for name, dtype in _trt.tensor_dtypes(self._engine).items()}
        size = _trt.activation_bytes(self._trt, self._engine)
        self._activations = Buffer(size) if size else None

    def read_profiles(self, inputs: Sequence[str]) -> None:
        """Reads the ranges of shapes of these inputs."""
        self.profiles = [*_trt.profiles(self._engine, inputs)]

    def context(self, profile: int, profiler: IProfiler | None = None) -> IExecutionContext:
        """A context for shapes of a profile; one with a profiler records no CUDA graphs.

        Raises:
            EngineError: Usually too little GPU memory is free.
            RunnerError: TensorRT refuses the profile.
        """
        context = _trt.create_context(
            self._trt, self._engine, cuda_graph=self._cuda_graph and profiler is None
        )
        if context.active_optimization_profile != profile:
            with self.lock:
                taken = context.set_optimization_profile_async(profile, self.compute.handle)
            if not taken:
                raise RunnerError(f"TensorRT refused profile {profile} of the engine.")
        if self._activations is not None:
            context.set_device_memory(self._activations.pointer, self._activations.size)
        if profiler is not None:
            context.profiler = profiler
        return context

    def profiler(self, report: _trt.Report) -> IProfiler:
        """See `_trt.layer_profiler`."""
        return _trt.layer_profiler(self._trt)(report)

    def layer_information(self, context: IExecutionContext) -> str:
        """See `_trt.layer_information`."""
        return _trt.layer_information(self._trt, self._engine, context)

    def allocator(self, allocate: _trt.Allocate, notify: _trt.Notify) -> IOutputAllocator:
        """See `_trt.output_allocator`."""
        return _trt.output_allocator(self._trt)(allocate, notify)

    def enqueue(self, context: IExecutionContext, stream: Stream) -> None:
        """Queues one run.

        Raises:
            RunnerError: TensorRT failed; holds what it logged.
        """
        with _trt.captured_log() as messages:
            done = context.execute_async_v3(stream.handle)
        if not done:
            raise RunnerError(f"TensorRT failed to run the engine:{_trt.errors(messages)}")

    def drain(self) -> None:
        """Waits for all that is queued."""
        for stream in self._streams:
            stream.synchronize()

    def close(self) -> None:
        """Frees everything; contexts must be gone."""
        with self.device:
            self._engine = None
            if self._activations is not None:
                self._activations.close()
                self._activations = None
            for stream in self._streams:
                stream.close()
            self._streams = []
        self.device.close()
