"""What a quantised model's tensors are in some data: one pass that fills a histogram for each."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from keras_trt._base.arguments import check_verbose
from keras_trt._keras.calls.gathering import gathering, give
from keras_trt._keras.calls.graphs import as_graphs
from keras_trt._keras.flavor import Flavor
from keras_trt._keras.types import Model, Tensor
from keras_trt.data.batches import batches, check_data, length
from keras_trt.data.rows import FirstBatches
from keras_trt.errors import InputError, ModelError
from keras_trt.quantize.inventory import activation_quantizers
from keras_trt.quantize.seen.histogram import Histogram
from keras_trt.quantize.seen.statistics import Statistics
from keras_trt.tfmot.accept import accept
from keras_trt.twins.quantizer import observing

NORMAL = float(np.finfo(np.float32).tiny)
"""TensorFlow computes with zeros for magnitudes below it."""
Owners = dict[int, tuple[str, Any]]


def observe(
    model: Model, data: object, *, batch_size: int = 32, steps: int | None = None, verbose: int = 1
) -> Statistics:
    """What a quantised model's tensors are in some data, for `calibrate(statistics=)`; changes nothing.

    Where data is spread over workers, each observes its shard and one puts all together: counts and largest
    values add up exactly, in any order and in batches of any size, and so do the ranges of every method but
    `"std"`, whose sums are rounded as float64. `"auto"` and corrections also measure on the first rows of
    what is given to `calibrate` itself.

    Args:
        model: A quantised Keras 3 or tf_keras model, of the same weights everywhere.
        data: As in `calibrate`.
        batch_size: Batch size for arrays.
        steps: The most batches to use.
        verbose: 1 shows a progress bar, 0 nothing.

    Returns:
        The statistics; `save` and `load` take them from one process to another.

    Raises:
        ModelError: Nothing in the model is quantised.
        InputError: Empty data, a wrong shape, or NaN (the layer is named).

    Example:
        >>> seen = keras_trt.quantize.observe(quantized, dataset.shard(num_shards=2, index=1), verbose=0)
        >>> mine = dataset.shard(num_shards=2, index=0)
        >>> quantized = keras_trt.calibrate(quantized, mine, statistics=seen, verbose=0)
    """
    check_verbose(verbose)
    check_data(data, batch_size, steps)
    flavor, model, _ = accept(model)
    owners = owners_of(flavor, model)
    if not owners:
        raise ModelError(
            f"Model {model.name!r} has no quantised activation. Call `keras_trt.quantize_model(model)` first."
        )
    items = batches(flavor, model, data, batch_size, steps, name="data")
    seen, peak = seen_in(
        flavor, model, owners, items, length(data, batch_size, steps), FirstBatches(rows=0), verbose
    )
    return Statistics(tensors_of(owners), tuple(seen.values()), peak)


def owners_of(flavor: Flavor, model: Model) -> Owners:
    """The quantisers of activations by identity, with their layers' paths."""
    return {id(q): (path, q) for path, q in activation_quantizers(flavor, model)}


def tensors_of(owners: Owners) -> tuple[str, ...]:
    """A name for what each quantiser rounds."""
    return tuple(f"{path}:{quantizer.name}" for path, quantizer in owners.values())


def seen_in(
    flavor: Flavor,
    model: Model,
    owners: Owners,
    items: Iterable[object],
    total: int | None,
    first: FirstBatches,
    verbose: int,
) -> tuple[dict[int, Histogram], float]:
    """A histogram for each quantiser, and the largest magnitude of the data, of one pass."""
    seen = {key: Histogram(format=q.dtype_name) for key, (_, q) in owners.items()}
    bar = flavor.keras.utils.Progbar(total, verbose=verbose, unit_name="calibration batch")
    peak = 0.0
    with gathering(seen) as numbers:
        run = _observed_call(flavor, model, numbers)
        for done, batch in enumerate(items, start=1):
            first.add(flavor, batch)
            if peak < NORMAL:
                arrays = map(flavor.ops.to_numpy, flavor.ops.nest.flatten(batch))
                peak = max(peak, *map(_magnitude, arrays))
            run(batch)
            check_finite(seen, owners)
            bar.update(done, finalize=done == total)
        if done != total:  # an end that could not be known ends the line, too
            bar.update(done, finalize=True)
    return seen, peak


def _observed_call(flavor: Flavor, model: Model, numbers: dict[int, int]) -> Any:
    """The model's call as a graph that fills the histograms on its way, tensor by tensor."""

    def observe(quantizer: object, tensor: Tensor) -> None:
        give(flavor, numbers[id(quantizer)], tensor)

    def run(batch: object) -> None:
        with observing(observe, corrected=False):  # what is corrected is measured behind the ranges
            model(batch, training=False)

    return as_graphs(flavor, run)


def check_finite(seen: dict[int, Histogram], owners: dict[int, tuple[str, object]]) -> None:
    """Refuses data with which a tensor is not finite.

    Raises:
        InputError: Names the layer.
    """
    for key, histogram in seen.items():
        if not histogram.finite:
            raise InputError(
                f"The calibration data makes the input of layer {owners[key][0]!r} NaN or infinite. "
                "Check the data for NaN and the model for exploding values."
            )


def _magnitude(array: np.ndarray) -> float:
    """The largest magnitude of an input; 1 for any that is not all zeros and of no float type."""
    if not np.issubdtype(array.dtype, np.floating):
        return float(np.any(array))
    return float(np.abs(array).max(initial=0.0))
