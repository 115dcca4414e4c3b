"""One batch on its way through the GPU: copied there, computed, copied back, while others are elsewhere."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_trt.errors import RunnerError
from keras_trt.runtime.runners.tensorrt._cuda import Buffer, Event, Pinned, Stream, to_device, to_host
from keras_trt.runtime.runners.tensorrt.contexts import Contexts
from keras_trt.runtime.runners.tensorrt.device_array import DeviceArray, own_array
from keras_trt.runtime.runners.tensorrt.gpu_engine import GpuEngine
from keras_trt.runtime.runners.tensorrt.host_copy import copy_into
from keras_trt.runtime.runners.tensorrt.open_output import OpenOutput
from keras_trt.runtime.runners.tensorrt.profiles import Shape

if TYPE_CHECKING:
    from tensorrt import IProfiler

Feed = np.ndarray | DeviceArray
_SMALL = 1 << 16


class Slot:
    """What a batch needs of its own: pinned and device memory, kept for the next one, contexts and events.

    Attributes:
        contexts: Its execution contexts.
    """

    def __init__(
        self,
        gpu: GpuEngine,
        inputs: tuple[str, ...],
        outputs: tuple[str, ...],
        profiler: IProfiler | None = None,
    ) -> None:
        self._gpu, self._inputs = gpu, inputs
        self.contexts = Contexts(gpu, outputs, profiler)
        self._device: dict[str, Buffer] = {}
        self._host: dict[str, Pinned] = {}
        self._open: dict[str, OpenOutput] = {}
        self._shapes: dict[str, Shape] = {}
        self._own: dict[str, DeviceArray] = {}
        self._feeds: Mapping[str, Feed] = {}
        self._arrived, self._computed, self._done = Event(), Event(), Event()

    def start(self, feeds: Mapping[str, Feed], *, on_device: bool = False) -> None:
        """Queues a batch. Feeds on the host may be changed afterwards, those on the GPU after `let_go`.

        Args:
            feeds: One C-contiguous array per input.
            on_device: Leave the results on the GPU, in memory of their own.

        Raises:
            RunnerError: The engine failed, or memory was refused; the slot can be started again.
        """
        try:
            self._start(feeds, on_device)
        except BaseException:
            self.drain()
            raise

    def _start(self, feeds: Mapping[str, Feed], on_device: bool) -> None:
        gpu = self._gpu
        shapes = tuple((name, tuple(feeds[name].shape)) for name in self._inputs)
        self._shapes, self._feeds = dict(self.contexts.outputs(shapes)), feeds
        open_ = {
            name: self._opened(name) for name, shape in self._shapes.items() if min(shape, default=0) < 0
        }
        given = {name: feed.pointer for name, feed in feeds.items() if isinstance(feed, DeviceArray)}
        staged = {n: self._stage(n, feed) for n, feed in feeds.items() if not isinstance(feed, DeviceArray)}
        addresses = {**given, **{name: self._device[name].pointer for name in staged}}
        addresses |= self._placed({n: s for n, s in self._shapes.items() if n not in open_}, on_device)
        into, out = self._copy_streams(staged)
        for name, size in staged.items():
            to_device(self._device[name].pointer, self._host[name].pointer, size, into)
        allocators = {name: output.allocator for name, output in open_.items()}
        with gpu.lock:
            gpu.compute.follow(into, self._arrived)
            self._launch(shapes, addresses, allocators, record=not (given or on_device or open_))
            out.follow(gpu.compute, self._computed)
        if open_:
            out.synchronize()  # the shapes are known then
            self._shapes |= {name: self._settled(name, on_device) for name in open_}
        if not on_device:
            self._fetch(out)
        self._done.record(out)

    def let_go(self) -> None:
        """Waits until feeds on the GPU, which were not copied, may be changed."""
        if any(isinstance(feed, DeviceArray) for feed in self._feeds.values()):
            self._done.synchronize()

    def finish(self) -> dict[str, Any]:
        """Waits for the batch.

        Returns:
            Its results, owned by the caller: NumPy arrays, or arrays on the GPU where `start` was told so.

        Raises:
            RunnerError: CUDA failed meanwhile.
        """
        self._done.synchronize()
        self._feeds = {}
        if self._own:
            own, self._own = self._own, {}
            return {name: own[name] for name in self._shapes}
        dtypes = self._gpu.dtypes
        results = {name: np.empty(shape, dtypes[name]) for name, shape in self._shapes.items()}
        for name, result in results.items():
            copy_into(result, self._host[name].array(result.shape, result.dtype))
        return results

    def drain(self) -> None:
        """Waits until nothing touches the memory of this slot any more."""
        self._gpu.drain()
        self._feeds, self._own = {}, {}

    def close(self) -> None:
        """Frees everything; nothing may be under way."""
        self.contexts.close()
        for output in self._open.values():
            output.close()
        for buffer in self._device.values():
            buffer.close()
        for pinned in self._host.values():
            pinned.close()
        for event in (self._arrived, self._computed, self._done):
            event.close()

    def _launch(self, shapes: Any, addresses: Any, allocators: Any, *, record: bool) -> None:
        try:
            self.contexts.launch(shapes, addresses, allocators, record=record)
        except RunnerError:
            refused = [output.refused for output in self._open.values() if output.refused is not None]
            if refused:
                raise refused[0] from None
            raise

    def _stage(self, name: str, array: np.ndarray) -> int:
        """Writes an input into pinned memory, and sees that there is memory on the GPU for it."""
        dtype = self._gpu.dtypes[name]
        size: int = math.prod(array.shape) * dtype.itemsize
        self._reserve(name, size)
        self._reserve_host(name, size)
        copy_into(self._host[name].array(array.shape, dtype), array)
        return size

    def _placed(self, shapes: Mapping[str, Shape], on_device: bool) -> dict[str, int]:
        """The addresses of outputs of known size."""
        dtypes, addresses = self._gpu.dtypes, {}
        for name, shape in shapes.items():
            size = math.prod(shape) * dtypes[name].itemsize
            if on_device:
                device = self._gpu.device.index
                self._own[name] = own_array(Buffer(max(size, 1)), shape, dtypes[name], device)
                addresses[name] = self._own[name].pointer
            else:
                self._reserve(name, size)
                self._reserve_host(name, size)
                addresses[name] = self._device[name].pointer
        return addresses

    def _reserve(self, name: str, size: int) -> None:
        held = self._device.get(name)
        if held is not None and held.size >= size:
            return
        if held is not None:
            self.contexts.forget()  # what was recorded has the old address
            self._device.pop(name).close()  # before the new one, which may be refused
        self._device[name] = Buffer(max(size, 1))

    def _reserve_host(self, name: str, size: int) -> None:
        held = self._host.get(name)
        if held is not None and held.size >= size:
            return
        if held is not None:
            self._host.pop(name).close()
        self._host[name] = Pinned(max(size, 1))

    def _opened(self, name: str) -> OpenOutput:
        if name not in self._open:
            self._open[name] = OpenOutput(name, self._gpu)
        self._open[name].begin()
        return self._open[name]

    def _settled(self, name: str, on_device: bool) -> Shape:
        """The shape that an output of open size has got; its memory is where `_fetch` looks for it."""
        output, dtype = self._open[name], self._gpu.dtypes[name]
        shape = output.result()[0]
        if on_device:
            self._own[name] = own_array(output.give(), shape, dtype, self._gpu.device.index)
        else:
            self._reserve_host(name, math.prod(shape) * dtype.itemsize)
        return shape

    def _copy_streams(self, staged: Mapping[str, int]) -> tuple[Stream, Stream]:
        """Where copies are queued: small ones take less time than the step from one stream to another."""
        sizes = [*staged.values(), *(host.size for host in self._host.values())]
        gpu = self._gpu
        return (gpu.compute, gpu.compute) if max(sizes, default=0) <= _SMALL else (gpu.copy_in, gpu.copy_out)

    def _fetch(self, stream: Stream) -> None:
        for name, shape in self._shapes.items():
            size = math.prod(shape) * self._gpu.dtypes[name].itemsize
            memory = self._open[name].result()[1] if name in self._open else self._device[name]
            to_host(self._host[name].pointer, memory.pointer, size, stream)
