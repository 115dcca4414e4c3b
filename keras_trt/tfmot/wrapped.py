"""Reads models that TF-MOT has wrapped: their plain form, their masks, and the ranges they learned.

TF-MOT is never imported here: its wrappers are known by their classes' names, and what they hold is read off
them. The user's model is not changed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from keras_trt._base.formats import TOP
from keras_trt._base.private import private
from keras_trt._keras.copying.copy_model import copy_layers
from keras_trt._keras.flavor import Flavor
from keras_trt._keras.graph import layer_graph
from keras_trt._keras.masks import masking
from keras_trt._keras.rebuilding.in_place import renew_derived
from keras_trt._keras.rebuilding.rewire import rewire
from keras_trt._keras.types import Layer, Model, Variable
from keras_trt.errors import ModelError

_PACKAGE = "tensorflow_model_optimization"
_UNSET = (-6.0, 6.0)
"""What TF-MOT's moving ranges hold before the first training step."""
_REFUSED = {
    "QuantizeAnnotate": "is annotated but not quantised: call tfmot.quantization.keras.quantize_apply(model)",
    "ClusterWeights": "is clustered: call tfmot.clustering.keras.strip_clustering(model)",
}


@dataclass(frozen=True)
class LearnedRange:
    """The range of a tensor as TF-MOT learned it.

    Attributes:
        minimum: Its lower end.
        maximum: Its upper end.
        step: The distance of two neighbours on TF-MOT's grid.
    """

    minimum: float
    maximum: float
    step: float

    @property
    def amax(self) -> float:
        """The smallest symmetric range that holds it."""
        return max(abs(self.minimum), abs(self.maximum))

    @property
    def loss(self) -> float:
        """How many times coarser the symmetric int8 grid of `amax / 127` is; 2.0 is one bit."""
        return self.amax / TOP["int8"] / self.step

    def union(self, other: LearnedRange) -> LearnedRange:
        """The range that holds both."""
        ends = min(self.minimum, other.minimum), max(self.maximum, other.maximum)
        return LearnedRange(*ends, step=max(self.step, other.step))


@dataclass
class Unwrapped:
    """A model without TF-MOT's wrappers.

    Attributes:
        model: A plain copy: float weights, pruning masks as constraints. Layers have their own names again.
        weights: Paths of the layers whose weights TF-MOT quantised.
        ranges: The learned range of each tensor that TF-MOT quantised, by its name in `layer_graph(model)`.
    """

    model: Any
    weights: set[str] = field(default_factory=set)
    ranges: dict[str, LearnedRange] = field(default_factory=dict)


def is_wrapped(flavor: Flavor, model: Model) -> bool:
    """Whether TF-MOT has wrapped any layer of a model."""
    return any(_is_tfmot(layer) for _, layer in flavor.walk(model))


def refuse_wrapped(flavor: Flavor, model: Model) -> None:
    """For what works on a model in place, where wrappers cannot be taken off.

    Raises:
        ModelError: TF-MOT has wrapped a layer of the model.
    """
    wrapped = [path for path, layer in flavor.walk(model) if _is_tfmot(layer)]
    if wrapped:
        raise ModelError(
            f"TF-MOT has wrapped {len(wrapped)} layers of model {model.name!r}, the first is {wrapped[0]!r}; "
            "nothing can be added to them in place. Train `keras_trt.tfmot.from_tfmot(model)` instead."
        )


