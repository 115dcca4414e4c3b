"""From what the user passes to the named arrays a runner takes; errors name the input."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from keras_trt._base.formats import dtype_of
from keras_trt._base.nests import Nest
from keras_trt._base.tensors import BATCH_AXIS, TensorSpec
from keras_trt.bundle.manifest import names_in
from keras_trt.errors import InputError
from keras_trt.runtime.runners.tensorrt.device_array import DeviceArray

Feeds = dict[str, Any]
"""NumPy arrays, or arrays on a GPU that the runner takes as they are, by input or output name."""
Taker = Callable[[object], DeviceArray | None]


def name_arrays(
    x: object, structure: Nest, specs: Sequence[TensorSpec], taker: Taker = lambda _: None
) -> Feeds:
    """Gives every array of `x` its input's name and checks it, without copying or casting.

    Args:
        x: Arrays in the structure of the model's inputs; a dict may also use the inputs' names.
        structure: The model's input structure.
        specs: The inputs; an axis named `"batch"` must agree among all of them.
        taker: Returns an array on a GPU as the runner takes it, and None for all that goes through the host.

    Returns:
        One array per input, in the order of `specs`; a trailing axis of size 1 is added or removed as
        Keras does.

    Raises:
        InputError: A missing or unknown input, a wrong shape or a wrong dtype.
    """
    arrays = dict(pair(x, structure, "x"))
    feeds = {spec.name: _checked(arrays[spec.name], spec, taker) for spec in specs}
    sizes: dict[str, tuple[str, int]] = {}
    for spec in specs:
        for axis, size in zip(spec.shape, feeds[spec.name].shape, strict=True):
            if not isinstance(axis, str):
                continue
            first, known = sizes.setdefault(axis, (spec.name, size))
            if known != size:
                raise InputError(
                    f"The inputs disagree on the size of axis '{axis}'. "
                    f"Received: {size} in input `{spec.name}`, {known} in input `{first}`"
                )
    return feeds


def cast(feeds: Mapping[str, np.ndarray], specs: Sequence[TensorSpec]) -> Feeds:
    """The arrays in their inputs' dtypes, contiguous; copies only what must change.

    Raises:
        InputError: An integer that the input's dtype cannot hold.
    """
    result = {}
    for spec in specs:
        array, dtype = feeds[spec.name], dtype_of(spec.dtype)
        if isinstance(array, DeviceArray):
            result[spec.name] = array
            continue
        if array.dtype.kind in "iu" and dtype.kind in "iu" and not np.can_cast(array.dtype, dtype):
            limits = np.iinfo(dtype)
            if array.size and (array.min() < limits.min or array.max() > limits.max):
                raise InputError(
                    f"Input `{spec.name}` holds integers out of the range of {spec.dtype}. "
                    f"Received: {array.min()} to {array.max()} ({array.dtype})"
                )
        result[spec.name] = np.ascontiguousarray(array, dtype=dtype)
    return result


def batch_of(feeds: Mapping[str, np.ndarray], specs: Sequence[TensorSpec]) -> int:
    """How many rows the arrays hold; 1 when no input has a batch axis."""
    rows = [feeds[s.name].shape[0] for s in specs if s.shape[:1] == (BATCH_AXIS,)]
    return rows[0] if rows else 1


def pair(x: object, structure: Nest, where: str) -> Iterator[tuple[str, Any]]:
    """(tensor name, value) pairs of a structure; values may be anything.

    Raises:
        InputError: `x` does not have the structure; names what is missing or unknown.

    Example:
        >>> list(pair({"a": 1, "b": 2}, ["b", "a"], "x"))
        [('b', 2), ('a', 1)]
    """
    if isinstance(structure, str):
        yield structure, _single(x, structure, where)
    elif isinstance(x, Mapping):
        yield from _pair_mapping(x, structure, where)
    elif isinstance(structure, dict):
        raise InputError(f"`{where}` must be a dict with the keys {list(structure)}. Received: {_kind(x)}")
    else:
        items = [x] if len(structure) == 1 and not isinstance(x, list | tuple) else x
        if not isinstance(items, list | tuple) or len(items) != len(structure):
            raise InputError(
                f"`{where}` must be a list of {len(structure)} arrays, for the inputs "
                f"{list(names_in(structure))}. Received: {_kind(x)}"
            )
        for i, (item, inner) in enumerate(zip(items, structure, strict=True)):
            yield from pair(item, inner, f"{where}[{i}]")


def _pair_mapping(x: Mapping[str, object], structure: Nest, where: str) -> Iterator[tuple[str, Any]]:
    by_name: dict[str, Nest] = {name: name for name in names_in(structure)}
    entries = structure if isinstance(structure, dict) and set(x) != set(by_name) else by_name
    missing, unknown = [k for k in entries if k not in x], [k for k in x if k not in entries]
    if missing or unknown:
        problem = f"lacks input(s) {missing}" if missing else f"has unknown input(s) {unknown}"
        raise InputError(f"`{where}` {problem}. Received: {sorted(map(str, x))}, expected: {list(entries)}")
    for key, inner in entries.items():
        yield from pair(x[key], inner, f"{where}[{key!r}]")


def _single(x: object, name: str, where: str) -> Any:
    if isinstance(x, Mapping):
        if set(x) == {name}:
            return x[name]
        raise InputError(f"`{where}` must be one array or a dict with the key '{name}'. Received: {_kind(x)}")
    if isinstance(x, list | tuple) and any(hasattr(item, "shape") for item in x):
        if len(x) == 1:
            return x[0]
        raise InputError(f"`{where}` must be one array, for the input `{name}`. Received: {_kind(x)}")
    return x


def _checked(value: object, spec: TensorSpec, taker: Taker) -> Any:
    array: Any = _taken(value, spec, taker)
    target = dtype_of(spec.dtype)
    if isinstance(array, DeviceArray) and array.dtype != target:
        raise InputError(
            f"Input `{spec.name}` is taken from the GPU as it is, in {spec.dtype}. "
            f"Received: {array.dtype}; convert it there, e.g. with `x.to(torch.{spec.dtype})`"
        )
    if not _castable(array.dtype, target):
        raise InputError(
            f"Input `{spec.name}` takes {spec.dtype}, and {array.dtype} cannot be cast to it without loss. "
            f"Received: an array of shape {array.shape} and dtype {array.dtype}"
        )
    wanted = spec.shape
    if array.ndim == len(wanted) - 1 and wanted[-1] == 1:
        array = array.reshape((*array.shape, 1))
    elif array.ndim == len(wanted) + 1 and array.shape[-1] == 1:
        array = array.reshape(array.shape[:-1])
    fits = array.ndim == len(wanted) and all(
        isinstance(axis, str) or axis == size for axis, size in zip(wanted, array.shape, strict=True)
    )
    if not fits:
        raise InputError(
            f"Input `{spec.name}` takes the shape {_show(wanted)}. "
            f"Received: an array of shape {_show(array.shape)} and dtype {array.dtype}"
        )
    return array


def _taken(value: object, spec: TensorSpec, taker: Taker) -> np.ndarray | DeviceArray:
    try:
        there = taker(value)
        if there is not None:
            return there
    except InputError as e:
        raise InputError(f"Input `{spec.name}`: {e}") from e
    try:
        return np.asarray(value)
    except (ValueError, TypeError) as e:
        raise InputError(f"Input `{spec.name}` is no array: {e}. Received: {_kind(value)}") from e


def _castable(given: np.dtype, target: np.dtype) -> bool:
    """Keras casts numbers to floats and integers to integers; cutting floats to integers is a mistake."""
    if target.kind == "b":
        return given.kind == "b"
    if target.kind in "iu":
        return given.kind in "biu"
    return given.kind in "biuf" or given.name.startswith(("bfloat16", "float8"))


def _kind(x: object) -> str:
    if isinstance(x, Mapping):
        return f"a dict with the keys {sorted(map(str, x))}"
    if isinstance(x, list | tuple):
        return f"a {type(x).__name__} of {len(x)}"
    shape = getattr(x, "shape", None)
    return f"{type(x).__name__} of shape {tuple(shape)}" if shape is not None else type(x).__name__


def _show(shape: tuple[int | str, ...]) -> str:
    return "(" + ", ".join(map(str, shape)) + ("," if len(shape) == 1 else "") + ")"
