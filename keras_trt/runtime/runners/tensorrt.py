"""Runs a plan on the GPU with TensorRT, its lean runtime, or TensorRT-RTX."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from types import ModuleType

import numpy as np

from keras_trt._formats import dtype_of
from keras_trt._tensors import BATCH_AXIS
from keras_trt.bundle.manifest import Manifest
from keras_trt.engine import _trt
from keras_trt.errors import RunnerError
from keras_trt.runtime.runners._cuda import Buffer, Device, Graph, Stream
from keras_trt.runtime.runners.lifetime import check_process
from keras_trt.runtime.runners.runner import ProfileError, Runner

Shapes = tuple[tuple[str, tuple[int, ...]], ...]


@dataclass(frozen=True)
class TensorRTOptions:
    """How an engine is run.

    Attributes:
        cuda_graph: Record the launches of each new input shape once and replay them: less latency for small
            batches, some memory per shape.
        allow_host_code: Let a version-compatible plan run the code it carries. Only for plans you trust.
        device: The number of the GPU, as CUDA counts them.
    """

    cuda_graph: bool = False
    allow_host_code: bool = False
    device: int = 0


class TensorRTRunner(Runner):
    """A plan on the GPU. Device memory is kept between calls and grows with the largest batch seen."""

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
            MissingDependencyError: `module` is not installed.
            EngineError: TensorRT cannot load the plan here.
            RunnerError: No GPU, or the plan is of another model.
        """
        super().__init__(manifest)
        trt = _trt.load(module, why=f"runner={module!r}")
        check_process(module)
        self.name = module
        self._device = Device(options.device)
        self._lock = threading.Lock()  # one context, one set of buffers
        self._buffers: dict[str, Buffer] = {}
        self._graphs: dict[Shapes, Graph] = {}
        self._shapes: Shapes = ()
        with self._device:
            self._stream = Stream()
        self._closed = False
        try:
            self._open(trt, plan, options)
            self._check_names(manifest)
        except BaseException:
            self.close()
            raise
        open_ = [spec.name for spec in manifest.inputs if spec.shape[:1] == (BATCH_AXIS,)]
        limits = _trt.batch_limits(self._engine, (open_ or [manifest.inputs[0].name])[0])
        self.batch_range = limits if limits is not None else self.batch_range

    def _open(self, trt: ModuleType, plan: bytes, options: TensorRTOptions) -> None:
        with self._device:
            self._engine = _trt.deserialize(trt, plan, allow_host_code=options.allow_host_code)
            self._context = _trt.create_context(trt, self._engine, cuda_graph=options.cuda_graph)
        self._record = options.cuda_graph and not _trt.records_graphs_itself(trt)
        self._dtypes = {name: dtype_of(dtype) for name, dtype in _trt.tensor_dtypes(self._engine).items()}

    def _check_names(self, manifest: Manifest) -> None:
        wanted = {spec.name for spec in (*manifest.inputs, *manifest.outputs)}
        if wanted != set(self._dtypes):
            raise RunnerError(
                "The plan is not of this model: its tensors differ from the manifest's. "
                f"Received: {sorted(self._dtypes)}, expected: {sorted(wanted)}"
            )

    def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:  # noqa: D102
        with self.lifetime.use(), self._lock, self._device:
            shapes = tuple((spec.name, feeds[spec.name].shape) for spec in self.inputs)
            arrays = {n: np.ascontiguousarray(feeds[n], dtype=self._dtypes[n]) for n, _ in shapes}
            if shapes != self._shapes:
                self._set_shapes(shapes)
            results = {s.name: np.empty(self._shape(s.name), self._dtypes[s.name]) for s in self.outputs}
            self._place({**arrays, **results})
            try:
                for name, array in arrays.items():
                    self._buffers[name].fill(array, self._stream)
                self._execute(shapes)
                for name, array in results.items():
                    self._buffers[name].read(array, self._stream)
            finally:  # queued copies use the arrays, which must live until then, also after an error
                self._stream.synchronize()
            return results

    def _set_shapes(self, shapes: Shapes) -> None:
        self._shapes = ()
        for name, shape in shapes:
            if not self._context.set_input_shape(name, shape):
                raise ProfileError(
                    f"TensorRT refused the shape of input `{name}`. Received: {shape}, "
                    f"the engine takes (min, opt, max): {_trt.profile_shapes(self._engine, name)}"
                )
        unknown = self._context.infer_shapes()
        if unknown:
            raise RunnerError(
                f"The engine needs shapes or values for {list(unknown)}, which the bundle does not name."
            )
        self._shapes = shapes

    def _shape(self, name: str) -> tuple[int, ...]:
        shape = tuple(self._context.get_tensor_shape(name))
        if min(shape, default=0) < 0:
            raise RunnerError(
                f"Output `{name}` has a size that depends on the data: {shape}. Use runner='openvino'."
            )
        return shape

    def _place(self, arrays: dict[str, np.ndarray]) -> None:
        """Sees that every tensor has device memory large enough, and that the engine knows where."""
        for name, array in arrays.items():
            size = max(array.nbytes, 1)
            buffer = self._buffers.get(name)
            if buffer is not None and buffer.size >= size:
                continue
            if buffer is not None:
                self._forget_graphs()  # they hold the old address
                del self._buffers[name]  # before the new one, which may be refused
                buffer.close()
            buffer = Buffer(size)
            if not self._context.set_tensor_address(name, buffer.pointer.value):
                buffer.close()
                raise RunnerError(f"TensorRT refused the memory of tensor `{name}`.")
            self._buffers[name] = buffer

    def _execute(self, shapes: Shapes) -> None:
        if shapes in self._graphs:
            self._graphs[shapes].launch(self._stream)
            return
        self._enqueue()  # also the warm-up that a recording needs: the first run of a shape may allocate
        if self._record:
            self._stream.synchronize()
            self._graphs[shapes] = Graph(self._stream, self._enqueue)

    def _enqueue(self) -> None:
        with _trt.captured_log() as messages:
            done = self._context.execute_async_v3(self._stream.handle.value)
        if not done:
            raise RunnerError(f"TensorRT failed to run the engine:{_trt.errors(messages)}")

    def _forget_graphs(self) -> None:
        for graph in self._graphs.values():
            graph.close()
        self._graphs.clear()

    def close(self) -> None:
        """Frees the engine's memory on the GPU."""
        if not self.lifetime.end():
            return
        with self._lock:
            if self._closed:
                return
            with self._device:
                self._stream.synchronize()
                self._forget_graphs()
                self._context = self._engine = None
                for buffer in self._buffers.values():
                    buffer.close()
                self._buffers.clear()
                self._stream.close()
            self._closed = True
            self._device.close()
