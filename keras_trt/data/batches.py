"""Batches of model inputs out of whatever Keras users call data."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from keras_trt._base.arguments import check_count
from keras_trt._keras.arguments import check_one_argument
from keras_trt._keras.flavor import Flavor
from keras_trt._keras.types import Model
from keras_trt.data.odd_data import check_dense, check_entries
from keras_trt.data.source import Source, batches_made, is_arrays, is_inputs, slices_of, unpacked
from keras_trt.errors import InputError


def batches(
    flavor: Flavor,
    model: Model,
    data: object,
    batch_size: int = 32,
    steps: int | None = None,
    *,
    name: str = "data",
) -> Iterator[Any]:
    """Yields inputs the model can be called on.

    Args:
        flavor: The model's Keras.
        model: Its inputs' shapes are checked against every batch.
        data: An array, a list or dict of arrays (as the model takes them), a `tf.data.Dataset` of batches,
            a `PyDataset`/`Sequence`, or any iterable of batches. A batch may be `x`, `(x, y)` or `(x, y, w)`.
        batch_size: Used for arrays.
        steps: The most batches to take; needed for endless generators.
        name: The argument that the user has given.

    Raises:
        InputError: No data, a shape that does not fit, or text for numbers; the message names the input.
        ModelError: The model's `call` needs several arguments.
    """
    check_data(data, batch_size, steps, name=name)
    return (x for x, _ in _pairs(flavor, model, _source(data, batch_size, steps), name))


def batches_with_targets(
    flavor: Flavor, model: Model, data: object, batch_size: int = 32, steps: int | None = None
) -> Iterator[tuple[Any, Any]]:
    """Yields (inputs, targets); targets are None where the data holds none.

    Args:
        flavor: The model's Keras.
        model: Its inputs' shapes are checked against every batch.
        data: As for `batches`, but a tuple of arrays is (inputs, targets), unless it begins with one array
            and is as long as the model has inputs.
        batch_size: Used for arrays.
        steps: The most batches to take; needed for endless generators.

    Raises:
        InputError: As `batches`.
    """
    check_data(data, batch_size, steps)
    if isinstance(data, tuple) and is_arrays(data) and not is_inputs(data, input_count(flavor, model)):
        pairs = slices_of(list(data), batch_size, steps)
        return _pairs(flavor, model, Source(map(tuple, pairs.items), pairs.count))
    return _pairs(flavor, model, _source(data, batch_size, steps))


def input_count(flavor: Flavor, model: Model) -> int:
    """How many tensors a model takes; what it was first called on counts where it declares none."""
    nest = _declared(flavor, model)
    return flavor.inputs_called(model) if nest is None else len(flavor.ops.nest.flatten(nest))


def _pairs(flavor: Flavor, model: Model, source: Source, argument: str = "data") -> Iterator[tuple[Any, Any]]:
    check_one_argument(model)
    inputs, count = input_count(flavor, model), 0
    for batch in source.items:
        x, y = unpacked(batch, inputs)
        check_dense(x, argument)
        _check(flavor, model, x, argument)
        x = _packed(flavor, model, flavor.ops.nest.map_structure(flavor.ops.convert_to_tensor, x))
        yield x, _readable(flavor, y)
        count += 1
    if count == 0:
        raise InputError("The data holds no batch. Received: an empty data set.")


def _readable(flavor: Flavor, y: Any) -> Any:
    """Targets that numpy reads, as it reads none of PyTorch's tensors on a GPU or with a gradient."""
    ops = flavor.ops
    if y is None or flavor.has_graphs:
        return y
    return ops.nest.map_structure(lambda leaf: ops.to_numpy(leaf) if ops.is_tensor(leaf) else leaf, y)


def check_data(data: object, batch_size: int = 32, steps: int | None = None, *, name: str = "data") -> None:
    """Refuses what holds no batches, or no end of them.

    Args:
        data: As for `batches`.
        batch_size: As for `batches`.
        steps: As for `batches`.
        name: The argument that the user has given.

    Raises:
        InputError: One of them is of the wrong kind; names it.
    """
    check_dense(data, name)
    if isinstance(data, str | bytes) or not (hasattr(data, "__iter__") or hasattr(data, "__getitem__")):
        raise InputError(
            f"`{name}` must be an array, a list or dict of arrays, a `tf.data.Dataset`, a "
            f"`PyDataset`/`Sequence` or an iterable of batches. "
            f"Received: {data!r} (of type {type(data).__name__})"
        )
    if isinstance(data, dict):
        check_entries(data, name)
    if hasattr(data, "dtype") and getattr(data, "shape", None) == ():
        raise InputError(f"`{name}` has no rows. Received: one number, {data!r}")
    for argument, value in (("batch_size", batch_size), ("steps", steps)):
        check_count(value, argument)
    if steps is None and hasattr(data, "cardinality") and int(data.cardinality()) == -1:  # tf.data's infinity
        raise InputError(f"The data must end. Take some batches: `data.take(16)`. Received: endless {data!r}")


