"""Which layers of a model are quantised and how, or why not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, TypeGuard

from keras_trt._base.arguments import check_one_of
from keras_trt._base.say import say
from keras_trt._keras.calls.kernel_readers import KernelUse, kernel_uses
from keras_trt._keras.calls.kernel_use import changes_kernels, rounds_kernels
from keras_trt._keras.flavor import Flavor
from keras_trt._keras.graph import LayerGraph, kind_of, layer_graph
from keras_trt._keras.kernels import calls_by_keras, input_width, is_keras_own, kernels_of
from keras_trt._keras.select import check_choices, located, selected
from keras_trt._keras.types import Choices, Layer, Model
from keras_trt.placement.decision import Decision
from keras_trt.placement.layer_kinds import ATTENTION, CELLS, LOOP_REASON
from keras_trt.placement.placement import only_where_read, place, place_alone, under_scheme
from keras_trt.placement.products import products_of
from keras_trt.placement.schemes import Scheme, schemes_by_choice
from keras_trt.placement.shape_rules import DEFAULT, PLACEMENTS, left_out
from keras_trt.quantize.unknown_kernels import unknown_kernels, way_to_register
from keras_trt.twins.attention import computes_by_keras
from keras_trt.twins.einsum_dense import is_product
from keras_trt.twins.quantizer import observing
from keras_trt.twins.twins import float_class, is_twin, spared_because
from keras_trt.twins.types import Twin

LEFT_OUT = "left out by `only` or `skip`"
EINSUM_REASON = "no one product: its equation has a matrix for each index of an axis of the input"
OWN_ATTENTION_REASON = "its class computes attention in its own way: its layers are quantised one by one"
CHANGED_REASON = (
    "its `call` makes other weights of its kernel before the product: rounded ones would be on no grid"
)
REPLACED_REASON = "the `call` of a layer around it puts a tensor in the place of its kernel"
REPLACED_TOLD = "The `call` of a layer around each puts a tensor in the place of its kernel"
ASSIGNED_REASON = "the `call` of a layer around it assigns its kernel, and would keep rounded numbers there"
ASSIGNED_TOLD = "The `call` of a layer around each assigns its kernel, and would keep rounded numbers there"
READ_REASON = "the `call` of a layer around it multiplies by its kernel itself, which no int8 rule covers"
READ_TOLD = "The `call` of a layer around each multiplies by its kernel itself, which no int8 rule covers"
READ_TOO = "; the `call` of a layer around it multiplies by its kernel, too, in float"
OWN_SEPARABLE_REASON = "its `call` is its own: int8 needs a quantiser between its two products"
KERAS_REASON = "Keras's own `quantize` has replaced its weights; quantise the float model here instead"
WAY_OUT = '`placement="all"` quantises also what is faster in float.'
EMBEDDING_REASON = "weights only, as `only` names it; the engine looks up float numbers on the grid"


def check_placement(placement: object) -> str:
    """The name of a placement.

    Raises:
        InputError: There is no such placement.
    """
    return str(check_one_of(placement, PLACEMENTS, "placement"))


def placement_of(flavor: Flavor, model: Model) -> str:
    """The placement that a model was quantised with; the default for a float one."""
    return next(
        (layer.quantization.placement for _, layer in flavor.walk(model) if is_own_twin(layer)), DEFAULT
    )


def left_by_shape(flavor: Flavor, model: Model) -> list[str]:
    """Paths of the layers of a quantised model that a rule by shape leaves in float, as is fastest."""
    layers = dict(flavor.walk(model))
    if not any(map(is_own_twin, layers.values())):
        return []
    return [path for path, d in decide(flavor, model).items() if d.rule]


def decide(
    flavor: Flavor,
    model: Model,
    scheme: object = "int8",
    only: Choices | None = None,
    skip: Choices = (),
    placement: str | None = None,
) -> dict[str, Decision]:
    """The decision for every layer of a model, by path.

    Args:
        flavor: The model's Keras.
        model: A built model.
        scheme: As in `quantize_model`.
        only: As in `quantize_model`.
        skip: As in `quantize_model`.
        placement: As in `quantize_model`; None for what the model was quantised with, format and placement.
    """
    layers = list(flavor.walk(model))
    only, skip = (located(flavor, model, choice) for choice in (only, skip))
    choices = [(located(flavor, model, choice), named) for choice, named in schemes_by_choice(scheme)]
    check_choices(layers, only, skip)
    check_choices(layers, scheme=[choice for choice, _ in choices if choice is not None])
    graph = layer_graph(flavor, model)
    by_shape = only is None and (placement or placement_of(flavor, model)) == "tensorrt"
    own = [layer.quantization.scheme for _, layer in layers if is_own_twin(layer)]
    asked = _Asked(
        flavor, graph, only, skip, choices, by_shape, own[0] if own and placement is None else None
    )
    asked.placed.update(place(graph) if graph is not None else {})
    with observing(lambda *_: None):  # twins without gradients, whose graphs TensorFlow keeps for ever
        asked.uses.update(kernel_uses(flavor, model, float_class))
    asked.loops += tuple(f"{path}/" for path, layer in layers if isinstance(layer, flavor.keras.layers.RNN))
    decisions = {path: _decision(asked, path, layer) for path, layer in layers}
    if graph is None or only is not None:  # what `only` names is wanted, alone or not
        return decisions
    standing = {path: layer.quantization.inputs for path, layer in layers if is_own_twin(layer)}
    return only_where_read(graph, decisions, standing)


@dataclass
class _Asked:
    """What is asked for and known of a whole model."""

    flavor: Flavor
    graph: LayerGraph | None
    only: Any
    skip: Any
    choices: list[tuple[Any, Scheme]]
    by_shape: bool
    standing: Scheme | None
    placed: dict[str, Decision] = field(default_factory=dict)
    loops: tuple[str, ...] = ()
    uses: dict[str, KernelUse] = field(default_factory=dict)


def _decision(asked: _Asked, path: str, layer: Layer) -> Decision:
    """The decision for one layer."""
    decision = asked.placed.get(path) or _alone(asked.flavor, path, layer)
    if decision.kind == "Embedding" and (asked.only is not None or is_own_twin(layer)):
        decision = Decision(path, decision.kind, (), ("embeddings",), EMBEDDING_REASON)
    if reason := _hindrance(asked, path, layer, decision):
        decision = Decision(path, decision.kind, reason=reason)
    wanted = next((s for choice, s in asked.choices if selected(path, layer, choice)), None)
    if wanted is None:
        return Decision(path, decision.kind, reason="no scheme is chosen for it")
    decision = under_scheme(decision, wanted, tuple(input_width(layer, name) for name in decision.kernels))
    if decision.kernels and path in asked.uses and asked.uses[path].around:
        decision = replace(decision, reason=decision.reason + READ_TOO)
    if not (asked.by_shape and decision.scheme and not is_own_twin(layer)):
        return decision
    products = products_of(layer, decision.kind, path, asked.graph)
    left = left_out(products, (asked.standing or decision.scheme).activations)
    return Decision(path, decision.kind, reason=left[1], rule=left[0]) if left else decision


def _hindrance(asked: _Asked, path: str, layer: Any, decision: Decision) -> str:
    """Why a layer is not quantised that placement would quantise; empty where nothing is in the way."""
    if getattr(layer, "quantization_mode", None):
        return KERAS_REASON
    if not decision.quantized:
        return ""
    use = asked.uses.get(path, KernelUse()) if decision.kernels else KernelUse()
    einsum, attends = decision.kind == "EinsumDense", decision.inner and decision.kind in ATTENTION
    hindrances = {
        EINSUM_REASON: bool(decision.kernels) and einsum and not is_product(layer.equation),
        OWN_ATTENTION_REASON: attends and not computes_by_keras(float_class(layer)),
        OWN_SEPARABLE_REASON: decision.inner and decision.kernels and not calls_by_keras(float_class(layer)),
        REPLACED_REASON: any(map(partial(_is_replaced, layer), decision.kernels)),
        ASSIGNED_REASON: use.assigned,
        READ_REASON: use.around and not use.own,
        LOOP_REASON: path.startswith(asked.loops) and decision.kind not in CELLS,
        LEFT_OUT: not selected(path, layer, asked.only, asked.skip),
        spared_because(layer): asked.only is None,
    }
    reason = next((reason for reason, hinders in hindrances.items() if hinders), "")
    return reason or (CHANGED_REASON if _changes_kernels(asked, path, layer, decision) else "")


def _changes_kernels(asked: _Asked, path: str, layer: Layer, decision: Decision) -> bool:
    """Whether rounded weights of a layer would not be what it multiplies by."""
    if is_own_twin(layer) or not _has_own_call(layer, decision):
        return False
    calls = [node for node in asked.graph.nodes if node.path == path] if asked.graph is not None else []
    shape = calls[0].input_shapes[0] if calls and len(calls[0].input_shapes) == 1 else None
    return changes_kernels(asked.flavor, layer, decision.kernels, shape)


def _is_replaced(layer: Layer, kernel: str) -> bool:
    """Whether what a layer holds as its kernel is a tensor (weight normalisation in tf_keras)."""
    return kernel in vars(layer) and not hasattr(vars(layer)[kernel], "assign")


def rounds_itself(flavor: Flavor, layer: Layer, decision: Decision) -> bool:
    """Whether a float layer's own `call` rounds its kernels to an int8 grid."""
    return _has_own_call(layer, decision) and rounds_kernels(flavor, layer, decision.kernels)


