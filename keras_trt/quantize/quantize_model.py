"""From a float model to one that trains and predicts on TensorRT's int8 grid."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path

from keras_trt._base.arguments import check_mapping, check_verbose
from keras_trt._keras.flavor import Flavor
from keras_trt._keras.masks import masking
from keras_trt._keras.types import Choices, M, Model
from keras_trt.data.batches import check_data
from keras_trt.data.cache import Cache, chunks_of
from keras_trt.data.rows import Batches
from keras_trt.errors import InputError
from keras_trt.placement.schemes import schemes_by_choice
from keras_trt.placement.shape_rules import DEFAULT
from keras_trt.quantize.calibrators import calibrator
from keras_trt.quantize.convert import convert, set_ranges, spare
from keras_trt.quantize.costs.budget import Budget, budget_of, is_within
from keras_trt.quantize.costs.expectation import check_sqnr
from keras_trt.quantize.decide import check_placement, say_changed
from keras_trt.quantize.first_call import call_first
from keras_trt.quantize.fit import fit, set_from_data
from keras_trt.quantize.in_place import quantizing
from keras_trt.quantize.inventory import activation_quantizers
from keras_trt.quantize.recipes.follow import follow_recipe, matched
from keras_trt.quantize.recipes.recipe import Recipe, read_recipe
from keras_trt.quantize.recipes.request import Request
from keras_trt.quantize.recovery import recoveries
from keras_trt.quantize.recovery.correction import corrected
from keras_trt.quantize.recovery.equalization import equalized
from keras_trt.quantize.recovery.rounding.adaround import ADAROUND, rounded
from keras_trt.tfmot.accept import accept
from keras_trt.twins.twins import is_silent, set_silent


def quantize_model(
    model: M,
    scheme: object = "int8",
    *,
    calibration_data: object = None,
    method: object = "auto",
    only: Choices | None = None,
    skip: Choices = (),
    placement: str = DEFAULT,
    ranges: Mapping[str, float] | None = None,
    copy: bool = True,
    min_sqnr: float | None = 30.0,
    recover: object = "auto",
    data: object = None,
    max_drop: float | None = None,
    metric: object = None,
    cache: str | Path | None = None,
    recipe: object = None,
    verbose: int = 1,
) -> M:
    """Returns a copy of a model with int8 fake quantisation where TensorRT computes in int8.

    The copy has the same layers, names and weights; it compiles, fits, saves and loads like any model.
    Layers that cannot gain stay float; `report(model)` says which and why.

    Args:
        model: A built Keras 3 or tf_keras model; it is not changed, unless `copy=False`.
        scheme: `"int8"`, `"int8-weights"`, `"fp8"`, `"int4-weights"`, a `Scheme`, or a mapping of layer
            choices (as for `only`) to schemes, of which the first that matches a layer counts.
        calibration_data: Data to set the activation ranges from (see `calibrate`), where there are any.
            Without it they come from the first training batches.
        method: How ranges are found from the data (see `calibrate`).
        only: Layers to quantise: names, paths, classes, regular expressions or callables. All but Embedding,
            when None.
        skip: Layers to leave float, given the same way.
        placement: `"tensorrt"` leaves products in float that NVIDIA's own quantiser leaves out as slower in
            int8 or fp8: vectors, matrices and convolutions of few channels, long attention
            (docs/tensorrt.md has the table); `plan` says which and why. `"all"` quantises them too, and so
            does `only` what it names.
        ranges: {layer name or path: amax} set by hand; these ranges are not moved by training.
        copy: False changes the model itself and returns it: without a second set of weights in memory,
            compiled as it is, and for models that cannot be copied. After an error it is as it was.
        min_sqnr: How much of the outputs must be left, as the ratio of signal to rounding noise in dB on the
            first rows of the data. Below it, layers that int8 costs most are left in float, one by one, as
            long as each gains 1 dB; `report` says which and why. None, or `only`, leaves none.
        recover: What is done about the accuracy that rounding costs, with the calibration data and without
            training: `"auto"`, which is all but the last, None, or a tuple of names. `"equalization"` makes
            the channels of an activation alike in size where the weights around it can take that in,
            `"smooth_quant"` does so behind normalisations; both change weights, and not what the float model
            computes.
            `"bias_correction"` takes back in the biases by how much rounding moves the mean of each output
            channel, `"gain_correction"` in the scales of the weights by how much it makes a channel larger or
            smaller. `"adaround"` rounds each weight up or down by what its layer returns, which int4 weights
            gain most from; it takes seconds a layer, and a budget that it would exceed takes it back.
        data: Inputs, or inputs and targets, that `max_drop` is kept on: arrays or batches of pairs, all of
            which are held in memory. Ranges are set from its inputs where no `calibration_data` is given.
        max_drop: By how much the metric on `data` may be worse than in float. The layers that int8 costs most
            are left in float, those with the fewest multiply-accumulates that are enough; `min_sqnr` does not
            count then.
        metric: `"accuracy"` (also when None, with targets), another name or object of Keras's metrics, or a
            function of (targets, predictions), larger being better; the first output is measured. Without
            targets `"kl"`, the mean divergence of the outputs from float in nats, or None, the mean squared
            change of the outputs over their variance.
        cache: A JSON file for what `max_drop` measures: with the same model, data and options nothing that it
            holds is measured again, so a search that was interrupted goes on. All data must be arrays.
        recipe: A `Recipe`, or the file of one, of a model with the same layers: formats, layers left in float
            and recoveries are its own, and so are the ranges where there is no `calibration_data`. Names that
            Keras has numbered may have other numbers (`conv2d` and `conv2d_5`).
        verbose: 1 shows progress while calibrating, and what is expected of the result.

    Returns:
        A new model of the same Keras, not compiled; with `copy=False` the model itself.

    Raises:
        ModelError: The model is not built, or no layer of it can be quantised.
        InputError: A choice, a range or the data does not fit the model.

    Warns:
        UserWarning: Every layer is left in float, for each costs too much.

    Example:
        >>> quantized = keras_trt.quantize_model(model, calibration_data=x_train[:256])
        >>> quantized.compile("adam", "sparse_categorical_crossentropy")
        >>> quantized.fit(x_train, y_train, epochs=2)
    """
    flavor, plain, _ = accept(model, in_place=not copy)
    check_verbose(verbose)
    check_sqnr(min_sqnr)
    request = Request(
        scheme=scheme,
        only=only,
        skip=skip,
        placement=check_placement(placement),
        ranges=check_mapping(ranges, "ranges"),
        method=method,
        recover=recoveries(flavor, recover),
        goal=min_sqnr if only is None else None,
    )
    if recipe is not None:
        alone = only is None and not skip and scheme == "int8" and max_drop is None
        has_data = calibration_data is not None
        request = request.by_recipe(_checked(flavor, plain, recipe, alone, has_data), has_data)
    if max_drop is not None:
        chunks = chunks_of(flavor, plain, (data, calibration_data), metric, request.options)
        budget = budget_of(flavor, plain, data, metric, max_drop, Cache(cache, chunks))
        calibration_data = Batches(budget.batches) if calibration_data is None else calibration_data
        request = replace(request, goal=budget)
    else:
        _check_no_budget(data, metric, cache)
    if calibration_data is not None:
        check_data(calibration_data, name="calibration_data")
        calibration_data = call_first(flavor, plain, calibration_data, name="calibration_data")
    schemes_by_choice(request.scheme)  # wrong names are refused before anything is copied
    calibrator(method)
    made = nullcontext(masking.clone(flavor, plain)) if copy else quantizing(flavor, plain, request.scheme)
    with flavor.strategy_scope(plain), made as new:
        request = request.to(flavor, plain, new)
        _convert(flavor, new, request, verbose)
        if calibration_data is not None:
            _set_from_data(flavor, new, request, calibration_data, verbose)
    return new


def _convert(flavor: Flavor, model: Model, request: Request, verbose: int) -> None:
    """Makes the layers quantised ones, with the ranges that need no data."""
    decisions = convert(
        flavor,
        model,
        request.scheme,
        request.only,
        request.skip,
        recover=request.recover,
        placement=request.placement,
    )
    say_changed(decisions, verbose)
    _switch_on(flavor, model)
    if request.recipe is not None:
        follow_recipe(flavor, model, request.recipe)
    set_ranges(flavor, model, request.ranges)


def _set_from_data(flavor: Flavor, model: Model, request: Request, data: object, verbose: int) -> None:
    """Sets ranges and corrections from data, and leaves in float what costs too much."""
    budget = request.goal if isinstance(request.goal, Budget) else None
    measured = any(activation_quantizers(flavor, model)) or corrected(flavor, model) or budget is not None
    if not measured and ADAROUND not in request.recover:
        return
    measure = partial(
        set_from_data, flavor, model, method=request.method, ranges=request.ranges, recover=request.recover
    )
    leave = partial(spare, flavor, model, scheme=request.scheme, skip=request.skip)
    keeps = None if budget is None else partial(is_within, flavor, model, budget)
    with (
        equalized(flavor, model, data, request.recover, verbose) as rows,
        rounded(flavor, model, rows, request.recover, keeps, verbose) as rows,
    ):
        if measured:
            fit(flavor, model, rows, measure, leave, request.goal, verbose)


def _check_no_budget(*given: object) -> None:
    if any(each is not None for each in given):
        raise InputError(
            "`data` and `metric` say what `max_drop` is measured by, and `cache` keeps it. "
            "Received: no `max_drop`"
        )


def _checked(flavor: Flavor, model: Model, given: object, alone: bool, has_data: bool) -> Recipe:
    """The recipe, which nothing else may contradict."""
    if not alone:
        raise InputError(
            "A recipe says which layers are quantised and how. Received: `recipe` beside `scheme`, "
            "`only`, `skip` or `max_drop`"
        )
    return matched(flavor, model, read_recipe(given), has_data)


def _switch_on(flavor: Flavor, model: Model) -> None:
    """Quantises where a callback has left layers switched off."""
    for _, layer in flavor.walk(model):
        if is_silent(layer):
            set_silent(layer, False)
