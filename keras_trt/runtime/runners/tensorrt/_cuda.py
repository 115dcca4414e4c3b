"""What running an engine takes of CUDA: memory, streams, events, graphs. Calls go through `cuda-bindings`."""

from __future__ import annotations

import ctypes
import functools
import math
from collections.abc import Callable
from types import ModuleType, TracebackType
from typing import Any

import numpy as np

from keras_trt._base.say import LOGGER
from keras_trt._machine import deps
from keras_trt.engine.machine.gpu import driver
from keras_trt.errors import RunnerError

_NON_BLOCKING = 1  # CU_STREAM_NON_BLOCKING: TensorRT synchronises the whole device on the default stream
_NO_TIMING = 2  # CU_EVENT_DISABLE_TIMING: such events cost less
_PORTABLE = 1  # CU_MEMHOSTALLOC_PORTABLE: pinned for every GPU


_OUT_OF_MEMORY = 2  # CUDA_ERROR_OUT_OF_MEMORY


class OutOfMemoryError(RunnerError):
    """The GPU, or the host for pinned memory, has no more."""


@functools.cache
def bindings() -> ModuleType:
    """NVIDIA's bindings of the CUDA driver.

    Raises:
        MissingDependencyError: They are not installed.
        RunnerError: There is no driver.
    """
    if driver() is None:
        raise RunnerError("No NVIDIA driver or no GPU was found. Use runner='openvino' on this machine.")
    return deps.require("cuda.bindings.driver", install="keras-trt[cuda]", why="engines on a GPU")


def call(name: str, *arguments: object) -> Any:
    """Calls a driver function and returns its result.

    Raises:
        RunnerError: There is no driver, or the function failed; names both the call and CUDA's error.
        OutOfMemoryError: It asked for memory that is not there.
    """
    code, *results = getattr(bindings(), name)(*arguments)
    if code:
        kind = OutOfMemoryError if int(code) == _OUT_OF_MEMORY else RunnerError
        raise kind(f"CUDA call {name} failed: {code.name} ({int(code)})")
    return results[0] if results else None


def give_back(name: str, handle: object) -> None:
    """Calls a driver function that frees something.

    After a kernel that has failed CUDA answers each call with that failure, and has freed all; whoever closes
    an engine then must get to the end.
    """
    try:
        call(name, handle)
    except RunnerError as e:
        LOGGER.debug("%s", e)


class Device:
    """The primary context of a GPU, which TensorRT and TensorFlow use too; current inside a `with`."""

    def __init__(self, index: int = 0) -> None:
        self.index = index
        self._device = call("cuDeviceGet", index)
        self._context = call("cuDevicePrimaryCtxRetain", self._device)

    def __enter__(self) -> Device:
        call("cuCtxPushCurrent", self._context)
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        call("cuCtxPopCurrent")

    def close(self) -> None:
        """Gives the context back; the last user's release destroys it."""
        give_back("cuDevicePrimaryCtxRelease", self._device)


class Stream:
    """A queue of work on the current GPU."""

    def __init__(self) -> None:
        self._stream = call("cuStreamCreate", _NON_BLOCKING)
        self.handle = int(self._stream)

    def follow(self, other: Stream, event: Event) -> None:
        """Holds what is queued from now on until all that `other` has queued is done; `event` marks that."""
        if other is not self:
            event.record(other)
            call("cuStreamWaitEvent", self._stream, event.handle, 0)

    def synchronize(self) -> None:
        """Waits for the queue to run empty."""
        call("cuStreamSynchronize", self._stream)

    def close(self) -> None:
        """Destroys the stream."""
        give_back("cuStreamDestroy", self._stream)


class Event:
    """A point in a stream. One that was never recorded counts as passed."""

    def __init__(self) -> None:
        self.handle = call("cuEventCreate", _NO_TIMING)

    def record(self, stream: Stream) -> None:
        """Moves it behind all that the stream has queued."""
        call("cuEventRecord", self.handle, stream.handle)

    def synchronize(self) -> None:
        """Waits until the stream is there."""
        call("cuEventSynchronize", self.handle)

    def close(self) -> None:
        """Destroys the event."""
        give_back("cuEventDestroy", self.handle)


class Buffer:
    """Memory on the current GPU, of `size` bytes from `pointer`."""

    def __init__(self, size: int) -> None:
        self.pointer, self.size = int(call("cuMemAlloc", size)), size

    def close(self) -> None:
        """Frees the memory."""
        give_back("cuMemFree", self.pointer)


class Pinned:
    """Memory of the host that the GPU copies by itself: twice as fast as other memory, and beside kernels."""

    def __init__(self, size: int) -> None:
        self.pointer, self.size = int(call("cuMemHostAlloc", size, _PORTABLE)), size
        self._bytes = np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(self.pointer))

    def array(self, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        """The first bytes as an array, not a copy; must not be used after `close`."""
        size = math.prod(shape) * dtype.itemsize
        return self._bytes[:size].view(dtype).reshape(shape)

    def close(self) -> None:
        """Frees the memory."""
        give_back("cuMemFreeHost", self.pointer)


def to_device(target: int, source: int, size: int, stream: Stream) -> None:
    """Queues a copy from the host, whose memory must stay as it is until then."""
    if size:
        call("cuMemcpyHtoDAsync", target, source, size, stream.handle)


def to_host(target: int, source: int, size: int, stream: Stream) -> None:
    """Queues a copy to the host."""
    if size:
        call("cuMemcpyDtoHAsync", target, source, size, stream.handle)


class Graph:
    """Work recorded once, launched many times for the price of one launch."""

    def __init__(self, work: Callable[[Stream], None]) -> None:
        """Records what `work` queues on the stream that it is given; nothing runs meanwhile.

        Raises:
            RunnerError: The work cannot be recorded.
        """
        stream = Stream()
        try:
            # Other threads may allocate meanwhile.
            mode = bindings().CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL
            call("cuStreamBeginCapture", stream.handle, mode)
            try:
                work(stream)
            finally:
                graph = call("cuStreamEndCapture", stream.handle)
            try:
                self._exec = call("cuGraphInstantiate", graph, 0)
            finally:
                call("cuGraphDestroy", graph)
        finally:
            stream.close()

    def launch(self, stream: Stream) -> None:
        """Queues the recorded work."""
        call("cuGraphLaunch", self._exec, stream.handle)

    def close(self) -> None:
        """Destroys the recording."""
        give_back("cuGraphExecDestroy", self._exec)
