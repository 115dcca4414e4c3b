"""What `export` lets travel along: names of classes and metadata."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from keras_trt._base.tensors import TensorSpec
from keras_trt.bundle.notes import wrong_labels, wrong_metadata
from keras_trt.errors import InputError


def check_metadata(metadata: object) -> dict[str, Any]:
    """A user's metadata, which must be JSON.

    Raises:
        InputError: It is not; names the entry.
    """
    if metadata is None:
        return {}
    value = dict(metadata) if isinstance(metadata, Mapping) else metadata
    if problem := wrong_metadata(value):
        raise InputError(f"`metadata` must be a dict of JSON values: {problem}")
    return dict(value)  # type: ignore[call-overload]


def labels_of(labels: object, outputs: Sequence[TensorSpec]) -> dict[str, tuple[str, ...]]:
    """Labels by output name.

    Args:
        labels: A list for the only output, a dict by output name, or None.
        outputs: What the exported graph gives.

    Raises:
        InputError: They do not fit the outputs.

    Example:
        >>> labels_of(["cat", "dog"], [TensorSpec("scores", ("batch", 2), "float32")])
        {'scores': ('cat', 'dog')}
    """
    if labels is None:
        return {}
    names = tuple(spec.name for spec in outputs)
    if not isinstance(labels, Mapping):
        if len(outputs) > 1:
            raise InputError(
                f"The model has the outputs {list(names)}: give `labels` as a dict of lists by output name. "
                f"Received: labels={labels!r:.80}"
            )
        labels = {names[0]: labels}
    named: Mapping[str, Any] = labels
    if problem := wrong_labels(labels, names):
        raise InputError(f"`labels` must be lists of class names: {problem}")
    for spec in outputs:
        _check_count(spec, named.get(spec.name))
    return {name: tuple(named[name]) for name in named}


def _check_count(spec: TensorSpec, labels: Sequence[str] | None) -> None:
    """Scores have a place for each class; one score tells two classes apart, and an integer is a class."""
    classes = spec.shape[-1] if spec.shape[1:] else None
    if labels is None or not isinstance(classes, int) or not spec.dtype.startswith(("float", "bfloat")):
        return
    if len(labels) != classes and (classes, len(labels)) != (1, 2):
        raise InputError(
            f"Output `{spec.name}` {spec.shape} has {classes} classes on its last axis, `labels` names "
            f"{len(labels)}. Received: labels={list(labels)!r:.80}"
        )
