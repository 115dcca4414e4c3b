"""Float layers become their twins, and twins float layers, inside a model."""

from __future__ import annotations

import difflib
import itertools
import math
from collections.abc import Mapping, Sequence

import numpy as np

from keras_trt._keras.flavor import Flavor
from keras_trt._keras.rebuilding.in_place import trace_anew
from keras_trt._keras.types import Choices, Model
from keras_trt.errors import InputError, ModelError
from keras_trt.placement.decision import Decision
from keras_trt.placement.shape_rules import DEFAULT
from keras_trt.quantize.decide import WAY_OUT, decide, is_own_twin, rounds_itself
from keras_trt.quantize.inventory import quantizers_of
from keras_trt.quantize.recovery.correction import places
from keras_trt.quantize.unknown_kernels import unknown_kernels, way_to_register
from keras_trt.twins.containers import mark_containers
from keras_trt.twins.twins import (
    LayerScheme,
    is_twin,
    leave_float,
    quantize_layer,
)


def convert(
    flavor: Flavor,
    model: Model,
    scheme: object = "int8",
    only: Choices | None = None,
    skip: Choices = (),
    recover: Sequence[str] = (),
    placement: str = DEFAULT,
) -> dict[str, Decision]:
    """Swaps the layers of a model for their twins, in place; layers that are twins already stay.

    Args:
        flavor: The model's Keras.
        model: A model.
        scheme: As in `quantize_model`.
        only: As in `quantize_model`.
        skip: As in `quantize_model`.
        recover: The corrections that the new twins have a place for, of `correction.NAMES`.
        placement: As in `quantize_model`; the new twins keep it.

    Raises:
        ModelError: No layer can be quantised.
    """
    decisions = decide(flavor, model, scheme, only, skip, placement)
    if not any(d.quantized for d in decisions.values()):
        last_first = reversed(decisions.values())
        reasons = {d.reason: f"{d.path} ({d.kind}): {d.reason}" for d in last_first if d.kind != "InputLayer"}
        by_shape = any(d.rule for d in decisions.values())
        ways = [
            way_to_register(layer, kernels)
            for _, layer in flavor.walk(model)
            if (kernels := unknown_kernels(layer))
        ]
        raise ModelError(
            f"No layer of model {model.name!r} can be quantised. Received: {'; '.join(reasons.values())}."
            + (f" {WAY_OUT}" if by_shape else "")
            + (f" Tell the library about custom layers: {'; '.join(dict.fromkeys(ways))}." if ways else "")
        )
    for path, layer in list(flavor.walk(model)):
        decision = decisions.get(path)
        if decision is None or decision.scheme is None:
            continue
        if not is_own_twin(layer):
            shift, gain = places(layer, decision.kernels, recover)
            formats = decision.inputs, decision.kernels, decision.inner, decision.scheme
            once = decision.scheme.weights == "int8" and rounds_itself(flavor, layer, decision)
            own = LayerScheme(*formats, shift=shift, gain=gain, placement=placement, self_rounding=once)
            quantize_layer(layer, own)
    mark_containers(flavor, model)
    trace_anew(flavor, model)
    return decisions


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
        if path in reasons and is_twin(layer):
            leave_float(layer, reasons[path])
    decisions = decide(flavor, model, scheme, skip=skip)
    for path, layer in list(flavor.walk(model)):
        if is_own_twin(layer) and not decisions[path].quantized:
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
            quantizer.hold()
