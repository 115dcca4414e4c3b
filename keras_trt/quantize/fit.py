"""What a quantised model takes from data: ranges, corrections, and which layers are better left in float."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from keras_trt._base.say import say
from keras_trt._keras.flavor import Flavor
from keras_trt._keras.types import Model
from keras_trt.data.rows import Batches
from keras_trt.data.source import is_arrays
from keras_trt.quantize.calibrate import calibrate_keeping
from keras_trt.quantize.convert import set_ranges
from keras_trt.quantize.costs.budget import Budget, first_outputs, left_by_budget
from keras_trt.quantize.costs.expectation import PICKS, Expectation, expect
from keras_trt.quantize.inventory import activation_quantizers, twins
from keras_trt.quantize.recovery import NAMES
from keras_trt.quantize.recovery.correction import correct, corrected

NOTHING_LEFT = (
    "No layer of {name!r} computes in int8: each costs the outputs too much (`min_sqnr={floor:g}`), "
    "and `report(model)` says why. Normalise inputs and branches whose channels differ much in size, "
    "or quantise all with `min_sqnr=None` and train the result with `fit`." + PICKS
)
NOTHING_WITHIN = (
    "No layer of {name!r} computes in int8: none is within `max_drop={drop:g}`. Allow more, or quantise all "
    "without it and train the result with `fit`."
)


def fit(
    flavor: Flavor,
    model: Model,
    data: object,
    measure: Callable[..., list[object]],
    leave: Callable[[Mapping[str, str]], None],
    goal: Budget | float | None,
    verbose: int,
) -> None:
    """Sets what a quantised model takes from data, and leaves in float what costs too much.

    Args:
        flavor: The model's Keras.
        model: A quantised model.
        data: Calibration data.
        measure: Sets ranges and corrections from data; returns the first batches of inputs.
        leave: Leaves layers in float, given with the reasons.
        goal: A budget, the ratio of signal to noise in dB that the outputs keep, or None for neither.
        verbose: Whether a line says what became of it.
    """
    if isinstance(goal, Budget):
        _fit_to_budget(flavor, model, data, measure, leave, goal, verbose)
    else:
        _fit_to_floor(flavor, model, data, measure, leave, goal, verbose)


def _fit_to_budget(
    flavor: Flavor,
    model: Model,
    data: object,
    measure: Callable[..., list[object]],
    leave: Callable[[Mapping[str, str]], None],
    budget: Budget,
    verbose: int,
) -> None:
    """Sets what a quantised model takes from data, and leaves in float what the budget does not allow.

    Behind a layer that rounds no more the tensors have other ranges: what is left is judged once more.
    """
    batches, spared = list(budget.batches), list[str]()
    if any(activation_quantizers(flavor, model)) or corrected(flavor, model):
        batches = measure(data, verbose=verbose)
    again = data if is_arrays(data) else Batches(batches)
    while any(layer.quantization.own for _, layer in twins(flavor, model)):
        more = left_by_budget(flavor, model, budget, spared)
        if not more:
            break
        leave(more)
        spared += more
        if any(activation_quantizers(flavor, model)):
            measure(again, verbose=0)
    else:
        warnings.warn(NOTHING_WITHIN.format(name=model.name, drop=budget.max_drop), stacklevel=3)
    after = budget.after(first_outputs(flavor, model))
    left = f"; left in float: {', '.join(spared)}" if spared else ""
    say(
        f"Budget: {budget.score.name} is {after:.4g} quantised and {budget.before:.4g} in float "
        f"(`max_drop={budget.max_drop:g}`){left}.",
        verbose,
    )


def set_from_data(
    flavor: Flavor,
    model: Model,
    data: object,
    *,
    method: object,
    ranges: Mapping[str, float],
    recover: Sequence[str] = NAMES,
    verbose: int,
) -> list[Any]:
    """Sets ranges from data and by hand, then the corrections; returns the first batches of inputs.

    A model that has been quantised before may have corrections that `recover` lacks: they become none.
    """
    batches = calibrate_keeping(model, data, method, verbose=verbose, name="calibration_data")
    set_ranges(flavor, model, ranges)
    correct(flavor, model, batches, recover, verbose=verbose)
    return batches


def _fit_to_floor(
    flavor: Flavor,
    model: Model,
    data: object,
    measure: Callable[..., list[object]],
    leave: Callable[[Mapping[str, str]], None],
    floor: float | None,
    verbose: int,
) -> None:
    """Sets what a quantised model takes from data, and leaves in float what costs too much."""
    batches = measure(data, verbose=verbose)
    if not any(activation_quantizers(flavor, model)) or not (verbose or floor is not None):
        return
    expected = expect(flavor, model, batches[0], floor, shown=3 if verbose else 0)
    if expected.spared:
        again = data if is_arrays(data) else Batches(batches)
        expected = _left_costly(
            flavor, model, batches[0], expected, leave, partial(measure, again, verbose=0)
        )
    say(expected, verbose)


def _left_costly(
    flavor: Flavor,
    model: Model,
    batch: object,
    expected: Expectation,
    leave: Callable[[Mapping[str, str]], None],
    measure: Callable[[], object],
) -> Expectation:
    """Leaves in float what is expected to cost too much; what the model then keeps.

    Behind a layer that rounds no more the tensors have other ranges: the last one is judged by those.
    """
    spared = dict(expected.spared)
    if len(spared) == sum(layer.quantization.own for _, layer in twins(flavor, model)) > 1:
        spared.popitem()
    leave(spared)
    after = Expectation(expected.rows)
    if any(layer.quantization.own for _, layer in twins(flavor, model)):  # recurrent ones round weights alone
        if any(activation_quantizers(flavor, model)):
            measure()
        after = expect(flavor, model, batch, expected.floor if spared != expected.spared else None)
        if after.spared:
            leave(after.spared)
    if not any(activation_quantizers(flavor, model)):
        warnings.warn(NOTHING_LEFT.format(name=model.name, floor=expected.floor), stacklevel=3)
    return replace(after, spared=spared | after.spared, floor=expected.floor)
