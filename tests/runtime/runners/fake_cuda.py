"""A CUDA driver without a GPU, in the form of `cuda.bindings.driver`.

Streams are lazy: nothing runs before somebody waits for it, in the order that events allow. Freed memory is
overwritten. So memory that is used too early, too late or by two batches at once gives wrong numbers here.
"""

import ctypes
import threading
from collections import defaultdict, deque
from enum import IntEnum
from itertools import count

import numpy as np

POISON = 0xEE


class Result(IntEnum):
    CUDA_SUCCESS = 0
    CUDA_ERROR_OUT_OF_MEMORY = 2
    CUDA_ERROR_STREAM_CAPTURE_INVALIDATED = 901


class FakeCuda:
    """The functions of the driver that the runner calls; `limit` bytes on the GPU."""

    class CUstreamCaptureMode(IntEnum):
        CU_STREAM_CAPTURE_MODE_THREAD_LOCAL = 1

    def __init__(self, limit=1 << 26):
        self.limit, self.used, self.pinned, self.launched = limit, 0, 0, 0
        self.handles = count(1)
        self.lock = threading.RLock()
        self.streams = defaultdict(deque)
        self.events = {}  # handle: [recorded, passed, stream]
        self.memory = {}
        self.graveyard = []
        self.graphs = {}
        self.capturing = {}
        self.stack = threading.local()
        self.retained = 0
        self.refuse_capture = False

    def cuDeviceGet(self, index):
        return Result(0), index

    def cuDevicePrimaryCtxRetain(self, device):
        self.retained += 1
        return Result(0), device

    def cuDevicePrimaryCtxRelease(self, device):
        self.retained -= 1
        return (Result(0),)

    def cuCtxPushCurrent(self, context):
        self.stack.all = [*getattr(self.stack, "all", []), context]
        return (Result(0),)

    def cuCtxPopCurrent(self):
        return Result(0), self.stack.all.pop()

    def _made(self, size):
        block = (ctypes.c_ubyte * size)(*[POISON] * min(size, 64))
        self.memory[ctypes.addressof(block)] = block
        return Result(0), ctypes.addressof(block)

    def _freed(self, pointer):
        self._drain_all()
        block = self.memory.pop(int(pointer))
        ctypes.memset(block, POISON, len(block))
        self.graveyard.append(block)
        return len(block)

    def cuMemAlloc(self, size):
        with self.lock:
            assert self.stack.all, "no current context"
            if self.used + size > self.limit:
                return Result.CUDA_ERROR_OUT_OF_MEMORY, 0
            self.used += size
            return self._made(size)

    def cuMemFree(self, pointer):
        with self.lock:
            self.used -= self._freed(pointer)
        return (Result(0),)

    def cuMemHostAlloc(self, size, flags):
        with self.lock:
            self.pinned += size
            return self._made(size)

    def cuMemFreeHost(self, pointer):
        with self.lock:
            self.pinned -= self._freed(pointer)
        return (Result(0),)

    def cuStreamCreate(self, flags):
        return Result(0), next(self.handles)

    def cuStreamDestroy(self, stream):
        with self.lock:
            self._drain(stream)
            del self.streams[stream]
        return (Result(0),)

    def cuEventCreate(self, flags):
        handle = next(self.handles)
        self.events[handle] = [0, 0, None]
        return Result(0), handle

    def cuEventDestroy(self, event):
        del self.events[event]
        return (Result(0),)

    def cuEventRecord(self, event, stream):
        with self.lock:
            held = self.events[event]
            held[0], held[2] = held[0] + 1, stream
            self._queue(stream, lambda number=held[0]: held.__setitem__(1, number))
        return (Result(0),)

    def cuStreamWaitEvent(self, stream, event, flags):
        with self.lock:
            held = self.events[event]
            self._queue(stream, lambda number=held[0]: self._until(held, number))
        return (Result(0),)

    def cuEventSynchronize(self, event):
        with self.lock:
            self._until(self.events[event], self.events[event][0])
        return (Result(0),)

    def cuStreamSynchronize(self, stream):
        with self.lock:
            self._drain(stream)
        return (Result(0),)

    def cuMemcpyHtoDAsync(self, target, source, size, stream):
        with self.lock:
            self._queue(stream, lambda: ctypes.memmove(int(target), int(source), size))
        return (Result(0),)

    cuMemcpyDtoHAsync = cuMemcpyHtoDAsync

    def cuMemcpyDtoH(self, target, source, size):
        ctypes.memmove(int(target), int(source), size)
        return (Result(0),)

    cuMemcpyHtoD = cuMemcpyDtoH

    def cuStreamBeginCapture(self, stream, mode):
        with self.lock:
            self.capturing[stream] = []
        return (Result(0),)

    def cuStreamEndCapture(self, stream):
        with self.lock:
            work = self.capturing.pop(stream)
            if self.refuse_capture:
                return Result.CUDA_ERROR_STREAM_CAPTURE_INVALIDATED, 0
            graph = next(self.handles)
            self.graphs[graph] = work
        return Result(0), graph

    def cuGraphInstantiate(self, graph, flags):
        return self.cuStreamCreate(0)[0], self._copied(graph)

    def _copied(self, graph):
        handle = next(self.handles)
        self.graphs[handle] = self.graphs[graph]
        return handle

    def cuGraphDestroy(self, graph):
        del self.graphs[graph]
        return (Result(0),)

    cuGraphExecDestroy = cuGraphDestroy

    def cuGraphLaunch(self, graph, stream):
        with self.lock:
            for work in self.graphs[graph]:
                self._queue(stream, work)
        return (Result(0),)

    def cuModuleLoadData(self, image):
        return Result(0), image

    def cuModuleGetFunction(self, module, name):
        assert name == b"add"
        return Result(0), add

    def cuLaunchKernel(self, function, *arguments):
        _, _, _, _, _, _, _, stream, (values, _), _ = arguments
        with self.lock:
            self.launched += 1
            self._queue(stream, lambda: function(*values))
        return (Result(0),)

    def _queue(self, stream, work):
        self.capturing.get(stream, self.streams[stream]).append(work)

    def _drain(self, stream):
        while self.streams[stream]:
            self.streams[stream].popleft()()

    def _drain_all(self):
        for stream in list(self.streams):
            self._drain(stream)

    def _until(self, held, number):
        while held[1] < number:
            self.streams[held[2]].popleft()()


def add(a, b, y, n, spin):
    """y = a + b."""
    arrays = [np.ctypeslib.as_array((ctypes.c_float * n).from_address(int(p))) for p in (a, b, y)]
    arrays[2][...] = arrays[0] + arrays[1]
