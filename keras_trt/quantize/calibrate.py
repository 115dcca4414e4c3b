"""Finding activation ranges from data (post-training quantisation, and the start of training)."""

from __future__ import annotations

import math
import statistics
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_trt._base.arguments import check_verbose
from keras_trt._keras.flavor import Flavor
from keras_trt._keras.flavor_of import check_model
from keras_trt._keras.types import M, Model
from keras_trt.data.batches import batches, check_data, length
from keras_trt.data.rows import FirstBatches
from keras_trt.errors import InputError, ModelError
from keras_trt.quantize.calibrators import Auto, calibrator
from keras_trt.quantize.costs.least_error import Candidates, least_error
from keras_trt.quantize.recovery.correction import correct, corrected
from keras_trt.quantize.seen.histogram import Histogram
from keras_trt.quantize.seen.observe import NORMAL, check_finite, owners_of, seen_in, tensors_of
from keras_trt.quantize.seen.statistics import Statistics, merge, read_statistics
from keras_trt.tfmot.accept import accept

_NEARLY_ALL = 0.9  # of the quantised tensors: then it is not a dead branch but the data
Reached = tuple[str, Any, Histogram]  # a quantiser with its layer's path and what it saw


def calibrate(
    model: M,
    data: object,
    method: object = "auto",
    *,
    batch_size: int = 32,
    steps: int | None = None,
    statistics: object = (),
    verbose: int = 1,
) -> M:
    """Sets the activation ranges of a quantised model from one pass over data, in place.

    The model runs with rounded weights and float activations: what is measured is what will be cut. Then the
    first rows (256 at most) say by how much rounding moves the mean of each output channel and changes its
    size, which those layers take back that `quantize_model(recover=)` has chosen.

    Args:
        model: A quantised Keras 3 or tf_keras model.
        data: An array (samples first), a list or dict of arrays, a `tf.data.Dataset`, a generator or a
            `PyDataset`/`Sequence`; a few hundred samples are usually enough.
        method: `"auto"` (for each tensor that of `"max"`, `"mse"`, their middle and `"percentile"` which
            costs its layer's outputs least), `"max"`, `"percentile"` (99.99 %), `"entropy"`, `"mse"`, `"std"`
            (|mean| + 6 std), or a calibrator such as `calibrators.Percentile(99.9)`.
        batch_size: Batch size for arrays.
        steps: The most batches to use.
        statistics: What `quantize.observe` has seen in more data, e.g. in other shards by other workers, or
            files of it: the ranges are those of one pass over `data` and then over that.
        verbose: 1 shows a progress bar, 0 nothing.

    Returns:
        The same model; for one that TF-MOT has wrapped, its converted form.

    Raises:
        ModelError: Nothing in the model is quantised.
        InputError: Empty data, a wrong shape (the input is named), NaN (the layer is named), data that is all
            zeros or makes nearly all quantised tensors zero.

    Warns:
        UserWarning: A tensor was zero in all of the data (its layer is named). A range that it had stays;
            otherwise it gets the middle one of the other ranges.

    Example:
        >>> quantized = keras_trt.calibrate(quantized, x_train[:512], method="entropy")
    """
    flavor, model, _ = accept(model)
    check_verbose(verbose)
    check_data(data, batch_size, steps)
    others = read_statistics(statistics)
    first = calibrate_keeping(
        model, data, method, batch_size=batch_size, steps=steps, verbose=verbose, others=others
    )
    correct(flavor, model, first, verbose=verbose)
    return model


