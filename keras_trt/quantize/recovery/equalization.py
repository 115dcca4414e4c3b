"""Makes the channels of a tensor alike in size, where the layers around it can take that in.

One range serves all channels of an activation: one that is 60 times the others leaves them two steps. A
tensor is divided, channel by channel, where it is made, and its readers' kernels are multiplied: in float the
model computes what it did, to rounding. Behind a layer with weights that is the equalisation of activation
ranges (Nagel et al. 2019, "Data-Free Quantization Through Weight Equalization and Bias Correction"); behind a
normalisation it is SmoothQuant (Xiao et al. 2023), whose exponent says how much of the difficulty goes to the
weights. The exponent is found here, for each group of tensors, by what its layers return; where none takes
two fifths of that error, nothing is changed. No exponent is judged by the rows that it was fitted on.

An activation that stops growing (ReLU6) stays as it is: channels are only enlarged, as far as the data shows
that they stay below the cap.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np

from keras_trt._base.say import say
from keras_trt._keras.calls.graphs import as_graphs
from keras_trt._keras.flavor import Flavor
from keras_trt._keras.types import Model, Variable
from keras_trt.data.first import read_first
from keras_trt.data.rows import can_take, count_rows, first_rows, take
from keras_trt.quantize.inventory import activation_quantizers, twins
from keras_trt.quantize.recovery.channel_factors import EXPONENTS, channel_factors, channel_maxima, in_float
from keras_trt.quantize.recovery.channel_groups import ChannelGroup, channel_groups
from keras_trt.quantize.recovery.equalized_error import equalized_errors
from keras_trt.twins.containers import mark_containers
from keras_trt.twins.quantizer import observing

EQUALIZATION, SMOOTH_QUANT = "equalization", "smooth_quant"
NAMES = (EQUALIZATION, SMOOTH_QUANT)
Written = tuple[Variable, np.ndarray]
"""A weight, and what it was before."""
_GAIN = 0.6  # of the error that is left: less is not worth another set of weights
_CLOSE = 1e-3  # of the largest output; float32 sums of deep networks differ by less


@contextmanager
def equalized(
    flavor: Flavor, model: Model, data: object, wanted: Sequence[str] = NAMES, verbose: int | bool | str = 0
) -> Iterator[object]:
    """Equalises the channels of a quantised model's tensors in its weights, until an error.

    Args:
        flavor: The model's Keras.
        model: A quantised model; ranges that it has do not fit afterwards.
        data: Calibration data (see `calibrate`).
        wanted: Out of `NAMES`: behind layers with weights, behind normalisations.
        verbose: Whether a line names the layers whose outputs were made alike.

    Yields:
        The data to go on with, for what can be read only once begins anew.
    """
    wanted = [name for name in wanted if name in NAMES]
    if not wanted or not any(activation_quantizers(flavor, model)):
        yield data
        return
    batches, data = read_first(flavor, model, data, name="calibration_data")
    with taken_back() as log:
        written, makers = equalize(flavor, model, batches, wanted)
        log.extend(written)
        mark_containers(flavor, model)
        if makers:
            names = ", ".join(makers)
            say(f"Equalised the channels of {names}: other weights, the same results in float.", verbose)
        yield data
        log.clear()


def equalize(
    flavor: Flavor, model: Model, batches: Sequence[object], wanted: Sequence[str] = NAMES
) -> tuple[list[Written], list[str]]:
    """Equalises the channels of a quantised model's tensors, in its weights.

    Args:
        flavor: The model's Keras.
        model: A quantised model; ranges that it has do not fit afterwards.
        batches: Inputs.
        wanted: Out of `NAMES`.

    Returns:
        The weights that were changed with what they were, and the paths of the layers whose outputs have
        other channels now.
    """
    first_row = next(first_rows(flavor, model, batches, 1, fewest=1))
    groups = [group for group in channel_groups(flavor, model, first_row) if _name(group) in wanted]
    if not groups:
        return [], []
    fitted, judged = _halves(flavor, model, batches)
    first = channel_maxima(flavor, model, groups, fitted)
    second = channel_maxima(flavor, model, groups, judged)
    if not all(np.isfinite(each).all() for each in (*first.values(), *second.values())):
        return [], []  # the calibration says which layer, and why
    candidates = [[channel_factors(group, each, first) for group in groups] for each in EXPONENTS]
    errors = equalized_errors(flavor, model, groups, candidates, first, judged)
    largest = {key: np.maximum(first[key], second[key]) for key in first}
    changed = [
        (group, channel_factors(group, EXPONENTS[best], largest))
        for group, best in zip(groups, _best(errors), strict=True)
        if best
    ]
    return _written(flavor, model, changed, next(first_rows(flavor, model, batches, 2**16, fewest=2)))


def _name(group: ChannelGroup) -> str:
    kinds = {sides.kind for sides in group.makers.values()}
    normalised = any(kind.endswith("Normalization") and kind != "BatchNormalization" for kind in kinds)
    return SMOOTH_QUANT if normalised else EQUALIZATION


def _halves(flavor: Flavor, model: Model, batches: Sequence[object]) -> tuple[list[Any], list[Any]]:
    """Rows to fit on, and others to judge by; the same where there are too few."""
    if len(batches) > 1:
        return list(batches[::2]), list(batches[1::2])
    middle = count_rows(flavor, batches[0]) // 2
    if not middle or not can_take(flavor, model, batches[0]):
        return list(batches), list(batches)
    halves = slice(middle), slice(middle, None)
    first, second = ([take(flavor, batches[0], rows)] for rows in halves)
    return first, second


def _best(errors: np.ndarray) -> list[int]:
    """The exponent's number for each group; 0, which leaves it as it is, where none gains enough."""
    errors = np.nan_to_num(errors, nan=np.inf)
    best = np.argmin(errors, axis=0)
    return [int(i) if errors[i, g] < _GAIN * errors[0, g] else 0 for g, i in enumerate(best)]


