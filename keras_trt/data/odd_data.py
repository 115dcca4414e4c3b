"""Refuses data that looks like arrays and cannot be cut into batches."""

from __future__ import annotations

from typing import Any

from keras_trt.errors import InputError

_WAYS = {
    "RaggedTensor": "`x.to_tensor()` pads",
    "SparseTensor": "`tf.sparse.to_dense(x)` does",
    "BCOO": "`x.todense()` does",
}


def check_dense(values: object, name: str) -> None:
    """Refuses ragged and sparse tensors.

    Args:
        values: Data, a batch, or any structure of tensors.
        name: The argument that the user has given.
    """
    if isinstance(values, dict):
        values = list(values.values())
    if isinstance(values, list | tuple):
        for value in values:
            check_dense(value, name)
    elif way := _way_to_dense(values):
        raise InputError(
            f"`{name}` must be dense, as the inputs of an engine are. Received: a {type(values).__name__} of "
            f"shape {tuple(getattr(values, 'shape', ()))}. {way}; a model with ragged or sparse inputs needs "
            "dense ones, too."
        )


def _way_to_dense(values: object) -> str | None:
    """How a tensor that is not dense is made so; None for any other. Told without importing its package."""
    for cls in type(values).__mro__:
        if cls.__module__.split(".")[0] in ("tensorflow", "jax") and cls.__name__ in _WAYS:
            return _WAYS[cls.__name__]
    return "`x.to_dense()` does" if getattr(values, "is_sparse", False) is True else None  # PyTorch's


def check_entries(data: dict[Any, Any], name: str) -> None:
    """Refuses entries of a dict that are no arrays, and so have no rows."""
    for key, value in data.items():
        if isinstance(value, dict):
            check_entries(value, name)
        elif not all(hasattr(item, "shape") for item in (value if _holds_arrays(value) else [value])):
            raise InputError(
                f"`{name}` as a dict holds an array for each input. Received: {key!r} is of type "
                f"{type(value).__name__}. Use `np.asarray` for lists of numbers."
            )


def _holds_arrays(value: object) -> bool:
    return isinstance(value, list | tuple) and any(hasattr(item, "shape") for item in value)
