"""Prediction over data larger than one machine, on Ray Data."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from keras_trt._base.arguments import (
    check_count,
    check_mapping,
    check_one_of,
    check_path,
    is_number,
    wrong_argument,
)
from keras_trt._base.tensors import BATCH_AXIS
from keras_trt._machine.deps import require
from keras_trt.bundle import read_bundle
from keras_trt.errors import BundleError, InputError
from keras_trt.runtime import load
from keras_trt.runtime.by_name import predict_by_name
from keras_trt.runtime.choosing.select import GPU_RUNNERS
from keras_trt.runtime.runners.cpu import ONNX_RUNNERS

__all__ = ["predict_dataset"]


def predict_dataset(
    dataset: object,
    bundle: str | os.PathLike[str],
    *,
    columns: Mapping[str, str] | None = None,
    keep: Sequence[str] = (),
    batch_size: int | None = None,
    actors: int = 1,
    num_cpus: float | None = None,
    num_gpus: float = 0,
    runner: str = "auto",
) -> Any:
    """Predicts a Ray dataset, batch by batch, with actors that load the bundle once each.

    Nothing runs before the result is read. Rows come in the dataset's order only where Ray is told to
    (`DataContext.get_current().execution_options.preserve_order = True`): else `keep` a column that tells
    them apart. An actor that dies is replaced, and its batch computed again.

    Args:
        dataset: A `ray.data.Dataset`.
        bundle: The folder that `export` wrote, at a path that every node of the cluster has.
        columns: The dataset's column by input name; by default the columns named as the inputs, and for one
            input and one column these two.
        keep: Columns of the dataset to have in the result.
        batch_size: Rows at a time; by default the largest batch of the bundle.
        actors: How many engines there are in the cluster.
        num_cpus: The share of CPUs that Ray reserves for each actor. By default what leaves one CPU for the
            tasks that read, at most 1: with all taken they would wait for ever.
        num_gpus: The share of GPUs for each actor.
        runner: What computes, see `load`.

    Returns:
        A `ray.data.Dataset` with a column for each output, named as the bundle names it, and those of `keep`.

    Raises:
        InputError: A wrong argument, actors that would leave no CPU, or columns that are missing.
        BundleError: No bundle at the path.
        MissingDependencyError: Ray Data is not installed.

    Example:
        >>> images = ray.data.read_images("s3://bucket/images", size=(224, 224))  # doctest: +SKIP
        >>> scores = keras_trt.ray.predict_dataset(  # doctest: +SKIP
        ...     images, "net.bundle", columns={"input_1": "image"}, actors=4, num_gpus=1
        ... )
        >>> scores.write_parquet("s3://bucket/scores")  # doctest: +SKIP
    """
    data = require("ray.data", install="keras-trt[ray]", why="`keras_trt.ray`")
    if not isinstance(dataset, data.Dataset):
        raise wrong_argument("dataset", "a ray.data.Dataset", dataset)
    check_count(actors, "actors")
    check_count(batch_size, "batch_size")
    check_one_of(runner, ("auto", *GPU_RUNNERS, *ONNX_RUNNERS), "runner")
    for name, share in (("num_cpus", num_cpus), ("num_gpus", num_gpus)):
        if share is not None and not (is_number(share) and share >= 0):
            raise wrong_argument(name, "a number >= 0", share)
    path = check_path(bundle, "bundle").expanduser().absolute()
    manifest = read_bundle(path, verify=False).manifest
    for spec in (*manifest.inputs, *manifest.outputs):
        if spec.shape[:1] not in ((BATCH_AXIS,), (manifest.batch[0],)):
            raise InputError(
                f"A table has a row for each row of a batch; `{spec.name}` {spec.shape} has no batch axis. "
                f"Received: bundle={str(path)!r}"
            )
    chosen = _columns([spec.name for spec in manifest.inputs], columns, keep, dataset)
    return dataset.map_batches(
        _Predictor,
        fn_constructor_args=(path, manifest.onnx_sha256, runner, chosen, tuple(keep)),
        batch_size=batch_size or manifest.batch[2],
        batch_format="numpy",
        compute=data.ActorPoolStrategy(size=actors),
        num_cpus=_share(actors, num_cpus),
        **({"num_gpus": num_gpus} if num_gpus else {}),
    )


class _Predictor:
    """An actor: one engine, called with one batch after the other."""

    def __init__(
        self, path: Path, digest: str, runner: str, columns: Mapping[str, str], keep: Sequence[str]
    ) -> None:
        self.engine, self.columns, self.keep = load(path, runner, verbose=0), columns, keep
        if self.engine.bundle.manifest.onnx_sha256 != digest:
            raise BundleError(
                f"The bundle at `{path}` on {os.uname().nodename} is another one than where the work was "
                "begun. Put the same bundle on every node."
            )

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Columns by name in, columns by name out."""
        if missing := [c for c in (*self.columns.values(), *self.keep) if c not in batch]:
            raise _missing(missing, batch)
        made = predict_by_name(self.engine, {name: batch[c] for name, c in self.columns.items()})
        return {**{column: batch[column] for column in self.keep}, **made}


def _columns(
    inputs: Sequence[str], given: Mapping[str, str] | None, keep: Sequence[str], dataset: Any
) -> dict[str, str]:
    """The dataset's column by input name."""
    chosen = check_mapping(given, "columns")
    if unknown := [name for name in chosen if name not in inputs]:
        raise InputError(f"`columns` names unknown inputs {unknown}; the bundle's are {list(inputs)}")
    if isinstance(keep, str) or not all(isinstance(column, str) for column in keep):
        raise wrong_argument("keep", "a list of columns", keep)
    known = dataset.columns(fetch_if_missing=False)
    if known is not None and len(known) == len(inputs) == 1:
        chosen = {inputs[0]: known[0], **chosen}
    chosen = {name: chosen.get(name, name) for name in inputs}
    if known is not None and (missing := [c for c in (*chosen.values(), *keep) if c not in known]):
        raise _missing(missing, known)
    return chosen


def _missing(missing: Sequence[str], known: Any) -> InputError:
    return InputError(
        f"The dataset has no columns {list(missing)}; it has {list(known)}. Say which column an input is: "
        "predict_dataset(..., columns={'input': 'column'})"
    )


def _share(actors: int, asked: float | None) -> float:
    """The CPUs of each actor, so that one is left for the tasks that read the data."""
    ray = require("ray", install="keras-trt[ray]")
    if not ray.is_initialized():
        ray.init()
    cpus = float(ray.cluster_resources().get("CPU", 0))
    if asked is None:
        return min(1.0, max(cpus - 1, 0.0) / actors)
    if actors * asked > cpus - 1:
        raise InputError(
            f"{actors} actors of {asked:g} CPUs leave none of the cluster's {cpus:g} for the tasks that read "
            "the data, which would wait for ever. Leave `num_cpus` out, or give at most "
            f"{max(cpus - 1, 0) / actors:g}. Received: num_cpus={asked:g}, actors={actors}"
        )
    return float(asked)
