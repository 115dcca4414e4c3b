"""Which NVIDIA GPUs this machine has, asked of the driver itself: no CUDA toolkit, no crash without one."""

from __future__ import annotations

import ctypes
import functools
import sys
from dataclasses import dataclass

_MAJOR, _MINOR = 75, 76  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_*


@dataclass(frozen=True)
class Gpu:
    """One GPU.

    Attributes:
        index: CUDA's ordinal.
        name: e.g. `"NVIDIA L4"`.
        compute_capability: e.g. `"SM89"`.
        memory: Total memory in bytes.
    """

    index: int
    name: str
    compute_capability: str
    memory: int


@functools.cache
def driver() -> ctypes.CDLL | None:
    """The CUDA driver library, initialised; None where there is no driver or no GPU.

    TensorRT can crash the process when it is used without a driver, so every use asks here first.
    """
    try:
        library = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return None
    return library if library.cuInit(0) == 0 else None


@functools.cache
def gpus() -> tuple[Gpu, ...]:
    """The GPUs that the driver shows this process (`CUDA_VISIBLE_DEVICES` respected); empty without one.

    Example:
        >>> [g.compute_capability for g in gpus()]  # doctest: +SKIP
        ['SM89']
    """
    library = driver()
    if library is None:
        return ()
    count = ctypes.c_int()
    if library.cuDeviceGetCount(ctypes.byref(count)) != 0:
        return ()
    return tuple(_describe(library, index) for index in range(count.value))


def _describe(library: ctypes.CDLL, index: int) -> Gpu:
    device, major, minor = ctypes.c_int(), ctypes.c_int(), ctypes.c_int()
    name, memory = ctypes.create_string_buffer(256), ctypes.c_size_t()
    library.cuDeviceGet(ctypes.byref(device), index)
    library.cuDeviceGetName(name, len(name), device)
    library.cuDeviceTotalMem_v2(ctypes.byref(memory), device)
    library.cuDeviceGetAttribute(ctypes.byref(major), _MAJOR, device)
    library.cuDeviceGetAttribute(ctypes.byref(minor), _MINOR, device)
    return Gpu(index, name.value.decode(), f"SM{major.value}{minor.value}", memory.value)
