"""Mixed-precision policies: float32 weights, and layers that compute and return another float type."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from keras_trt._keras.flavor import Flavor


def is_mixed(flavor: Flavor, model: Any) -> bool:
    """Whether a layer of the model, or the model itself, has a mixed policy."""
    return any(True for _ in _mixed(flavor, model))


@contextmanager
def in_float32(flavor: Flavor, model: Any) -> Iterator[None]:
    """While open, layers with float32 variables compute in float32 whatever their mixed policy says."""
    changed: list[tuple[Any, str, Any]] = []

    def swap(obj: Any, attribute: str, value: Any) -> None:
        changed.append((obj, attribute, getattr(obj, attribute)))
        setattr(obj, attribute, value)

    plain = flavor.keras.mixed_precision.Policy("float32")
    try:
        for layer in _mixed(flavor, model):
            swap(layer, "_dtype_policy", plain)
            if hasattr(layer, "_compute_dtype_object"):  # tf_keras keeps a copy
                swap(layer, "_compute_dtype_object", flavor.tf.float32)
        yield
    finally:
        for obj, attribute, value in reversed(changed):
            setattr(obj, attribute, value)


def _mixed(flavor: Flavor, model: Any) -> Iterator[Any]:
    for layer in (model, *(layer for _, layer in flavor.walk(model))):
        policy = getattr(layer, "_dtype_policy", None)
        if policy is not None and str(getattr(policy, "name", "")).startswith("mixed_"):
            yield layer