def unwrap(flavor: Flavor, model: Model) -> Unwrapped:
    """The plain form of a model made by TF-MOT's `quantize_model`, `quantize_apply` or `prune_low_magnitude`.

    Raises:
        ModelError: The model is annotated only or clustered, or a layer's weights cannot be told apart.
    """
    layers = dict(flavor.walk(model))
    for path, layer in layers.items():
        if _is_tfmot(layer) and type(layer).__name__ in _REFUSED:
            raise ModelError(f"Layer {path!r} {_REFUSED[type(layer).__name__]}, then pass the result.")
    copied = copy_layers(flavor, model)
    made: list[tuple[Any, Any]] = []

    def make(path: str, layer: Layer) -> Layer:
        if not _is_tfmot(layer):
            return copied(layer)
        made.append((layer, _plain_layer(layer)))
        return made[-1][1]

    unwrapped = Unwrapped(rewire(flavor, model, make, {p: 0 for p in layers if _is_quantize(layers[p])}))
    masks: dict[int, tuple[np.ndarray, dict[str, Any]]] = {}
    for old, new in made:
        _copy_weights(old, new)
        masks.update((id(variable), mask) for variable, mask in _masks(old, new))
    renew_derived(flavor, unwrapped.model)
    for _, layer, kernel, variable in list(masking.weights_in(flavor, unwrapped.model)):
        if id(variable) in masks:
            masking.set_mask(flavor, layer, kernel, *masks[id(variable)])
    masking.mark_containers(flavor, unwrapped.model)
    _read_ranges(flavor, model, layers, unwrapped)
    return unwrapped


def _is_of_tfmot(cls: type) -> bool:
    return cls.__module__.split(".")[0] == _PACKAGE


def _is_tfmot(layer: Layer) -> bool:
    return any(map(_is_of_tfmot, type(layer).__mro__))


def _is(layer: Layer, name: str) -> bool:
    return any(cls.__name__ == name and _is_of_tfmot(cls) for cls in type(layer).__mro__)


def _is_quantize(layer: Layer) -> bool:
    return _is(layer, "QuantizeLayer")


def _wrappers(layer: Any) -> Iterator[Any]:
    """The wrappers around a layer, outermost first."""
    while _is(layer, "QuantizeWrapper") or _is(layer, "PruneLowMagnitude"):
        yield layer
        layer = layer.layer


def _held(wrapper: Layer, name: str) -> Any:
    """What a quantising wrapper holds under a private name; another wrapper has nothing there."""
    return private(wrapper, name, _PACKAGE) if _is(wrapper, "QuantizeWrapper") else ()


def _inside(layer: Layer) -> Any:
    for wrapper in _wrappers(layer):
        layer = wrapper.layer
    return layer


def _plain_layer(layer: Layer) -> Any:
    """A new layer like the one inside the wrappers, with its own activation."""
    inner = _inside(layer)
    config = inner.get_config()
    wrapped = [key for key in config if _is_of_tfmot(type(getattr(inner, key, None)))]
    config.update({key: _activation(getattr(inner, key)) for key in wrapped})
    new = type(inner).from_config(config)
    if not getattr(inner, "trainable", True):
        new.trainable = False
    return new


def _activation(function: Any) -> Any:
    while type(function).__name__ == "QuantizeAwareActivation":
        function = function.activation
    return "linear" if type(function).__name__ == "NoOpActivation" else function


def _copy_weights(old: Any, new: Any) -> None:
    """Copies the float weights.

    A quantising wrapper puts tensors in the place of the layer's variables and keeps the variables itself, so
    they are told by their names.
    """
    if not any(_is(wrapper, "QuantizeWrapper") for wrapper in _wrappers(old)):
        if hasattr(new, "set_weights"):  # a Keras operation has none
            new.set_weights(_inside(old).get_weights())
        return
    sources = {_short_name(variable): variable for variable in old.weights}
    for variable in new.weights:
        source = sources.get(_short_name(variable))
        if source is None or source.shape != variable.shape:
            raise ModelError(
                f"Layer {old.name!r}: the wrapper of TF-MOT holds no weight {_short_name(variable)!r} of "
                f"shape {tuple(variable.shape)}. Received: {sorted(sources)}. Weights need unique names."
            )
        variable.assign(source)


def _short_name(variable: Variable) -> str:
    return str(variable.name.split("/")[-1].split(":")[0])


