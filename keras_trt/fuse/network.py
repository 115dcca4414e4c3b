"""A model as fusions look at it, and what one fusion does to it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from keras_trt._keras.flavor import Flavor
from keras_trt._keras.graph import LayerGraph, Node, kind_of
from keras_trt._keras.kernels import kernels_of
from keras_trt._keras.masks import masking
from keras_trt._keras.types import Layer, Variable

PLAIN_CONVOLUTIONS = frozenset({"Conv1D", "Conv2D", "Conv3D"})
"""Neither transposed, depthwise nor separable."""
PADDINGS = frozenset({"ZeroPadding1D", "ZeroPadding2D", "ZeroPadding3D"})


@dataclass(frozen=True)
class Rewrite:
    """One fusion at one place.

    Attributes:
        fusion: What kind of fusion it is, for people.
        layer: The path of the layer that goes.
        into: The path of the layer that takes it in; None where nothing needs to.
        drop: The paths of the layers that are left out, and which of their inputs goes on in their place.
        changes: What changes in the config of `into`.
        weights: Gives the new layer its weights; None where it keeps those that it has.
        stand_ins: What is called in the place of layers, made anew for each rewiring, by path.
    """

    fusion: str
    layer: str
    into: str | None = None
    drop: Mapping[str, int] = field(default_factory=dict)
    changes: Mapping[str, Any] = field(default_factory=dict)
    weights: Callable[[Any], None] | None = None
    stand_ins: Callable[[], Mapping[str, Callable[..., Any]]] = dict

    @property
    def touches(self) -> set[str]:
        """The paths of the layers that it changes; two rewrites at once share none."""
        into = {self.into} if self.into is not None else set()
        return {self.layer, *self.drop, *self.stand_ins(), *into}


@dataclass(frozen=True)
class Network:
    """A Functional or Sequential model, its layer graph and its layers by path."""

    flavor: Flavor
    model: Any
    graph: LayerGraph
    layers: Mapping[str, Any]

    @cached_property
    def calls(self) -> dict[str, list[Node]]:
        """The calls of each layer, by path."""
        calls: dict[str, list[Node]] = {}
        for node in self.graph.nodes:
            calls.setdefault(node.path, []).append(node)
        return calls

    @cached_property
    def ends(self) -> set[str]:
        """Paths of the layers that make an output of the model that they lie in, which bears their name."""
        paths = {id(layer): path for path, layer in self.layers.items()}
        ends = set()
        for model in (self.model, *self.layers.values()):
            if self._has_graph(model):
                outputs = {id(tensor) for tensor in self.flavor.endpoints(model)[1]}
                made = [(layer, tensors) for layer, _, tensors, _ in self.flavor.calls(model)]
                ends |= {paths.get(id(layer), "") for layer, ts in made if outputs & {id(t) for t in ts}}
        return ends

    @cached_property
    def _read_types(self) -> dict[str, str]:
        paths = {id(layer): path for path, layer in self.layers.items()}
        models = [each for each in (self.model, *self.layers.values()) if self._has_graph(each)]
        calls = (call for model in models for call in self.flavor.calls(model))
        return {paths.get(id(layer), ""): str(reads[0].dtype) for layer, reads, _, _ in calls if reads}

    def _has_graph(self, layer: Layer) -> bool:
        return self.flavor.is_model(layer) and self.flavor.is_functional(layer)

    def reads_floats(self, path: str) -> bool:
        """Whether a layer reads floating-point numbers."""
        return "float" in self._read_types.get(path, "")

    def normalizes_channels(self, layer: Layer, batchnorm: Any) -> bool:
        """Whether a BatchNormalization is over the axis of a layer's channels."""
        axis = batchnorm.axis if isinstance(batchnorm.axis, int) else batchnorm.axis[0]
        rank = batchnorm.input_spec.ndim
        return bool(axis % rank == (1 if channels_first(layer) else rank - 1))

    def only_call(self, path: str) -> Node | None:
        """The one call of a layer; None for a layer that is called more often."""
        calls = self.calls.get(path, [])
        return calls[0] if len(calls) == 1 else None

    def only_reader(self, node: Node, *, across: bool = False) -> Node | None:
        """The one call that reads what a call makes, of a layer that is called once.

        Args:
            node: The call.
            across: Whether the reader may lie in another nested model. The inputs of nested models keep their
                shapes, so what is fused must not change those in between.
        """
        if len(node.outputs) != 1 or self.graph.readers(node.outputs[0]) != 1:
            return None
        readers = self.graph.consumers(node.outputs[0])
        if not readers or self.only_call(readers[0].path) is None:
            return None
        if not across and (node.path in self.ends or self.home(readers[0].path) != self.home(node.path)):
            return None
        return readers[0]

    def home(self, path: str) -> str:
        """Path of the nested model that a layer lies in (names of layers may hold slashes, too)."""
        segments = path.split("/")
        around = ["/".join(segments[:i]) for i in range(len(segments) - 1, 0, -1)]
        models = (home for home in around if home in self.layers and self.flavor.is_model(self.layers[home]))
        return next(models, "")

    def is_plain(self, path: str) -> bool:
        """Whether a layer computes in float32 what its Keras class says, on weights that nothing holds."""
        layer = self.layers.get(path)
        if layer is None or layer.compute_dtype != "float32":
            return False
        kind = getattr(self.flavor.keras.layers, kind_of(self.flavor, layer), None)
        if kind is None or type(layer).call is not kind.call:  # a twin's is another
            return False
        variables = [masking.variable_of(layer, kernel) for kernel in kernels_of(layer)]
        return all(v is None or masking.mask_of(self.flavor, v) is None for v in variables)


def channels_first(layer: Layer) -> bool:
    """Whether a layer's channels are axis 1."""
    return getattr(layer, "data_format", "channels_last") == "channels_first"


def is_unpadded(layer: Any) -> bool:
    """Whether a layer sums over no zeros that it has put around its input."""
    if not hasattr(layer, "kernel_size"):
        return True
    return layer.padding == "valid" or all(size == 1 for size in layer.kernel_size)


def floats(variable: Variable) -> np.ndarray:
    """The values of a variable in float64."""
    return np.asarray(variable.numpy(), np.float64)


def bias_of(layer: Any, size: int) -> np.ndarray:
    """A layer's bias in float64, zeros where it has none."""
    return floats(layer.bias) if layer.use_bias else np.zeros(size)
