"""Arrays on a GPU, from and for PyTorch, CuPy, JAX and TensorFlow, without a copy.

`cuda-core` reads and writes DLPack and `__cuda_array_interface__`.
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_trt._machine import deps
from keras_trt.errors import InputError
from keras_trt.runtime.runners.tensorrt._cuda import Buffer, Device, call

_ON_GPU = (2, 13)  # kDLCUDA, kDLCUDAManaged


class DeviceArray:
    """A C-contiguous array on a GPU.

    `torch.from_dlpack`, `cupy.from_dlpack` and `jax.dlpack.from_dlpack` take it over without a copy;
    `numpy()` copies it to the host.

    Attributes:
        pointer: Its address on the GPU.
        shape: Its shape.
        dtype: NumPy's dtype.
        device: The number of the GPU.
        owner: Keeps the memory.
    """

    def __init__(
        self, pointer: int, shape: Sequence[int], dtype: np.dtype, device: int, owner: object
    ) -> None:
        self.pointer, self.shape, self.dtype = pointer, tuple(shape), dtype
        self.device, self.owner = device, owner

    @property
    def ndim(self) -> int:
        """The number of its axes."""
        return len(self.shape)

    @property
    def nbytes(self) -> int:
        """Its size in bytes."""
        return math.prod(self.shape) * self.dtype.itemsize

    def reshape(self, shape: Sequence[int]) -> DeviceArray:
        """The same elements in another shape."""
        return DeviceArray(self.pointer, shape, self.dtype, self.device, self.owner)

    def __getitem__(self, rows: slice) -> DeviceArray:
        """Rows that lie side by side."""
        start, stop, _ = rows.indices(self.shape[0])
        step = self.nbytes // max(self.shape[0], 1)
        shape = (max(stop - start, 0), *self.shape[1:])
        return DeviceArray(self.pointer + start * step, shape, self.dtype, self.device, self.owner)

    def __len__(self) -> int:
        return self.shape[0]

    def numpy(self) -> np.ndarray:
        """A copy on the host."""
        result = np.empty(self.shape, self.dtype)
        if result.nbytes:
            device = Device(self.device)
            try:
                with device:
                    call("cuMemcpyDtoH", result.ctypes.data, self.pointer, result.nbytes)
            finally:
                device.close()
        return result

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return self.numpy().astype(dtype or self.dtype, copy=False)

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        data = (self.pointer if self.nbytes else 0, False)
        return {"shape": self.shape, "typestr": self.dtype.str, "data": data, "version": 3, "strides": None}

    def __dlpack__(self, **options: object) -> Any:
        core = _core()
        buffer = core.Buffer.from_handle(self.pointer, max(self.nbytes, 1), owner=self)
        view = core.utils.StridedMemoryView.from_buffer(buffer, self.shape, dtype=self.dtype)
        return view.__dlpack__(**options)

    def __dlpack_device__(self) -> tuple[int, int]:
        return _ON_GPU[0], self.device

    def __repr__(self) -> str:
        return f"DeviceArray(shape={self.shape}, dtype={self.dtype}, device={self.device})"


def own_array(buffer: Buffer, shape: Sequence[int], dtype: np.dtype, device: int) -> DeviceArray:
    """An array that frees its memory when nobody holds it any more, also after the engine is closed."""
    made = DeviceArray(buffer.pointer, shape, dtype, device, None)
    made.owner = _Owner(buffer, device)
    return made


class _Owner:
    def __init__(self, buffer: Buffer, device: int) -> None:
        weakref.finalize(self, _free, buffer, Device(device)).atexit = False


def _free(buffer: Buffer, device: Device) -> None:
    with device:
        buffer.close()
    device.close()


def on_gpu(value: object) -> bool:
    """Whether an object of any library is an array on a GPU."""
    if isinstance(value, np.ndarray):
        return False
    if isinstance(value, DeviceArray):
        return True
    where = getattr(value, "__dlpack_device__", None)
    if where is None:
        return hasattr(value, "__cuda_array_interface__")
    return where()[0] in _ON_GPU


def device_array(value: object, device: int, stream: int) -> DeviceArray:
    """Another library's array on a GPU, without a copy.

    Args:
        value: It has `__dlpack__` or `__cuda_array_interface__`.
        device: The GPU that it must be on.
        stream: Waits for what its library has still queued for it.

    Raises:
        InputError: It is on another GPU, not contiguous, or not to be had (it requires gradients).
        MissingDependencyError: `cuda-core` is not installed.
    """
    given = value if isinstance(value, DeviceArray) else _viewed(value, stream)
    if given.device != device:
        raise InputError(
            f"The array is on GPU {given.device}, and the engine on GPU {device}. Received: {_kind(value)}"
        )
    return given


def _viewed(value: object, stream: int) -> DeviceArray:
    try:
        view = _core().utils.StridedMemoryView.from_any_interface(value, stream_ptr=stream)
    except (BufferError, NotImplementedError, RuntimeError, TypeError, ValueError) as e:
        raise InputError(f"The array on the GPU cannot be taken: {e}. Received: {_kind(value)}") from e
    if not _contiguous(view.shape, view.strides):
        raise InputError(
            "An array on the GPU must be C-contiguous; make it so there, e.g. with `x.contiguous()`. "
            f"Received: {_kind(value)} with strides {view.strides}"
        )
    return DeviceArray(view.ptr, view.shape, np.dtype(view.dtype), view.device_id, view)


def _contiguous(shape: Sequence[int], strides: Sequence[int] | None) -> bool:
    step = 1
    for size, stride in zip(reversed(shape), reversed(strides or ()), strict=False):
        if size > 1 and stride != step:
            return False
        step *= size
    return True


def _core() -> Any:
    core = deps.require("cuda.core", install="keras-trt[cuda]", why="arrays on the GPU")
    deps.require("cuda.core.utils", install="keras-trt[cuda]", why="arrays on the GPU")
    return core


def _kind(value: Any) -> str:
    return f"{type(value).__module__}.{type(value).__name__} of shape {tuple(value.shape)}"