def _masks(old: Any, new: Any) -> Iterator[tuple[Any, tuple[np.ndarray, dict[str, Any]]]]:
    """(variable of the new layer, (mask, what was asked for)) for every weight that has pruned values."""
    for wrapper in _wrappers(old):
        if _is(wrapper, "PruneLowMagnitude"):
            places = {id(variable): i for i, variable in enumerate(_inside(old).weights)}
            pairs = [(new.weights[places[id(weight)]], mask) for weight, mask, _ in wrapper.pruning_vars]
            pattern = _pattern(wrapper)
        else:  # prune-preserving quantisation keeps the mask with the quantiser
            by_name = {_short_name(variable): variable for variable in new.weights}
            weights = [
                (weight, held.get("sparsity_mask"))
                for weight, _, held in _held(wrapper, "_weight_vars")
                if held
            ]
            pairs = [(by_name[_short_name(weight)], mask) for weight, mask in weights if mask is not None]
            pattern = "unstructured"
        for variable, mask in pairs:
            keep = np.asarray(mask) != 0
            if not keep.all():
                yield (
                    variable,
                    (keep, {"pattern": pattern, "sparsity": float(1 - keep.mean()), "threshold": None}),
                )


def _pattern(wrapper: Any) -> str:
    """TF-MOT counts the zeros of a group, we the weights that stay."""
    if wrapper.sparsity_m_by_n:
        zeros, group = wrapper.sparsity_m_by_n
        return f"{group - zeros}:{group}"
    rows, cols = wrapper.block_size
    return "unstructured" if (rows, cols) == (1, 1) else f"{rows}x{cols}"


def _read_ranges(flavor: Flavor, model: Model, layers: dict[str, Any], unwrapped: Unwrapped) -> None:
    """Fills in what the wrappers learned, under the names of the plain model's tensors."""
    graph = layer_graph(flavor, model)
    if graph is None:
        return
    plain = {tensor: tensor for tensor in graph.inputs}
    for node in graph.nodes:
        layer = layers[node.path]
        if _is_quantize(layer):
            plain[node.outputs[0]] = plain[node.inputs[0]]
        else:
            path = node.path.removesuffix(layer.name) + _inside(layer).name
            plain.update((t, f"{path}{t.removeprefix(node.path)}") for t in node.outputs)
            if any(_held(wrapper, "_weight_vars") for wrapper in _wrappers(layer)):
                unwrapped.weights.add(path)
        learned = _learned(layer)
        if learned is not None:
            unwrapped.ranges.setdefault(plain[node.outputs[0]], learned)


def _learned(layer: Any) -> LearnedRange | None:
    """The range that a wrapper or QuantizeLayer gives its output, once it has seen data."""
    if _is_quantize(layer):
        return _range(layer.quantizer, getattr(layer, "quantizer_vars", None))
    for wrapper in _wrappers(layer):
        if quantizers := _held(wrapper, "_output_quantizers"):
            return _range(quantizers[0], _held(wrapper, "_output_quantizer_vars"))
        for activation in _held(wrapper, "_quantize_activations"):
            if activation._should_post_quantize():
                return _range(activation.quantizer, activation._post_activation_vars)
    return None


def _range(quantizer: Any, held: Any) -> LearnedRange | None:
    if quantizer is None:
        return None
    if hasattr(quantizer, "init_min"):  # FixedQuantizer
        ends = float(quantizer.init_min), float(quantizer.init_max)
    elif "amax" in (held or {}):  # TensorRTQuantizeScheme's
        amax = float(held["amax"].numpy())
        return LearnedRange(-amax, amax, amax / TOP["int8"]) if amax > 0 else None
    elif {"min_var", "max_var"} <= set(held or {}):
        ends = float(held["min_var"].numpy()), float(held["max_var"].numpy())
        if ends == _UNSET:
            return None
    else:
        return None
    levels = 2 ** getattr(quantizer, "num_bits", 8) - 1 - bool(getattr(quantizer, "narrow_range", False))
    low, high = min(ends[0], 0.0), max(ends[1], 0.0)  # TF-MOT's grids always hold 0
    return (
        LearnedRange(low, high, (high - low) / levels) if low < high and math.isfinite(high - low) else None
    )
