"""From a model that TF-MOT quantised or pruned to one of this library's, symmetric as TensorRT wants it.

TF-MOT quantises a layer's output, with a range [min, max] and a zero point; TensorRT wants the inputs of
the layers it runs in int8 quantised, with zero point 0. So every such layer becomes its quantised twin, and
the range of each of its inputs is `max(|min|, |max|)` of the range TF-MOT learned for that tensor.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from keras_trt._keras.flavor import Flavor
from keras_trt._keras.flavor_of import flavor_of
from keras_trt._keras.graph import LayerGraph, Node, layer_graph
from keras_trt._keras.types import Model
from keras_trt.placement.decision import Decision
from keras_trt.placement.placement import AVERAGE_POOLING, LAYOUT, TRANSPARENT, place
from keras_trt.tfmot.wrapped import LearnedRange, Unwrapped, unwrap
from keras_trt.twins.twins import quantize_layer
from keras_trt.twins.types import LayerScheme

_KEEPS_RANGE = (LAYOUT | AVERAGE_POOLING | TRANSPARENT) - {"Activation", "BatchNormalization"}
_BOUNDED = {  # TF-MOT does not quantise what these give
    "softmax": (0.0, 1.0),
    "sigmoid": (0.0, 1.0),
    "hard_sigmoid": (0.0, 1.0),
    "tanh": (-1.0, 1.0),
    "softsign": (-1.0, 1.0),
}


@dataclass(frozen=True)
class QuantizedInput:
    """One quantised input of a converted model.

    Attributes:
        layer: The path of the layer that reads it.
        position: Which of the layer's inputs it is.
        learned: The range TF-MOT learned for the tensor; None when it learned none.
    """

    layer: str
    position: int
    learned: LearnedRange | None


@dataclass(frozen=True)
class Conversion:
    """A converted model and the ranges it was given.

    Attributes:
        model: Quantised twins and pruning masks, no wrapper.
        inputs: Every quantised input, in the order of the layers.
    """

    model: Any
    inputs: tuple[QuantizedInput, ...]


def convert(model: Model) -> Conversion:
    """Converts a model wrapped by TF-MOT.

    Quantised layers become quantised twins under their own names, float weights stay as trained, pruned
    weights stay masked. A range that TF-MOT has not learned yet stays unknown: calibrate or train.

    Args:
        model: A built tf_keras model made by TF-MOT; it is not changed.

    Raises:
        ModelError: The model is annotated only, or clustered.
    """
    flavor = flavor_of(model)
    unwrapped = unwrap(flavor, model)
    graph = layer_graph(flavor, unwrapped.model)
    if graph is None or not (unwrapped.weights or unwrapped.ranges):
        return Conversion(unwrapped.model, ())
    ranges = _Ranges(graph, unwrapped, dict(flavor.walk(unwrapped.model)))
    decisions = place(graph)
    inputs: list[QuantizedInput] = []
    for path, layer in list(flavor.walk(unwrapped.model)):
        if path in decisions:
            inputs += _convert(flavor, layer, decisions[path], path in unwrapped.weights, ranges)
    return Conversion(unwrapped.model, tuple(inputs))


def _convert(
    flavor: Flavor, layer: Any, decision: Decision, weighted: bool, ranges: _Ranges
) -> Iterator[QuantizedInput]:
    """Makes a layer a twin where TF-MOT quantised its weights, or the tensors it reads."""
    known = {
        i: learned for i in decision.inputs if (learned := ranges.of_input(decision.path, i)) is not None
    }
    if decision.kernels and not weighted:
        return
    positions = decision.inputs if decision.kernels else tuple(known)
    if not (positions or decision.kernels):
        return
    quantize_layer(layer, LayerScheme(positions, decision.kernels))
    for position, quantizer in zip(positions, layer.input_quantizers, strict=True):
        if position in known:
            quantizer.set_range(known[position].amax)
        yield QuantizedInput(decision.path, position, known.get(position))


class _Ranges:
    """Looks up the learned range of what a layer reads."""

    def __init__(self, graph: LayerGraph, unwrapped: Unwrapped, layers: dict[str, object]) -> None:
        self.graph, self.learned, self.layers = graph, unwrapped.ranges, layers

    def of_input(self, path: str, position: int) -> LearnedRange | None:
        """The range of one input of a layer, over all its calls."""
        calls = [node for node in self.graph.nodes if node.path == path]
        return self._union(node.inputs[position] for node in calls)

    def _of(self, tensor: str) -> LearnedRange | None:
        if tensor in self.learned:
            return self.learned[tensor]
        node = self.graph.producer(tensor)
        if node is None:
            return None
        bounds = _BOUNDED.get(self._function(node))
        if bounds is not None:
            return LearnedRange(*bounds, step=(bounds[1] - bounds[0]) / 255)
        if node.kind == "Concatenate" or node.kind in _KEEPS_RANGE:
            return self._union(iter(node.inputs))
        return None

    def _union(self, tensors: Iterator[str]) -> LearnedRange | None:
        """The range that holds all tensors; None when one is unknown."""
        merged: LearnedRange | None = None
        for learned in map(self._of, tensors):
            if learned is None:
                return None
            merged = learned if merged is None else merged.union(learned)
        return merged

    def _function(self, node: Node) -> str:
        if node.kind == "Softmax":
            return "softmax"
        return getattr(getattr(self.layers.get(node.path), "activation", None), "__name__", "")
