"""Measured losses in a JSON file, under a digest of everything that they depend on."""

from __future__ import annotations

import functools
import hashlib
import json
import re
import types
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from keras_trt._keras.flavor import Flavor
from keras_trt._keras.types import Model
from keras_trt.errors import InputError

_FORMAT = "2"  # raised when losses are measured in another way
_PLAIN = (bool, int, float, complex, str, bytes, re.Pattern, type(None))


class Cache(dict[str, float]):
    """Losses by name; those of other models, data, metrics or options are not read.

    Args:
        path: The file, or None to keep nothing.
        chunks: What the losses depend on, as `model_chunks`, `data_chunks` and `described` give it.

    Raises:
        InputError: The file is another's.
    """

    def __init__(self, path: Any = None, chunks: Iterable[bytes] = ()) -> None:
        super().__init__()
        self.path = None if path is None else Path(path)
        if self.path is None:
            return
        digest = hashlib.sha256(_FORMAT.encode())
        for chunk in chunks:
            digest.update(hashlib.sha256(chunk).digest())  # of one length: no two lists of chunks read alike
        self.digest = digest.hexdigest()
        if self.path.exists():
            self.update(_read(self.path).get(self.digest, {}))

    def measured(self, name: str, measure: Callable[[], float]) -> float:
        """The loss of that name, measured and written where it is not known yet."""
        if name not in self:
            self[name] = measure()
            self.save()
        return self[name]

    def save(self) -> None:
        """Writes the file, beside and then in its place."""
        if self.path is None:
            return
        beside = self.path.with_suffix(f"{self.path.suffix}.tmp")
        beside.write_text(json.dumps({self.digest: dict(self)}, indent=1))
        beside.replace(self.path)


def _read(path: Path) -> dict[str, dict[str, float]]:
    """The losses of a file, by digest."""
    try:
        content = json.loads(path.read_text())
    except ValueError:
        content = None
    if isinstance(content, dict) and all(isinstance(losses, dict) for losses in content.values()):
        return content
    raise InputError(
        f"`cache` is a file that measured losses were written to, or a new one. Received: {path}, which "
        "holds something else. Give another path."
    )


def told(metric: object) -> tuple[Any, ...]:
    """What tells a metric from another: for one of Keras its settings, too."""
    config: dict[str, Any] = getattr(metric, "get_config", dict)()
    return metric, json.dumps(config, sort_keys=True, default=repr) if config else ""


def model_chunks(flavor: Flavor, model: Model) -> Iterator[bytes]:
    """What a model computes: its layers, how they are connected as far as its config says, its weights."""
    for path, layer in flavor.walk(model):
        yield f"{path} {type(layer).__module__}.{type(layer).__qualname__}".encode()
    try:
        config = repr(model.get_config())
    except NotImplementedError:  # a model or layer without a config: Keras says so
        config = ""
    yield re.sub(r" at 0x[0-9a-f]+", "", config).encode()
    yield from data_chunks(model.get_weights())


def chunks_of(
    flavor: Flavor, model: Model, data: object, metric: object, options: tuple[Any, ...]
) -> Iterator[bytes]:
    """What the losses of a model on data depend on, with the options that it is quantised by."""
    flat = flavor.ops.nest.flatten(options)
    named = tuple(option if callable(option) else repr(option) for option in flat)
    names = repr([sorted(option) for option in options if isinstance(option, dict)])
    yield from model_chunks(flavor, model)
    yield from data_chunks(data)
    yield from described((*told(metric), *named, names))


def data_chunks(data: object) -> Iterator[bytes]:
    """The arrays of a nest, with their places in it, dtypes and shapes.

    Raises:
        InputError: Something else than arrays.
    """
    if isinstance(data, Mapping) or (isinstance(data, (list, tuple)) and not np.isscalar(data)):
        items = data.items() if isinstance(data, Mapping) else enumerate(data)
        for key, value in items:
            yield repr(key).encode()
            yield from data_chunks(value)
        return
    array = np.asarray(data)
    if array.dtype == object and data is not None:
        raise InputError(
            f"`cache` tells data apart by its values, so it must be arrays. Received: {type(data).__name__}. "
            "Give arrays, or leave `cache` out."
        )
    yield f"{array.dtype} {array.shape}".encode()
    yield b"" if data is None else np.ascontiguousarray(array).tobytes()


def described(value: object, seen: frozenset[int] = frozenset()) -> Iterator[bytes]:
    """An option or a function by what it does rather than by its name.

    A function is its code, its defaults, and the numbers, texts, arrays and functions that it takes from
    around it; lists and other things that may change between calls count by their type only.
    """
    yield type(value).__qualname__.encode()
    if id(value) in seen:
        return
    seen = seen | {id(value)}
    if isinstance(value, _PLAIN):
        yield repr(value).encode()
    elif isinstance(value, (np.ndarray, np.generic)):
        yield from data_chunks(value)
    elif isinstance(value, type):
        yield f"{value.__module__}.{value.__qualname__}".encode()
    elif isinstance(value, (tuple, frozenset)):
        for item in value if isinstance(value, tuple) else sorted(value, key=repr):
            yield from described(item, seen)
    elif isinstance(value, types.CodeType):
        yield value.co_code + " ".join(value.co_names).encode()
        yield from described(value.co_consts, seen)
    elif isinstance(value, types.FunctionType):
        yield from described(_makings(value), seen)
    elif isinstance(value, types.MethodType):
        yield from described((value.__self__, value.__func__), seen)
    elif isinstance(value, functools.partial):
        yield from described((value.func, value.args, *value.keywords.items()), seen)
    elif callable(value):
        yield f"{getattr(value, '__module__', '')}.{getattr(value, '__qualname__', '')}".encode()
        yield from described(tuple(vars(value).items()) if hasattr(value, "__dict__") else (), seen)
        yield from described(vars(type(value)).get("__call__"), seen)


def _makings(function: types.FunctionType) -> tuple[Any, ...]:
    """A function's code, and what it finds in its defaults, its closure and its module."""
    cells = tuple(c.cell_contents for c in function.__closure__ or ())
    keywords = tuple((function.__kwdefaults__ or {}).items())
    referenced = {name: function.__globals__.get(name) for name in function.__code__.co_names}
    around = tuple((k, v) for k, v in referenced.items() if not isinstance(v, types.ModuleType))
    return function.__code__, function.__defaults__, keywords, cells, around