def _has_own_call(layer: Layer, decision: Decision) -> bool:
    return not is_keras_own(float_class(layer)) and decision.kind not in CELLS


def _alone(flavor: Flavor, path: str, layer: Layer) -> Decision:
    """The decision for a layer that the graph does not show (inside a custom or composite layer)."""
    children = [c for c in flavor.children(layer) if not flavor.is_quantizer(c)]
    kernels = tuple(kernel.name for kernel in kernels_of(layer))
    return place_alone(path, kind_of(flavor, layer), kernels, bool(children) and not kernels)


def say_changed(decisions: Mapping[str, Decision], verbose: int | bool | str, who: str = "") -> None:
    """Says which layers stay float for what a `call` makes of their kernels; `who` begins the line."""
    told = {
        CHANGED_REASON: f"Each has a `call` of its own: {CHANGED_REASON}",
        REPLACED_REASON: REPLACED_TOLD,
        ASSIGNED_REASON: ASSIGNED_TOLD,
        READ_REASON: READ_TOLD,
    }
    for reason, why in told.items():
        if paths := [path for path, decision in decisions.items() if decision.reason == reason]:
            say(f"{who}Left in float: {', '.join(paths)}. {why}.", verbose)


def is_own_twin(layer: Layer) -> TypeGuard[Twin]:
    """Whether something of the layer itself is quantised, and not only below it."""
    return is_twin(layer) and layer.quantization.own


def left_float(flavor: Flavor, layer: Layer, decision: Decision, others: bool) -> str:
    """Why a layer is float, in a model that has been quantised (`others`) or not."""
    if decision.quantized:
        return LEFT_OUT if others else "can be quantised: call `quantize_model`"
    if kernels := unknown_kernels(layer):
        return f"no rule knows its weights; if it multiplies by them: {way_to_register(layer, kernels)}"
    return decision.reason or f"no rule for {float_class(layer).__name__}"
