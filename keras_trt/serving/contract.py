"""What Triton is told about a bundle: its name, its tensors and whether requests may share a batch."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from keras_trt._base.arguments import check_path, wrong_argument
from keras_trt._base.tensors import BATCH_AXIS, TensorSpec, fixed_batch
from keras_trt.bundle import Bundle, Manifest, read_bundle
from keras_trt.bundle.probe import made_up, read_probe
from keras_trt.errors import InputError

Specs = Sequence[TensorSpec]


@dataclass(frozen=True)
class Port:
    """One input or output as Triton has it.

    Attributes:
        name: As in the bundle.
        dims: Sizes, -1 where open, without the batch axis where requests are batched; a scalar is (1,), for
            Triton has none.
        is_scalar: Whether the graph has no such axis.
        dtype: The numpy name of the element type.
    """

    name: str
    dims: tuple[int, ...]
    is_scalar: bool
    dtype: str


@dataclass(frozen=True)
class Contract:
    """A bundle as Triton has it.

    Attributes:
        largest_batch: The most rows of one batch; 0 where Triton must not make batches.
        inputs: In the model's order.
        outputs: In the model's order.
    """

    largest_batch: int
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]


def contract(manifest: Manifest, inputs: Specs, outputs: Specs) -> Contract:
    """What Triton is told of a bundle.

    Requests share batches where the first axis of every input and output is the batch.

    Args:
        manifest: Of the bundle.
        inputs: As what computes takes them: an `EngineModel` takes any batch, a graph what it was made for.
        outputs: As it gives them.
    """
    batched = all(spec.shape[:1] == (BATCH_AXIS,) for spec in (*inputs, *outputs))
    return Contract(
        manifest.batch[2] if batched else 0,
        tuple(_port(spec, batched) for spec in inputs),
        tuple(_port(spec, batched) for spec in outputs),
    )


def named_bundles(bundles: object) -> dict[str, Bundle]:
    """Bundles by the name under which Triton serves them.

    Args:
        bundles: A path, a list of paths, or a dict of paths by name; else a bundle's name is its model's.

    Raises:
        InputError: None, or two of one name, or a name that Triton does not take.
        BundleError: No bundle at a path.
    """
    if isinstance(bundles, str | os.PathLike):
        bundles = [bundles]
    if not isinstance(bundles, Mapping | list | tuple) or not bundles:
        raise wrong_argument("bundles", "a path, a list of paths or a dict of paths by name", bundles)
    if isinstance(bundles, Mapping):
        pairs = [(str(name), read_bundle(check_path(path, "bundles"))) for name, path in bundles.items()]
    else:
        read = [read_bundle(check_path(path, "bundles")) for path in bundles]
        pairs = [(re.sub(r"[^A-Za-z0-9._-]", "_", bundle.manifest.name), bundle) for bundle in read]
    names = [check_served_name(name) for name, _ in pairs]
    for name in names:
        if names.count(name) > 1:
            paths = [str(bundle.path) for other, bundle in pairs if other == name]
            raise InputError(
                f"`bundles` must have a name each. Two are named {name!r}: {paths}. Give names: "
                "{'first': path, 'second': path}, on the command line NAME=BUNDLE"
            )
    return dict(pairs)


def check_served_name(name: str, argument: str = "bundles") -> str:
    """A name that Triton takes for a model.

    Raises:
        InputError: It is none.
    """
    if not re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9._-]*", name):
        raise InputError(
            f"`{argument}` must have names of letters, digits, `.`, `_` and `-`, as Triton takes them. "
            f"Received: {name!r}"
        )
    return name


def warm_up_rows(bundle: Bundle, rows: int | None = None) -> dict[str, np.ndarray]:
    """Inputs to warm up with, by name: the probe's rows, as many as asked where they are a batch."""
    manifest = bundle.manifest
    probe = read_probe(bundle) or made_up(manifest)
    arrays = {
        spec.name: np.ascontiguousarray(probe.inputs[spec.name], spec.dtype) for spec in manifest.inputs
    }
    if rows is None or fixed_batch(manifest.inputs) is not None:
        return arrays
    return {
        spec.name: np.resize(arrays[spec.name], (rows, *arrays[spec.name].shape[1:]))
        if spec.shape[:1] == (BATCH_AXIS,)
        else arrays[spec.name]
        for spec in manifest.inputs
    }


def _port(spec: TensorSpec, batched: bool) -> Port:
    sizes = spec.shape[1:] if batched else spec.shape
    dims = tuple(size if isinstance(size, int) else -1 for size in sizes)
    return Port(spec.name, dims or (1,), not dims, spec.dtype)