def calibrate_keeping(
    model: Model,
    data: object,
    method: object = "auto",
    *,
    batch_size: int = 32,
    steps: int | None = None,
    verbose: int = 1,
    name: str = "data",
    others: Sequence[Statistics] = (),
) -> list[Any]:
    """The ranges of `calibrate`; returns the first batches of inputs, for data may be read once only."""
    flavor, chosen, first = check_model(model), calibrator(method), FirstBatches()
    owners = owners_of(flavor, model)
    if not owners and not corrected(flavor, model):
        raise ModelError(
            f"Model {model.name!r} has no quantised activation. Call `keras_trt.quantize_model(model)` first."
        )
    items = batches(flavor, model, data, batch_size, steps, name=name)
    if not owners:  # weights only, whose biases the rows will correct
        for batch in items:
            if not first.add(flavor, batch):
                break
        return first.batches
    total = length(data, batch_size, steps)
    seen, peak = seen_in(flavor, model, owners, items, total, first, verbose)
    merge(tensors_of(owners), seen.values(), others)
    check_finite(seen, owners)
    peak = max(peak, *(other.peak for other in others)) if others else peak
    reached = [(*owners[key], histogram) for key, histogram in seen.items() if histogram.total]
    alive, dead = ([each for each in reached if bool(each[-1].largest) is lives] for lives in (True, False))
    _check_dead(dead, len(reached), peak)
    ranges = _ranges(flavor, model, chosen, first.batches, verbose, alive)
    _set_ranges(flavor, ranges, dead)  # a layer that the call never reaches keeps its range
    return first.batches


def _check_dead(dead: list[Reached], count: int, peak: float) -> None:
    """Refuses data, of largest magnitude `peak`, that makes too many of `count` quantised tensors zero."""
    if dead and (peak == 0 or (peak >= NORMAL and len(dead) > _NEARLY_ALL * count)):
        raise InputError(
            f"The calibration data makes {len(dead)} of {count} quantised tensors zero, so it says nothing "
            f"of their ranges (layers {_names(dead)}). Received: data of largest magnitude {peak:.3g}. Give "
            "data like that used in practice; look at what the loader returns."
        )


def _set_ranges(flavor: Flavor, ranges: list[tuple[Any, float]], dead: list[Reached]) -> None:
    """Sets ranges; a quantiser whose tensor was zero throughout gets the middle one if it has none yet."""
    middle = statistics.median(amax for _, amax in ranges) if ranges else 1.0
    unknown = [(q, middle) for _, q, _ in dead if not float(flavor.array(q.amax))]
    for quantizer, amax in ranges + unknown:
        quantizer.set_range(amax)
    if dead:
        warnings.warn(
            f"Zero in all of the calibration data: the input of {_names(dead)}. A range known before stays; "
            f"another becomes {middle:.3g}, as the model's other ranges are. Give data that reaches these "
            "layers, name them in `skip`, or set their `ranges`.",
            stacklevel=3,
        )


def _ranges(
    flavor: Flavor, model: Model, chosen: object, batches: list[Any], verbose: Any, reached: list[Reached]
) -> list[tuple[Any, float]]:
    """The quantisers with the ranges that a calibrator finds, or by error the best of those of several."""
    if not isinstance(chosen, Auto):
        return [(q, _range(chosen, path, seen)) for path, q, seen in reached]
    candidates = []
    for path, quantizer, seen in reached:
        amaxes = np.array([_range(each, path, seen) for each in chosen.candidates], np.float32)
        candidates.append(Candidates(quantizer, seen.tensor, amaxes, seen.error(amaxes)))
    best = least_error(flavor, model, candidates, batches, verbose)
    return [(each.quantizer, float(each.ranges[i])) for each, i in zip(candidates, best, strict=True)]


def _range(chosen: Any, path: str, histogram: Histogram) -> float:
    """What a calibrator, which may be the user's own, finds."""
    amax = float(chosen.amax(histogram))
    if not (math.isfinite(amax) and amax > 0):
        raise InputError(
            f"A range is a finite number > 0. Received: {amax} from {chosen!r}, for the input of {path!r}."
        )
    return amax


def _names(dead: list[Reached], most: int = 5) -> str:
    names = {path for path, _, _ in dead}
    listed = ", ".join(map(repr, sorted(names)[:most]))
    return listed if len(names) <= most else f"{listed} and {len(names) - most} more"
