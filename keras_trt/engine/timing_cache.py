"""Kernel times measured by earlier builds: a file per GPU and version, merged where builds overlap."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from keras_trt._machine.lock import locked
from keras_trt._machine.swap import replaced_file
from keras_trt.engine.machine.gpu import Gpu

if TYPE_CHECKING:
    from tensorrt import IBuilderConfig


def timing_file(folder: Path, kind: str, version: str, gpu: Gpu) -> Path:
    """Where the times of a GPU and a version lie: TensorRT takes no others.

    Example:
        >>> timing_file(Path("times"), "tensorrt", "11.4.0", Gpu(0, "NVIDIA L4", "SM89", 1)).name
        'tensorrt-11.4.0-SM89-NVIDIA-L4.timing'
    """
    name = re.sub(r"[^A-Za-z0-9]+", "-", gpu.name).strip("-")
    return folder / f"{kind}-{version}-{gpu.compute_capability}-{name}.timing"


def load_timing_cache(config: IBuilderConfig, path: Path | None) -> None:
    """Starts from the times of earlier builds; what TensorRT does not take is put aside."""
    if path is None:
        return
    data = path.read_bytes() if path.is_file() else b""
    cache = config.create_timing_cache(data)
    if cache is None or not config.set_timing_cache(cache, False):
        config.set_timing_cache(config.create_timing_cache(b""), False)


def save_timing_cache(config: IBuilderConfig, path: Path | None) -> None:
    """Writes the times measured so far with what other builds have added meanwhile, in one step."""
    cache = config.get_timing_cache() if path is not None else None
    if path is None or cache is None:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with locked(path.with_name(f".{path.name}.lock")):
        other = config.create_timing_cache(path.read_bytes()) if path.is_file() else None
        if other is not None:
            cache.combine(other, False)  # False where it is of another GPU: then ours replace it
        with replaced_file(path) as beside:
            beside.write_bytes(bytes(memoryview(cache.serialize())))
