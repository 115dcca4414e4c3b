"""How the weights of a bundle are spread, read off its file where they lie, without the `onnx` package."""

from __future__ import annotations

import math
import mmap
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from keras_trt._base.formats import ELEMENT_TYPES, dtype_of
from keras_trt._machine.protobuf import Span, fields
from keras_trt.bundle.read import Bundle
from keras_trt.errors import BundleError

BINS = 41  # odd: zeros have a bin of their own
_SAMPLE = 2**18
_GRAPH, _INITIALIZER = 7, 5  # of a Model, of a Graph; onnx.proto3
_TYPE, _NAME, _RAW, _EXTERNAL = 2, 8, 9, 13  # of a Tensor
_INT4 = 22


@dataclass(frozen=True)
class Histogram:
    """The values of one stored weight.

    Attributes:
        name: The constant's.
        dtype: In which it is stored, e.g. `"int8"`, whose integers are counted.
        size: How many values it has.
        limit: The bins reach from minus this to this.
        counts: How many of the values that were looked at lie in each bin.
        zeros: The share of exact zeros among them, 0.0 to 1.0.
    """

    name: str
    dtype: str
    size: int
    limit: float
    counts: tuple[int, ...]
    zeros: float

    @property
    def heights(self) -> tuple[int, ...]:
        """The counts, to draw: the bin of zeros, which would flatten all else, is no higher than the next."""
        middle = len(self.counts) // 2
        others = max((*self.counts[:middle], *self.counts[middle + 1 :]), default=0)
        return tuple(min(n, others or n) if i == middle else n for i, n in enumerate(self.counts))


def histograms(bundle: Bundle, names: set[str]) -> dict[str, Histogram]:
    """The histogram of each named weight that is stored as plain numbers, by name.

    Of large weights some values, spread over it, are looked at.

    Raises:
        BundleError: The graph is no ONNX file, or a file of weights is missing.
    """
    try:
        with ExitStack() as stack:
            data = stack.enter_context(_mapped(bundle.onnx_path))
            stored = {one.name: one for one in _tensors(data) if one.name in names}
            return {
                name: counted for name, one in stored.items() if (counted := _count(one, data, bundle.path))
            }
    except (ValueError, IndexError, OSError) as e:
        raise BundleError(f"The weights of `{bundle.path}` cannot be read: {e}") from e


@dataclass
class _Tensor:
    name: str = ""
    type: int = 0
    raw: Span | None = None
    external: dict[str, str] = field(default_factory=dict)


def _mapped(path: Path) -> mmap.mmap:
    with path.open("rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def _tensors(data: mmap.mmap) -> Iterator[_Tensor]:
    """The constants of the main graph."""
    for number, graph in fields(data, 0, len(data)):
        if number == _GRAPH:
            for inner, span in fields(data, *graph):
                if inner == _INITIALIZER:
                    yield _tensor(data, span)


def _tensor(data: mmap.mmap, span: Span) -> _Tensor:
    tensor = _Tensor()
    for number, value in fields(data, *span):
        if number == _TYPE:
            tensor.type = value
        elif number == _NAME:
            tensor.name = _text(data, value)
        elif number == _RAW:
            tensor.raw = value
        elif number == _EXTERNAL:
            entry = {key: _text(data, text) for key, text in fields(data, *value)}
            tensor.external[entry.get(1, "")] = entry.get(2, "")
    return tensor


def _count(tensor: _Tensor, data: mmap.mmap, folder: Path) -> Histogram | None:
    """The histogram of a tensor; None of a type that holds no plain numbers, and of an empty one."""
    if tensor.raw is not None:
        octets = np.frombuffer(data, np.uint8, tensor.raw[1] - tensor.raw[0], tensor.raw[0])
        return _histogram(tensor, _sampled(octets, tensor.type))
    if "location" not in tensor.external:
        return None
    path, offset = folder / tensor.external["location"], int(tensor.external.get("offset", 0))
    length = int(tensor.external.get("length", path.stat().st_size - offset))
    if not length:
        return None
    octets = np.memmap(path, np.uint8, "r", offset, (length,))
    return _histogram(tensor, _sampled(octets, tensor.type))


def _sampled(octets: np.ndarray, kind: int) -> tuple[np.ndarray, int] | None:
    """Values of a weight, copied, and how many it has."""
    if kind == _INT4:  # two in an octet, the first one in the lower half
        some = _spread(octets)
        halves = np.stack([some & 15, some >> 4], axis=-1).reshape(-1).astype(np.int16)
        return np.where(halves > 7, halves - 16, halves).astype(np.float32), 2 * octets.size
    name = ELEMENT_TYPES.get(kind, "")
    if not name.startswith(("float", "bfloat", "int")):
        return None
    try:
        dtype = dtype_of(name)
    except ImportError:  # float8 and bfloat16 need `ml_dtypes`
        return None
    values: Any = octets[: octets.size // dtype.itemsize * dtype.itemsize].view(dtype)
    return _spread(values).astype(np.float32), values.size


def _spread(values: np.ndarray) -> np.ndarray:
    """All values, or some from all over, with a step that has no divisor in common with their number."""
    if values.size <= _SAMPLE:
        return np.array(values)
    step = values.size // _SAMPLE
    while math.gcd(step, values.size) > 1:
        step += 1
    return np.array(values[::step])


def _histogram(tensor: _Tensor, sampled: tuple[np.ndarray, int] | None) -> Histogram | None:
    if sampled is None or not sampled[1]:
        return None
    values, size = sampled
    finite = values[np.isfinite(values)]
    limit = float(np.abs(finite).max(initial=0)) or 1.0
    counts, _ = np.histogram(finite, BINS, (-limit, limit))
    dtype = "int4" if tensor.type == _INT4 else ELEMENT_TYPES[tensor.type]
    zeros = float((finite == 0).mean()) if finite.size else 0.0
    return Histogram(tensor.name, dtype, size, limit, tuple(int(n) for n in counts), zeros)


def _text(data: mmap.mmap, span: Span) -> str:
    return data[span[0] : span[1]].decode(errors="replace")


def weight_names(record: Mapping[str, object]) -> dict[str, str]:
    """The layer of each stored weight that an export has recorded, by the weight's name."""
    products = record.get("products")
    return {
        str(name): str(product.get("layer", ""))
        for product in (products if isinstance(products, list) else ())
        if isinstance(product, dict) and isinstance(product.get("weights"), list)
        for name in product["weights"]
    }
