"""Which channels of a model must live or die together: the dependencies of channel pruning.

Every channel that a convolution or dense layer makes gets a number. The numbers travel through the
layer graph with the tensors: pooling hands them on, Concatenate lines them up, Flatten repeats them,
and Add ties its inputs' channels together. What ends in a layer that mixes or counts channels in a way
not known here, or in a model output, is frozen with that reason.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from keras_trt._keras.graph import BATCHNORMS, IDLE, LayerGraph, Node
from keras_trt._keras.kernels import CONVOLUTIONS, DEPTHWISE
from keras_trt._keras.types import Layer

_KEEPS = {
    *("Activation", "ReLU", "LeakyReLU", "ELU"),
    *IDLE,
    *BATCHNORMS,
    *(f"{name}{rank}D" for name in ("MaxPooling", "AveragePooling") for rank in (1, 2, 3)),
    *(f"Global{name}{rank}D" for name in ("MaxPooling", "AveragePooling") for rank in (1, 2, 3)),
    *(f"{name}{rank}D" for name in ("ZeroPadding", "Cropping", "UpSampling") for rank in (1, 2, 3)),
}
_MAKES = CONVOLUTIONS - DEPTHWISE | {"Dense"}
_TIES = {"Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum"}
_ARITHMETIC = {"add", "subtract", "multiply", "divide", "truediv", "truedivide", "maximum", "minimum"}
_ELEMENTWISE = {
    *(
        "linear",
        "relu",
        "relu6",
        "leaky_relu",
        "elu",
        "selu",
        "celu",
        "gelu",
        "silu",
        "swish",
        "mish",
        "sigmoid",
    ),
    *("hard_sigmoid", "hard_silu", "hard_swish", "tanh", "softplus", "softsign", "exponential"),
}


class Channels:
    """The channels of one model.

    Args:
        graph: The model's layer graph.
        layers: Its layers by path.

    Attributes:
        reads: Channel numbers of the (first) input of each layer, by path.
        makes: Channel numbers of the output of each layer, by path.
        makers: Paths of the layers that make new channels, in graph order.
    """

    def __init__(self, graph: LayerGraph, layers: Mapping[str, object]) -> None:
        self.reads: dict[str, np.ndarray] = {}
        self.makes: dict[str, np.ndarray] = {}
        self.makers: list[str] = []
        self._parent: list[int] = []
        self._reasons: dict[int, str] = {}  # frozen channel number -> why
        self._tensors: dict[str, np.ndarray] = {}
        self._nested = set(layers) - {node.path for node in graph.nodes}
        for node in graph.nodes:
            self._visit(graph, node, layers.get(node.path))
        for tensor in graph.outputs:
            if tensor in self._tensors:
                self.freeze(self._tensors[tensor], "they reach a model output")
        self._reasons = {self.root(channel): reason for channel, reason in self._reasons.items()}

    def root(self, channel: int) -> int:
        """The number that stands for all channels tied to this one."""
        parent = self._parent
        while parent[channel] != channel:
            parent[channel] = channel = parent[parent[channel]]
        return channel

    def roots(self, channels: np.ndarray) -> np.ndarray:
        """`root` of each."""
        return np.array([self.root(int(channel)) for channel in channels], int)

    def why_frozen(self, root: int) -> str | None:
        """Why the channels behind a root must stay, or None."""
        return self._reasons.get(root)

    def groups(self) -> list[list[str]]:
        """The makers, those with tied channels together."""
        group_of: dict[int, list[str]] = {}
        for path in self.makers:
            roots = self.roots(self.makes[path]).tolist()
            touched = {id(group_of[root]): group_of[root] for root in roots if root in group_of}
            merged = [other for group in touched.values() for other in group] + [path]
            for other in merged:
                group_of.update(dict.fromkeys(self.roots(self.makes[other]).tolist(), merged))
        return list({id(group): group for group in group_of.values()}.values())

    def freeze(self, channels: np.ndarray, reason: str) -> None:
        """Makes channels stay."""
        for channel in channels.tolist():
            self._reasons.setdefault(channel, reason)

    def tie(self, a: np.ndarray, b: np.ndarray) -> None:
        """Makes channels live or die together, one by one."""
        for one, other in zip(a.tolist(), b.tolist(), strict=True):
            self._parent[self.root(one)] = self.root(other)

    def new(self, count: int) -> np.ndarray:
        """Numbers for `count` new channels."""
        first = len(self._parent)
        self._parent.extend(range(first, first + count))
        return np.arange(first, first + count)

    def _visit(self, graph: LayerGraph, node: Node, layer: Any) -> None:
        inputs = [self._input(graph, node, i) for i in range(len(node.inputs))]
        made = self._rule(node, layer)(node, layer, inputs)
        if node.path in self.makes and made is not None:  # a further call of a shared layer
            self.tie(inputs[0], self.reads[node.path])
            self.tie(made, self.makes[node.path])
        elif made is not None:
            self.reads[node.path], self.makes[node.path] = inputs[0], made
        if made is not None:
            self._tensors[node.outputs[0]] = made

    def _input(self, graph: LayerGraph, node: Node, i: int) -> np.ndarray:
        """Channels of an input; frozen where they enter from outside the (nested) model."""
        tensor = node.inputs[i]
        producer = graph.producer(tensor)
        if tensor not in self._tensors:
            shape = node.input_shapes[i]
            self._tensors[tensor] = self.new(shape[-1] if shape and shape[-1] else 1)
            source = "a model input" if producer is None else f"made by {producer.path} ({producer.kind})"
            self.freeze(self._tensors[tensor], f"they are tied to channels that are {source}")
        channels = self._tensors[tensor]
        home = node.path.rpartition("/")[0]  # a layer's own name may hold a slash, and another be its prefix
        if producer is not None and home in self._nested and not producer.path.startswith(f"{home}/"):
            self.freeze(channels, f"they enter the nested model {home}")
        return channels

    def _rule(self, node: Node, layer: Layer) -> Callable[[Node, Any, list[np.ndarray]], np.ndarray | None]:
        """What a layer does to channels."""
        rules = {
            **dict.fromkeys(_MAKES, self._makes_new),
            **dict.fromkeys(_KEEPS, self._keeps),
            **dict.fromkeys(_TIES, self._ties),
            **dict.fromkeys(DEPTHWISE, self._depthwise),
            "Concatenate": self._lines_up,
            "Flatten": self._repeats,
            "Reshape": self._reshapes,
        }
        if node.kind.startswith("ops."):
            return self._operation(node)
        rule = rules.get(node.kind, self._blocks)
        last_axis = getattr(layer, "data_format", None) != "channels_first" and _axis_is_last(node, layer)
        follows = rule == self._makes_new or _elementwise(layer)
        return rule if last_axis and follows and getattr(layer, "groups", 1) == 1 else self._blocks

    def _operation(self, node: Node) -> Callable[[Node, Any, list[np.ndarray]], np.ndarray | None]:
        """What an operation between layers does to channels: `x + y` ties them, `2 * x` hands them on."""
        name = node.kind.split(".")[-1].lower().replace("_", "")
        alike = all(not shape or shape[-1] == 1 for shape in node.constants)  # for every channel the same
        if name in _ARITHMETIC and alike:
            return self._ties if len(node.inputs) == 2 else self._keeps
        if name in {activation.replace("_", "") for activation in _ELEMENTWISE} and len(node.inputs) == 1:
            return self._keeps
        return self._blocks

    def _makes_new(self, node: Node, layer: Any, inputs: list[np.ndarray]) -> np.ndarray:
        if node.path in self.makes:
            return self.makes[node.path]
        self.makers.append(node.path)
        made = self.new(layer.units if node.kind == "Dense" else layer.filters)
        if not _elementwise(layer):
            self.freeze(made, f"{node.path} has an activation across channels")
        return made

    def _depthwise(self, node: Node, layer: Any, inputs: list[np.ndarray]) -> np.ndarray:
        return np.repeat(inputs[0], layer.depth_multiplier)

    def _keeps(self, node: Node, layer: Layer, inputs: list[np.ndarray]) -> np.ndarray:
        return inputs[0]

    def _ties(self, node: Node, layer: Layer, inputs: list[np.ndarray]) -> np.ndarray:
        widest = max(inputs, key=len)
        for other in inputs:
            if len(other) == len(widest):
                self.tie(other, widest)
            else:
                self.freeze(np.concatenate([other, widest]), f"{node.path} ({node.kind}) broadcasts channels")
        return widest

    def _lines_up(self, node: Node, layer: Any, inputs: list[np.ndarray]) -> np.ndarray:
        if layer.axis in (-1, len(node.input_shapes[0]) - 1):
            return np.concatenate(inputs)
        return self._ties(node, layer, inputs)

    def _repeats(self, node: Node, layer: Layer, inputs: list[np.ndarray]) -> np.ndarray | None:
        spatial = node.input_shapes[0][1:-1]
        if any(size is None for size in spatial):
            return self._blocks(node, layer, inputs)
        return np.tile(inputs[0], int(np.prod([size or 1 for size in spatial])))

    def _reshapes(self, node: Node, layer: Any, inputs: list[np.ndarray]) -> np.ndarray | None:
        if tuple(layer.target_shape)[-1] == len(inputs[0]):
            return inputs[0]
        return self._blocks(node, layer, inputs)

    def _blocks(self, node: Node, layer: Layer, inputs: list[np.ndarray]) -> np.ndarray | None:
        for channels in inputs:
            self.freeze(channels, f"{node.path} ({node.kind}) needs them all")
        return None


def _elementwise(layer: Layer) -> bool:
    """Whether the layer's activation treats each channel by itself."""
    activation = getattr(layer, "activation", None)
    return activation is None or getattr(activation, "__name__", "") in _ELEMENTWISE


def _axis_is_last(node: Node, layer: Any) -> bool:
    """Whether a BatchNormalization normalises the last axis."""
    if node.kind not in BATCHNORMS:
        return True
    axis = layer.axis if isinstance(layer.axis, int) else layer.axis[0]
    return axis in (-1, len(node.input_shapes[0]) - 1)