def length(data: object, batch_size: int = 32, steps: int | None = None) -> int | None:
    """The number of batches, when it can be known."""
    return _source(data, batch_size, steps).count


def _source(data: object, batch_size: int, steps: int | None) -> Source:
    return slices_of(data, batch_size, steps) if is_arrays(data) else batches_made(data, steps)


def _packed(flavor: Flavor, model: Model, x: object) -> Any:
    """The batch in the structure and of the ranks that the model declares; Keras warns about any other."""
    nest = flavor.input_nest(model)
    if nest is None:
        return x
    pairs = zip(flavor.ops.nest.flatten(nest), _in_order(flavor, nest, x), strict=True)
    shaped = [flavor.ops.reshape(y, _ranked(tuple(y.shape), tuple(tensor.shape))) for tensor, y in pairs]
    return flavor.ops.nest.pack_sequence_as(nest, shaped)


def _ranked(got: tuple[int, ...], want: tuple[int | None, ...]) -> tuple[int, ...]:
    """The shape of a batch with a last axis of size 1 where the input has one, and without where not.

    Keras takes both: the columns of a table are vectors.
    """
    if len(got) == len(want) - 1 and want[-1] == 1:
        return (*got, 1)
    if len(got) == len(want) + 1 and got[-1] == 1:
        return got[:-1]
    return got


def _in_order(flavor: Flavor, nest: object, x: object) -> list[Any]:
    """The arrays of a batch in the order of the declared tensors.

    A batch has the structure that Keras's `fit` takes, or is a dict by the names of the inputs, or a list.
    """
    alike, names = _alike(nest, x), [_name(tensor) for tensor in flavor.ops.nest.flatten(nest)]
    if alike is not None:
        return alike
    if isinstance(x, dict):
        missing = [name for name in names if name not in x]
        if missing:
            keys = f" or the keys {sorted(nest)}" if isinstance(nest, dict) else ""
            raise InputError(
                f"The data lacks input {missing[0]!r}. Received: {sorted(x)}; needed: {names}{keys}."
            )
        return [x[name] for name in names]
    return list(flavor.ops.nest.flatten(x))


def _alike(nest: Any, x: Any) -> list[Any] | None:
    """The arrays of a batch that has the structure of the declared inputs, in TensorFlow's order."""
    if isinstance(nest, dict):
        fits = isinstance(x, dict) and nest.keys() <= x.keys()
        pairs = [(nest[key], x[key]) for key in sorted(nest)] if fits else None
    elif isinstance(nest, (list, tuple)):
        fits = isinstance(x, (list, tuple)) and len(x) == len(nest)
        pairs = list(zip(nest, x, strict=True)) if fits else None
    else:
        return None if isinstance(x, (dict, list, tuple)) else [x]
    per_pair = [None] if pairs is None else [_alike(*pair) for pair in pairs]
    return None if any(one is None for one in per_pair) else [leaf for one in per_pair for leaf in one or ()]


def _declared(flavor: Flavor, model: Model) -> Any:
    """The nest of symbolic inputs that a model is called with; None where it has none."""
    nest = flavor.input_nest(model)
    return (getattr(model, "inputs", None) or None) if nest is None else nest


def _name(tensor: Any) -> str:
    return str(tensor.name.split(":")[0])


def _check(flavor: Flavor, model: Model, x: object, argument: str) -> None:
    """Compares a batch with the model's declared inputs, when it has any."""
    nest = _declared(flavor, model)
    if nest is None:
        return
    declared, given = flavor.ops.nest.flatten(nest), _in_order(flavor, nest, x)
    names = [_name(tensor) for tensor in declared]
    if len(given) != len(declared):
        raise InputError(f"The model has {len(declared)} inputs {names}. Received: {len(given)} arrays.")
    for name, tensor, array in zip(names, declared, given, strict=True):
        want, got = tuple(tensor.shape), tuple(np.shape(array))
        got = _ranked(got, want)
        if len(want) != len(got) or any(a not in (None, b) for a, b in zip(want[1:], got[1:], strict=True)):
            hint = " Batch the data first: `data.batch(32)`." if want[1:] == got else ""
            raise InputError(f"Input {name!r} takes batches of shape {want}. Received: shape {got}.{hint}")
        dtype = flavor.ops.dtype_name(tensor)
        if dtype != "string" and _is_text(array):
            raise InputError(
                f"`{argument}`: input {name!r} takes {dtype}. Received: text of shape {got}. Turn it into "
                "numbers as the training data were."
            )


def _is_text(array: Any) -> bool:
    dtype = getattr(array, "dtype", None) or np.asarray(array).dtype
    name = str(getattr(dtype, "name", dtype))
    texts = name == "object" and all(isinstance(value, str | bytes) for value in np.ravel(array))
    return texts or name.startswith(("str", "bytes"))
