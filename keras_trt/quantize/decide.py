"""Which layers of a model are quantised and how, or why not."""

from __future__ import annotations

from typing import Any

from keras_trt._keras.flavor import Flavor
from keras_trt._keras.graph import kind_of, layer_graph
from keras_trt._keras.kernels import input_width, kernels_of
from keras_trt._keras.select import check_choices, located, selected
from keras_trt._keras.types import Choices, Layer, Model
from keras_trt.placement.decision import Decision
from keras_trt.placement.layer_kinds import ATTENTION, CELLS, LOOP_REASON
from keras_trt.placement.placement import only_where_read, place, place_alone, under_scheme
from keras_trt.placement.schemes import schemes_by_choice
from keras_trt.quantize.unknown_kernels import unknown_kernels, way_to_register
from keras_trt.reports import Report
from keras_trt.tfmot.accept import accept
from keras_trt.twins.attention import computes_by_keras
from keras_trt.twins.einsum_dense import is_product
from keras_trt.twins.twins import (
    float_class,
    is_twin,
    spared_because,
)

LEFT_OUT = "left out by `only` or `skip`"
EINSUM_REASON = "no one product: its equation has a matrix for each index of an axis of the input"
OWN_ATTENTION_REASON = "its class computes attention in its own way: its layers are quantised one by one"
KERAS_REASON = "Keras's own `quantize` has replaced its weights; quantise the float model here instead"
EMBEDDING_REASON = "weights only, as `only` names it; the engine looks up float numbers on the grid"


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

    Raises:
        ModelError: The model is not built.
        InputError: A choice matches no layer.

    Example:
        >>> print(keras_trt.quantize.plan_quantization(model, skip=["head"]))
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
        if decision.kind == "Embedding" and (only is not None or is_own_twin(layer)):
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
    standing = {path: layer.quantization.inputs for path, layer in layers if is_own_twin(layer)}
    return only_where_read(graph, decisions, standing)


def _alone(flavor: Flavor, path: str, layer: Layer) -> Decision:
    """The decision for a layer that the graph does not show (inside a custom or composite layer)."""
    children = [c for c in flavor.children(layer) if not flavor.is_quantizer(c)]
    kernels = tuple(kernel.name for kernel in kernels_of(layer))
    return place_alone(path, kind_of(flavor, layer), kernels, bool(children) and not kernels)


def is_own_twin(layer: Layer) -> bool:
    """Whether something of the layer itself is quantised, and not only below it."""
    return is_twin(layer) and layer.quantization.own


def left_float(flavor: Flavor, layer: Layer, decision: Decision, others: bool) -> str:
    """Why a layer is float, in a model that has been quantised (`others`) or not."""
    if decision.quantized:
        return LEFT_OUT if others else "can be quantised: call `quantize_model`"
    if kernels := unknown_kernels(layer):
        return f"no rule knows its weights; if it multiplies by them: {way_to_register(layer, kernels)}"
    return decision.reason or f"no rule for {float_class(layer).__name__}"
