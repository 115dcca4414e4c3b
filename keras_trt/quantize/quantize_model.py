"""From a float model to one that trains and predicts on TensorRT's int8 grid."""

from __future__ import annotations

import difflib
import itertools
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from keras_trt._arguments import check_mapping, check_names, check_verbose
from keras_trt._keras.flavor import Flavor
from keras_trt._keras.graph import kind_of, layer_graph
from keras_trt._keras.in_place import trace_anew
from keras_trt._keras.kernels import input_width, kernels_of
from keras_trt._keras.masks import masking
from keras_trt._keras.select import check_choices, located, selected
from keras_trt._keras.types import Choices, Layer, M, Model
from keras_trt._say import say
from keras_trt.data.batches import check_data
from keras_trt.data.source import is_arrays
from keras_trt.errors import InputError, ModelError
from keras_trt.placement.decision import Decision
from keras_trt.placement.layer_kinds import ATTENTION, CELLS, LOOP_REASON
from keras_trt.placement.placement import only_where_read, place, place_alone, under_scheme
from keras_trt.placement.schemes import schemes_by_choice
from keras_trt.quantize.calibrate import calibrate_keeping
from keras_trt.quantize.calibrators import calibrator
from keras_trt.quantize.costs.expectation import Expectation, check_sqnr, expect
from keras_trt.quantize.in_place import quantizing
from keras_trt.quantize.inventory import activation_quantizers, quantizers_of, twins
from keras_trt.quantize.recovery import NAMES
from keras_trt.quantize.recovery.correction import correct, corrected, places
from keras_trt.quantize.recovery.equalization import equalized
from keras_trt.quantize.unknown_kernels import unknown_kernels, way_to_register
from keras_trt.reports import Report
from keras_trt.tfmot.accept import accept
from keras_trt.twins.attention import computes_by_keras
from keras_trt.twins.containers import mark_containers
from keras_trt.twins.einsum_dense import is_product
from keras_trt.twins.twins import (
    LayerScheme,
    float_class,
    is_silent,
    is_twin,
    leave_float,
    quantize_layer,
    set_silent,
    spared_because,
)

LEFT_OUT = "left out by `only` or `skip`"
EINSUM_REASON = "no one product: its equation has a matrix for each index of an axis of the input"
OWN_ATTENTION_REASON = "its class computes attention in its own way: its layers are quantised one by one"
KERAS_REASON = "Keras's own `quantize` has replaced its weights; quantise the float model here instead"
NOTHING_LEFT = (
    "No layer of {name!r} computes in int8: each costs the outputs too much (`min_sqnr={floor:g}`), "
    "and `report(model)` says why. Normalise inputs and branches whose channels differ much in size, "
    "or quantise all with `min_sqnr=None` and train the result with `fit`."
)
EMBEDDING_REASON = "weights only, as `only` names it; the engine looks up float numbers on the grid"


