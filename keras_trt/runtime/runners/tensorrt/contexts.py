"""The execution contexts of one batch at a time: one per profile, and one for each recorded shape.

A CUDA graph is of one state of its context for good, so a context that was recorded never sees another shape.
What comes once is launched; what comes again is recorded, and the least recently used recording goes when
there are too many.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from keras_trt._base.say import LOGGER
from keras_trt.errors import EngineError, RunnerError
from keras_trt.runtime.runners.runner import ProfileError
from keras_trt.runtime.runners.tensorrt._cuda import Graph
from keras_trt.runtime.runners.tensorrt.gpu_engine import GpuEngine
from keras_trt.runtime.runners.tensorrt.profiles import Shape, Shapes, profile_for

if TYPE_CHECKING:
    from tensorrt import IExecutionContext, IProfiler

SHAPES_REMEMBERED = 8
"""So many shapes are remembered, with their graphs."""


class Bound:
    """A context, and the shapes and addresses that it has been told."""

    def __init__(self, gpu: GpuEngine, profile: int, profiler: IProfiler | None = None) -> None:
        self.context: IExecutionContext = gpu.context(profile, profiler)
        self._shapes: Shapes = ()
        self._addresses: dict[str, int] = {}
        self._allocators: set[str] = set()

    def set_shapes(self, shapes: Shapes) -> None:
        """Tells the shapes of all inputs.

        Raises:
            RunnerError: TensorRT refuses one, or cannot tell the outputs' from them.
        """
        if shapes == self._shapes:
            return
        self._shapes = ()
        for name, shape in shapes:
            if not self.context.set_input_shape(name, shape):
                raise ProfileError(f"TensorRT refused the shape of input `{name}`. Received: {shape}")
        unknown = self.context.infer_shapes()
        if unknown:
            raise RunnerError(
                f"The engine needs shapes or values for {list(unknown)}, which the bundle does not name."
            )
        self._shapes = shapes

    def set_memory(self, addresses: Mapping[str, int], allocators: Mapping[str, object]) -> None:
        """Tells where tensors are, and who gives memory to outputs whose size depends on the data."""
        for name, address in addresses.items():
            if self._addresses.get(name) != address:
                if not self.context.set_tensor_address(name, address):
                    raise RunnerError(f"TensorRT refused the memory of tensor `{name}`.")
                self._addresses[name] = address
        for name in allocators.keys() - self._allocators:
            if not self.context.set_output_allocator(name, allocators[name]):
                raise RunnerError(f"TensorRT refused the memory of output `{name}`.")
            self._allocators.add(name)


@dataclass
class _Known:
    profile: int
    outputs: dict[str, Shape]
    runs: int = 0
    recorded: tuple[Bound, Graph] | None = None

    def forget(self) -> None:
        if self.recorded is not None:
            self.recorded[1].close()
            self.recorded = None


class Contexts:
    """Runs any shape that the engine takes, one after the other.

    Args:
        gpu: The engine.
        outputs: Their names.
        profiler: What is told the time of each layer. Nothing is recorded then, and a run is waited for.
    """

    def __init__(self, gpu: GpuEngine, outputs: tuple[str, ...], profiler: IProfiler | None = None) -> None:
        self._gpu, self._outputs, self._profiler = gpu, outputs, profiler
        self._plain: dict[int, Bound] = {}
        self._known: OrderedDict[Shapes, _Known] = OrderedDict()

    def outputs(self, shapes: Shapes) -> dict[str, Shape]:
        """The outputs' shapes for these inputs; -1 where the size depends on the data.

        Raises:
            RunnerError: The engine does not take these shapes.
        """
        if shapes in self._known:
            self._known.move_to_end(shapes)
        else:
            profile = profile_for(self._gpu.profiles, shapes)
            if profile is None:
                raise ProfileError(
                    f"The engine does not take these shapes. Received: {dict(shapes)}, "
                    f"it takes (smallest, usual, largest): {_ranges(self._gpu)}"
                )
            bound = self._bound(profile)
            bound.set_shapes(shapes)
            outputs = {name: tuple(bound.context.get_tensor_shape(name)) for name in self._outputs}
            self._known[shapes] = _Known(profile, outputs)
            if len(self._known) > SHAPES_REMEMBERED:
                self._known.popitem(last=False)[1].forget()
        return self._known[shapes].outputs

    def launch(
        self, shapes: Shapes, addresses: Mapping[str, int], allocators: Mapping[str, Any], *, record: bool
    ) -> None:
        """Queues one run on the compute stream; `outputs` was asked for these shapes, and the lock is held.

        Args:
            shapes: Of the inputs.
            addresses: Of the inputs and outputs.
            allocators: Of outputs whose size depends on the data.
            record: The addresses are the same each time, until `forget`.
        """
        known = self._known[shapes]
        record = record and self._gpu.records and self._profiler is None
        if record and known.recorded is not None:
            known.recorded[1].launch(self._gpu.compute)
            return
        own = self._own(known) if record and known.runs else None
        bound = self._bound(known.profile) if own is None else own
        bound.set_shapes(shapes)
        bound.set_memory(addresses, allocators)
        self._gpu.enqueue(bound.context, self._gpu.compute)
        known.runs += 1
        if own is not None:
            self._record(known, own)

    def last(self) -> IExecutionContext:
        """The context that was made last, of those that are launched."""
        return [*self._plain.values()][-1].context

    def forget(self) -> None:
        """Drops what was recorded: addresses change."""
        for known in self._known.values():
            known.forget()

    def close(self) -> None:
        """Drops everything."""
        self.forget()
        self._known.clear()
        self._plain.clear()

    def _bound(self, profile: int) -> Bound:
        if profile not in self._plain:
            self._plain[profile] = Bound(self._gpu, profile, self._profiler)
        return self._plain[profile]

    def _own(self, known: _Known) -> Bound | None:
        try:
            return Bound(self._gpu, known.profile)
        except EngineError as e:
            self._stop_recording(e)
            return None

    def _record(self, known: _Known, bound: Bound) -> None:
        """After a first run of that context, in which TensorRT does what cannot be recorded."""
        try:
            known.recorded = bound, Graph(lambda stream: self._gpu.enqueue(bound.context, stream))
        except RunnerError as e:
            self._stop_recording(e)

    def _stop_recording(self, reason: Exception) -> None:
        self._gpu.records = False
        LOGGER.info("The engine runs without CUDA graphs: %s", reason)


def _ranges(gpu: GpuEngine) -> str:
    return " or ".join(str(profile) for profile in gpu.profiles)
