"""An output whose size depends on the data, such as boxes found: TensorRT asks for memory while it runs."""

from __future__ import annotations

from keras_trt.errors import RunnerError
from keras_trt.runtime.runners.tensorrt._cuda import Buffer
from keras_trt.runtime.runners.tensorrt.gpu_engine import GpuEngine
from keras_trt.runtime.runners.tensorrt.profiles import Shape


class OpenOutput:
    """The memory of one such output, kept from run to run.

    Attributes:
        allocator: What TensorRT asks.
        refused: Why it got no memory in this run.
    """

    def __init__(self, name: str, gpu: GpuEngine) -> None:
        self._name = name
        self._buffer: Buffer | None = None
        self._shape: Shape | None = None
        self.refused: RunnerError | None = None
        self.allocator = gpu.allocator(self._allocate, self._notify)

    def begin(self) -> None:
        """Forgets the run before."""
        self.refused = self._shape = None

    def result(self) -> tuple[Shape, Buffer]:
        """The shape, and the memory that holds it at least.

        Raises:
            RunnerError: TensorRT asked for no memory, or told no shape.
        """
        if self._buffer is None or self._shape is None:
            raise RunnerError(f"TensorRT told no shape of output `{self._name}`.")
        return self._shape, self._buffer

    def give(self) -> Buffer:
        """The memory, for the caller to keep; the next run gets other memory."""
        buffer = self.result()[1]
        self._buffer = None
        return buffer

    def close(self) -> None:
        """Frees the memory."""
        if self._buffer is not None:
            self._buffer.close()
            self._buffer = None

    def _allocate(self, size: int) -> int:
        """Called by TensorRT, which takes no exception: 0 says that there is no memory."""
        try:
            if self._buffer is None or self._buffer.size < size:
                self.close()
                self._buffer = Buffer(max(size, 1))
        except RunnerError as e:
            self.refused = e
            return 0
        return self._buffer.pointer

    def _notify(self, shape: Shape) -> None:
        self._shape = shape
