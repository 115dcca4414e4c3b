"""A model's layer graph as plain data: what calls what, with no Keras object a rule could lean on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from keras_trt._base.names import unique
from keras_trt._keras.flavor import Flavor
from keras_trt._keras.kernels import kernels_of
from keras_trt._keras.types import Layer, Model

Shape = tuple[int | None, ...]

BATCHNORMS = frozenset({"BatchNormalization", "SyncBatchNormalization"})
"""The kinds of batch normalisation; tf_keras has two."""
IDLE = frozenset({
    "ActivityRegularization", "AlphaDropout", "Dropout", "GaussianDropout", "GaussianNoise", "Identity",
    "SpatialDropout1D", "SpatialDropout2D", "SpatialDropout3D",
})  # fmt: skip
"""The kinds of layers that do nothing at inference."""


@dataclass(frozen=True)
class Node:
    """One call of one layer.

    Attributes:
        key: Unique name of the call: the layer's path, `path#2` for its second call.
        path: The layer's path, as in `Flavor.walk`; shared by all its calls.
        kind: The name of the nearest Keras class, e.g. `"Conv2D"`; `"ops.Add"` for an operation.
        inputs: Tensors read, as `"key:index"`.
        outputs: Tensors made.
        input_shapes: Their shapes; `None` for the batch and other open axes.
        kernels: Names of the weight variables (see `kernels_of`).
        linear: Whether its own activation is the identity (true for layers without one).
        constants: Shapes of the numbers and arrays that an operation takes beside its inputs.
        activation: The name of its own activation, where that is a function of Keras's; else empty.
    """

    key: str
    path: str
    kind: str
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    input_shapes: tuple[Shape, ...] = ()
    kernels: tuple[str, ...] = ()
    linear: bool = True
    constants: tuple[Shape, ...] = ()
    activation: str = ""


@dataclass(frozen=True)
class LayerGraph:
    """Calls in topological order, and the tensors that enter and leave the model."""

    nodes: tuple[Node, ...]
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    _producers: dict[str, Node] = field(init=False, repr=False, compare=False)
    _consumers: dict[str, list[Node]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_producers", {t: n for n in self.nodes for t in n.outputs})
        consumers: dict[str, list[Node]] = {}
        for node in self.nodes:
            for tensor in node.inputs:
                consumers.setdefault(tensor, []).append(node)
        object.__setattr__(self, "_consumers", consumers)

    def producer(self, tensor: str) -> Node | None:
        """The call that makes `tensor`; None for a model input."""
        return self._producers.get(tensor)

    def consumers(self, tensor: str) -> list[Node]:
        """The calls that read `tensor`, once per reading."""
        return self._consumers.get(tensor, [])

    def readers(self, tensor: str) -> int:
        """How often `tensor` is read, the model's own output counted."""
        return len(self.consumers(tensor)) + self.outputs.count(tensor)


def layer_graph(flavor: Flavor, model: Model) -> LayerGraph | None:
    """The graph of a Functional or Sequential model, nested ones expanded; None for others."""
    if not flavor.is_functional(model):
        return None
    names: dict[int, str] = {}
    inputs, _ = flavor.endpoints(model)
    for i, tensor in enumerate(inputs):
        names[id(tensor)] = f"input:{i}"
    expansion = _Expansion(flavor, {id(layer): path for path, layer in flavor.walk(model)})
    outputs = expansion.expand(model, "", names)
    return LayerGraph(tuple(expansion.nodes), tuple(names[id(t)] for t in inputs), outputs)


class _Expansion:
    """Lists the calls of a model and of those nested in it."""

    def __init__(self, flavor: Flavor, paths: dict[int, str]) -> None:
        self.flavor, self.paths = flavor, paths
        self.nodes: list[Node] = []
        self.keys: set[str] = set()

    def expand(self, model: Model, prefix: str, names: dict[int, str]) -> tuple[str, ...]:
        """Adds a model's calls to `nodes`; `names` maps its own tensors to global names."""
        flavor = self.flavor
        for layer, reads, makes, arguments in flavor.calls(model):
            path = self.paths.get(id(layer), f"{prefix}{layer.name}")  # Keras's operations are no layers
            if flavor.is_model(layer) and flavor.is_functional(layer):
                inner_inputs, _ = flavor.endpoints(layer)
                given = reads[: len(inner_inputs)]  # Keras 3 hands their masks over behind them
                inner = {id(a): names[id(b)] for a, b in zip(inner_inputs, given, strict=True)}
                outputs = self.expand(layer, f"{path}/", inner)
            else:
                key = unique(path, self.keys, mark="#", first=2)
                outputs = tuple(f"{key}:{i}" for i in range(len(makes)))
                node = _node(flavor, layer, key, path, [names[id(t)] for t in reads], outputs, reads)
                constants = _constants(flavor, arguments, reads) if node.kind.startswith("ops.") else ()
                self.nodes.append(replace(node, constants=constants))
            names.update(zip((id(t) for t in makes), outputs, strict=True))
        return tuple(names[id(t)] for t in flavor.endpoints(model)[1])


def _node(
    flavor: Flavor,
    layer: Layer,
    key: str,
    path: str,
    inputs: list[str],
    outputs: tuple[str, ...],
    tensors: list[Any],
) -> Node:
    return Node(
        key=key,
        path=path,
        kind=kind_of(flavor, layer),
        inputs=tuple(inputs),
        outputs=outputs,
        input_shapes=tuple(tuple(t.shape) for t in tensors),
        kernels=tuple(kernel.name for kernel in kernels_of(layer)),
        linear=is_linear(flavor, layer),
        activation=_activation(flavor, layer),
    )


def _activation(flavor: Flavor, layer: Layer) -> str:
    """The name of a layer's activation; of a ReLU layer only where it is the plain one."""
    if isinstance(layer, flavor.keras.layers.ReLU):
        plain = layer.max_value is None and not layer.negative_slope and not layer.threshold
        return "relu" if plain else ""
    activation = getattr(layer, "activation", None)
    name = getattr(activation, "__name__", "")
    return name if activation is getattr(flavor.keras.activations, name, layer) else ""


def _constants(flavor: Flavor, arguments: object, reads: list[Any]) -> tuple[Shape, ...]:
    """Shapes of the numbers and arrays among the arguments of a call, the tensors it reads left out."""
    read = {id(tensor) for tensor in reads}
    values = [value for value in flavor.ops.nest.flatten(arguments) if id(value) not in read]
    return tuple(
        tuple(getattr(v, "shape", ())) for v in values if isinstance(v, (int, float)) or hasattr(v, "shape")
    )


def kind_of(flavor: Flavor, layer: Layer) -> str:
    """The nearest class in a layer's family that Keras itself defines, by name."""
    if not flavor.is_layer(layer):
        return f"ops.{type(layer).__name__}"
    for cls in _family(type(layer)):
        if cls.__name__ in ("TFOpLambda", "SlicingOpLambda"):
            return f"ops.{getattr(layer, 'symbol', None) or cls.__name__}"
        if getattr(flavor.keras.layers, cls.__name__, None) is cls:
            return str(cls.__name__)
    return type(layer).__name__


def is_linear(flavor: Flavor, layer: Layer) -> bool:
    """Whether the layer's activation is absent or the identity."""
    activation = getattr(layer, "activation", None)
    return activation is None or activation is flavor.keras.activations.linear


def _family(cls: type) -> Iterator[type]:
    for base in cls.__mro__:
        if base.__name__ == "Layer":
            return
        yield base
