"""The few calls of the CUDA driver that running an engine takes. The driver is there wherever a GPU works."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from types import TracebackType

import numpy as np

from keras_trt.engine.gpu import driver
from keras_trt.errors import RunnerError

_NON_BLOCKING = 1  # CU_STREAM_NON_BLOCKING: TensorRT synchronises the whole device on the default stream
_CAPTURE_THREAD_LOCAL = 1  # CU_STREAM_CAPTURE_MODE_THREAD_LOCAL: other threads may allocate meanwhile


def call(name: str, *arguments: object) -> None:
    """Calls a driver function.

    Raises:
        RunnerError: There is no driver, or the function failed; names both the call and CUDA's error.
    """
    library = driver()
    if library is None:
        raise RunnerError("No NVIDIA driver or no GPU was found. Use runner='openvino' on this machine.")
    code = getattr(library, name)(*arguments)
    if code:
        text = ctypes.c_char_p()
        library.cuGetErrorName(code, ctypes.byref(text))
        raise RunnerError(f"CUDA call {name} failed: {(text.value or b'unknown error').decode()} ({code})")


class Device:
    """The primary context of a GPU, which TensorRT and TensorFlow use too; current inside a `with`."""

    def __init__(self, index: int = 0) -> None:
        call("cuDeviceGet", ctypes.byref(device := ctypes.c_int()), index)
        self._device = device
        call("cuDevicePrimaryCtxRetain", ctypes.byref(context := ctypes.c_void_p()), device)
        self._context = context

    def __enter__(self) -> Device:
        call("cuCtxPushCurrent_v2", self._context)
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        call("cuCtxPopCurrent_v2", ctypes.byref(ctypes.c_void_p()))

    def close(self) -> None:
        """Gives the context back; the last user's release destroys it."""
        call("cuDevicePrimaryCtxRelease_v2", self._device)


class Stream:
    """A queue of work on the current GPU."""

    def __init__(self) -> None:
        call("cuStreamCreate", ctypes.byref(handle := ctypes.c_void_p()), _NON_BLOCKING)
        self.handle = handle

    def synchronize(self) -> None:
        """Waits for the queue to run empty."""
        call("cuStreamSynchronize", self.handle)

    def close(self) -> None:
        """Destroys the stream."""
        call("cuStreamDestroy_v2", self.handle)


class Buffer:
    """Memory on the current GPU."""

    def __init__(self, size: int) -> None:
        call("cuMemAlloc_v2", ctypes.byref(pointer := ctypes.c_uint64()), ctypes.c_size_t(size))
        self.pointer, self.size = pointer, size

    def fill(self, array: np.ndarray, stream: Stream) -> None:
        """Queues a copy from a contiguous host array, which must live until the stream is synchronised."""
        source = ctypes.c_void_p(array.ctypes.data)
        call("cuMemcpyHtoDAsync_v2", self.pointer, source, ctypes.c_size_t(array.nbytes), stream.handle)

    def read(self, array: np.ndarray, stream: Stream) -> None:
        """Queues a copy into a contiguous host array."""
        target = ctypes.c_void_p(array.ctypes.data)
        call("cuMemcpyDtoHAsync_v2", target, self.pointer, ctypes.c_size_t(array.nbytes), stream.handle)

    def close(self) -> None:
        """Frees the memory."""
        call("cuMemFree_v2", self.pointer)


class Graph:
    """Work recorded once, launched many times for the price of one launch."""

    def __init__(self, stream: Stream, work: Callable[[], None]) -> None:
        graph, self._exec = ctypes.c_void_p(), ctypes.c_void_p()
        call("cuStreamBeginCapture_v2", stream.handle, _CAPTURE_THREAD_LOCAL)
        try:
            work()
        finally:
            call("cuStreamEndCapture", stream.handle, ctypes.byref(graph))
        call("cuGraphInstantiateWithFlags", ctypes.byref(self._exec), graph, ctypes.c_ulonglong(0))
        call("cuGraphDestroy", graph)

    def launch(self, stream: Stream) -> None:
        """Queues the recorded work."""
        call("cuGraphLaunch", self._exec, stream.handle)

    def close(self) -> None:
        """Destroys the recording."""
        call("cuGraphExecDestroy", self._exec)