def _written(
    flavor: Flavor, model: Model, changed: Sequence[tuple[ChannelGroup, np.ndarray]], rows: object
) -> tuple[list[Written], list[str]]:
    """Writes the factors into the weights, but of groups with which the model computes something else."""
    outputs = _float_outputs(flavor, model, rows)
    before = outputs()

    def held(groups: Sequence[tuple[ChannelGroup, np.ndarray]]) -> list[Written]:
        with taken_back() as log:
            for group, factors in groups:
                log.extend(_write(flavor, group, factors))
            written = list(log)
            if _alike(before, outputs()):
                log.clear()
                return written
        return []

    together = held(changed)
    alone = [(group, held([(group, factors)])) for group, factors in changed] if not together else []
    groups = [group for group, _ in changed] if together else [group for group, written in alone if written]
    readers = {path for group in groups for path in group.readers}
    for path, layer in twins(flavor, model):
        if path in readers and layer.quantization.own:
            layer.quantization = replace(layer.quantization, equalized=True)
    written = together + [each for _, own in alone for each in own]
    return written, [path for group in groups for path in group.makers]


@contextmanager
def taken_back() -> Iterator[list[Written]]:
    """A log of (variable, its value before); what is in it at the end, or at an error, is assigned again."""
    log: list[Written] = []
    try:
        yield log
    finally:
        for variable, value in reversed(log):
            variable.assign(value)


def _write(flavor: Flavor, group: ChannelGroup, factors: np.ndarray) -> Iterator[Written]:
    """Writes the factors of a group into the weights around it; yields each with its value before."""
    sides = [*(s.makes for s in group.makers.values()), *(s.reads for s in group.readers.values())]
    for factor in (each for side in sides for each in side):
        value = flavor.array(factor.variable)
        yield factor.variable, value
        factor.variable.assign(factor.taken_in(value, factors).astype(value.dtype))


def _float_outputs(flavor: Flavor, model: Model, rows: object) -> Callable[[], list[np.ndarray]]:
    """What computes the model's floating outputs in float, with the weights that it has at the time."""
    tf = flavor.tf

    def run(batch: object) -> list[Any]:
        with observing(lambda quantizer, x: None, in_float, corrected=False):
            outputs = tf.nest.flatten(model(batch, training=False), expand_composites=True)
        return [y for y in map(tf.convert_to_tensor, outputs) if y.dtype.is_floating]

    graphs = as_graphs(flavor, run)
    return lambda: [y.numpy().astype(np.float64) for y in graphs(rows)]


def _alike(before: list[np.ndarray], after: list[np.ndarray]) -> bool:
    return all(
        bool(np.all(np.abs(a - b) <= _CLOSE * np.abs(a).max(initial=0.0)) or not a.size)
        for a, b in zip(before, after, strict=True)
    )