def quantize_model(
    model: M,
    scheme: object = "int8",
    *,
    calibration_data: object = None,
    method: object = "auto",
    only: Choices | None = None,
    skip: Choices = (),
    ranges: Mapping[str, float] | None = None,
    copy: bool = True,
    min_sqnr: float | None = 30.0,
    recover: object = "auto",
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
        ranges: {layer name or path: amax} set by hand; these ranges are not moved by training.
        copy: False changes the model itself and returns it: without a second set of weights in memory,
            compiled as it is, and for models that cannot be copied. After an error it is as it was.
        min_sqnr: How much of the outputs must be left, as the ratio of signal to rounding noise in dB on the
            first rows of the data. Below it, layers that int8 costs most are left in float, one by one, as
            long as each gains 1 dB; `report` says which and why. None, or `only`, leaves none.
        recover: What is done about the accuracy that rounding costs, with the calibration data and without
            training: `"auto"`, which is all, None, or a tuple of names. `"equalization"` makes the channels
            of an activation alike in size where the weights around it can take that in, `"smooth_quant"` does
            so behind normalisations; both change weights, and not what the float model computes.
            `"bias_correction"` takes back in the biases by how much rounding moves the mean of each output
            channel, `"gain_correction"` in the scales of the weights by how much it makes a channel larger or
            smaller.
        verbose: 1 shows progress while calibrating, and what is expected of the result.

    Returns:
        A new model of the same Keras, not compiled; with `copy=False` the model itself.

    Raises:
        ModelError: The model is not built, or no layer of it can be quantised.
        InputError: A choice, a range or the data does not fit the model.

    Warns:
        UserWarning: Every layer is left in float, for each costs too much.

    Example:
        >>> quantized = quantize_model(model, calibration_data=x_train[:256])
        >>> quantized.compile("adam", "sparse_categorical_crossentropy")
        >>> quantized.fit(x_train, y_train, epochs=2)
    """
    flavor, plain, _ = accept(model, in_place=not copy)
    check_verbose(verbose)
    check_sqnr(min_sqnr)
    ranges = check_mapping(ranges, "ranges")
    wanted = check_names(recover, NAMES, "recover")
    if calibration_data is not None:
        check_data(calibration_data, name="calibration_data")
    schemes_by_choice(scheme)  # wrong names are refused before anything is copied
    calibrator(method)
    with nullcontext(masking.clone(flavor, plain)) if copy else quantizing(flavor, plain, scheme) as new:
        only, skip = (located(flavor, plain, choice, new) for choice in (only, skip))
        if isinstance(scheme, Mapping):
            scheme = {located(flavor, plain, choice, new): named for choice, named in scheme.items()}
        convert(flavor, new, scheme, only, skip, recover=wanted)
        for _, layer in flavor.walk(new):
            if is_silent(layer):  # a callback has left it so
                set_silent(layer, False)
        set_ranges(flavor, new, ranges)
        if calibration_data is not None and (
            any(activation_quantizers(flavor, new)) or corrected(flavor, new)
        ):
            with equalized(flavor, new, calibration_data, wanted, verbose) as data:
                measure = partial(set_from_data, flavor, new, method=method, ranges=ranges, recover=wanted)
                leave = partial(spare, flavor, new, scheme=scheme, skip=skip)
                _fit(flavor, new, data, measure, leave, min_sqnr if only is None else None, verbose)
    return new


def plan_quantization(
    model: Model, scheme: object = "int8", *, only: Choices | None = None, skip: Choices = ()
) -> Report:
    """What `quantize_model` with these arguments would do, layer by layer, without doing it.

    Args:
        model: A built Keras 3 or tf_keras model; it is not changed.
        scheme: As in `quantize_model`.
        only: As in `quantize_model`.
        skip: As in `quantize_model`.

    Returns:
        A report with the columns layer, kind, inputs, kernels, scheme, reason.
    """
    flavor, model, _ = accept(model)
    decisions = decide(flavor, model, scheme, only, skip)
    count = sum(d.quantized for d in decisions.values())
    title = f"Plan of {model.name}: {count} of {len(decisions)} layers quantised"
    return Report(title, tuple(decision_row(d) for d in decisions.values()))


def decision_row(decision: Decision) -> dict[str, Any]:
    """A decision as a row of a report."""
    return {
        "layer": decision.path,
        "kind": decision.kind,
        "inputs": ", ".join([*map(str, decision.inputs), *(["inner"] if decision.inner else [])]),
        "kernels": ", ".join(decision.kernels),
        "scheme": decision.scheme.name if decision.scheme else "",
        "reason": decision.reason,
    }


def decide(
    flavor: Flavor, model: Model, scheme: object = "int8", only: Choices | None = None, skip: Choices = ()
) -> dict[str, Decision]:
    """The decision for every layer of a model, by path."""
    layers = list(flavor.walk(model))
    only, skip = (located(flavor, model, choice) for choice in (only, skip))
    choices = [(located(flavor, model, choice), named) for choice, named in schemes_by_choice(scheme)]
    check_choices(layers, only, skip)
    check_choices(layers, scheme=[choice for choice, _ in choices if choice is not None])
    graph = layer_graph(flavor, model)
    placed = place(graph) if graph is not None else {}
    loops = tuple(f"{path}/" for path, layer in layers if isinstance(layer, flavor.keras.layers.RNN))
    decisions = {}
    for path, layer in layers:
        decision = placed.get(path) or _alone(flavor, path, layer)
        if decision.kind == "Embedding" and (only is not None or _is_quantized(layer)):
            decision = Decision(path, decision.kind, (), ("embeddings",), EMBEDDING_REASON)
        if getattr(layer, "quantization_mode", None):
            decision = Decision(path, decision.kind, reason=KERAS_REASON)
        elif decision.kernels and decision.kind == "EinsumDense" and not is_product(layer.equation):
            decision = Decision(path, decision.kind, reason=EINSUM_REASON)
        elif decision.inner and decision.kind in ATTENTION and not computes_by_keras(float_class(layer)):
            decision = Decision(path, decision.kind, reason=OWN_ATTENTION_REASON)
        if decision.quantized and path.startswith(loops) and decision.kind not in CELLS:
            decision = Decision(path, decision.kind, reason=LOOP_REASON)
        if decision.quantized and not selected(path, layer, only, skip):
            decision = Decision(path, decision.kind, reason=LEFT_OUT)
        if decision.quantized and only is None and (spared := spared_because(layer)):
            decision = Decision(path, decision.kind, reason=spared)
        wanted = next((s for choice, s in choices if selected(path, layer, choice)), None)
        if wanted is None:
            decision = Decision(path, decision.kind, reason="no scheme is chosen for it")
        else:
            widths = tuple(input_width(layer, name) for name in decision.kernels)
            decision = under_scheme(decision, wanted, widths)
        decisions[path] = decision
    if graph is None or only is not None:  # what `only` names is wanted, alone or not
        return decisions
    standing = {path: layer.quantization.inputs for path, layer in layers if _is_quantized(layer)}
    return only_where_read(graph, decisions, standing)


def convert(
    flavor: Flavor,
    model: Model,
    scheme: object = "int8",
    only: Choices | None = None,
    skip: Choices = (),
    recover: Sequence[str] = (),
) -> dict[str, Decision]:
    """Swaps the layers of a model for their twins, in place; layers that are twins already stay.

    Args:
        flavor: The model's Keras.
        model: A model.
        scheme: As in `quantize_model`.
        only: As in `quantize_model`.
        skip: As in `quantize_model`.
        recover: The corrections that the new twins have a place for, of `correction.NAMES`.

    Raises:
        ModelError: No layer can be quantised.
    """
    decisions = decide(flavor, model, scheme, only, skip)
    if not any(d.quantized for d in decisions.values()):
        last_first = reversed(decisions.values())
        reasons = {d.reason: f"{d.path} ({d.kind}): {d.reason}" for d in last_first if d.kind != "InputLayer"}
        ways = [
            way_to_register(layer, kernels)
            for _, layer in flavor.walk(model)
            if (kernels := unknown_kernels(layer))
        ]
        raise ModelError(
            f"No layer of model {model.name!r} can be quantised. Received: {'; '.join(reasons.values())}."
            + (f" Tell the library about custom layers: {'; '.join(dict.fromkeys(ways))}." if ways else "")
        )
    for path, layer in list(flavor.walk(model)):
        decision = decisions.get(path)
        if decision is None or decision.scheme is None:
            continue
        if not _is_quantized(layer):
            shift, gain = places(layer, decision.kernels, recover)
            formats = decision.inputs, decision.kernels, decision.inner, decision.scheme
            own = LayerScheme(*formats, shift=shift, gain=gain)
            quantize_layer(layer, own)
    mark_containers(flavor, model)
    trace_anew(flavor, model)
    return decisions


def set_from_data(
    flavor: Flavor,
    model: Model,
    data: Any,
    *,
    method: Any,
    ranges: Mapping[str, float],
    recover: Sequence[str] = NAMES,
    verbose: Any,
) -> list[Any]:
    """Sets ranges from data and by hand, then the corrections; returns the first batches of inputs.

    A model that has been quantised before may have corrections that `recover` lacks: they become none.
    """
    batches = calibrate_keeping(model, data, method, verbose=verbose, name="calibration_data")
    set_ranges(flavor, model, ranges)
    correct(flavor, model, batches, recover, verbose=verbose)
    return batches


def _fit(
    flavor: Flavor,
    model: Model,
    data: object,
    measure: Callable[..., list[Any]],
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
        again = data if is_arrays(data) else [(x,) for x in batches]
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
    measure: Callable[[], Any],
) -> Expectation:
    """Leaves in float what is expected to cost too much; what the model then keeps.

    Behind a layer that rounds no more the tensors have other ranges: the last one is judged by those.
    """
    spared = dict(expected.spared)
    if len(spared) == sum(layer.quantization.own for _, layer in twins(flavor, model)) > 1:
        spared.popitem()
    leave(spared)
    after = Expectation(expected.rows)
    if any(activation_quantizers(flavor, model)):
        measure()
        after = expect(flavor, model, batch, expected.floor if spared != expected.spared else None)
        if after.spared:
            leave(after.spared)
    if not any(activation_quantizers(flavor, model)):
        warnings.warn(NOTHING_LEFT.format(name=model.name, floor=expected.floor), stacklevel=3)
    return replace(after, spared=spared | after.spared, floor=expected.floor)


def spare(flavor: Flavor, model: Model, reasons: Mapping[str, str], scheme: object, skip: Choices) -> None:
    """Leaves quantised layers in float, in place, and with them those that only served them.

    Args:
        flavor: The model's Keras.
        model: A quantised model.
        reasons: Why, by path.
        scheme: As the model was quantised with.
        skip: As the model was quantised with.
    """
    for path, layer in list(flavor.walk(model)):
        if path in reasons:
            leave_float(layer, reasons[path])
    decisions = decide(flavor, model, scheme, skip=skip)
    for path, layer in list(flavor.walk(model)):
        if _is_quantized(layer) and not decisions[path].quantized:
            leave_float(layer, decisions[path].reason)
    mark_containers(flavor, model)
    trace_anew(flavor, model)


def set_ranges(flavor: Flavor, model: Model, ranges: Mapping[str, float]) -> None:
    """Sets activation ranges by hand and holds them there; a name counts for all layers that have it."""
    if not isinstance(ranges, Mapping):
        raise InputError(f"`ranges` maps layers to their largest magnitudes. Received: ranges={ranges!r}")
    layers = {path: layer for path, layer in flavor.walk(model) if is_twin(layer)}
    rounding = {path: quantizers for path, layer in layers.items() if (quantizers := quantizers_of(layer))}
    for name, amax in ranges.items():
        if not (isinstance(amax, (int, float, np.number)) and 0 < amax < math.inf):
            raise InputError(f"A range is a largest magnitude > 0. Received: ranges={{{name!r}: {amax!r}}}.")
        named = [path for path in rounding if path == name] or [p for p in rounding if layers[p].name == name]
        if not named:
            close = difflib.get_close_matches(str(name), rounding, n=5, cutoff=0.5)
            raise InputError(
                f"`ranges` names a layer without quantised activations. Received: {name!r}. "
                f"Quantised layers: {', '.join(close or list(rounding)[:20]) or 'none'}."
            )
        for quantizer in itertools.chain.from_iterable(rounding[path] for path in named):
            quantizer.set_range(amax)
            quantizer.observe.assign(0.0)


def _alone(flavor: Flavor, path: str, layer: Layer) -> Decision:
    """The decision for a layer that the graph does not show (inside a custom or composite layer)."""
    children = [c for c in flavor.children(layer) if not flavor.is_quantizer(c)]
    kernels = tuple(kernel.name for kernel in kernels_of(layer))
    return place_alone(path, kind_of(flavor, layer), kernels, bool(children) and not kernels)


def _is_quantized(layer: Any) -> bool:
    return is_twin(layer) and layer.quantization.own


def left_float(flavor: Flavor, layer: Layer, decision: Decision, others: bool) -> str:
    """Why a layer is float, in a model that has been quantised (`others`) or not."""
    if decision.quantized:
        return LEFT_OUT if others else "can be quantised: call `quantize_model`"
    if kernels := unknown_kernels(layer):
        return f"no rule knows its weights; if it multiplies by them: {way_to_register(layer, kernels)}"
    return decision.reason or f"no rule for {float_class(layer).__name__}"
