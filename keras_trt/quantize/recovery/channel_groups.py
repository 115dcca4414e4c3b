"""Tensors of a model whose channels can be scaled together without changing what the model computes.

From a layer that can divide what it makes (`channel_scales`) the factors spread: through what commutes with
them (ReLU, pooling, padding, flattening, sums whose terms are all divided), to the layers that read the
tensor and undo them. The walk is over TensorFlow's graph of the model's call, not over a graph of layers: so
it sees what a `call` of the user's own does, and stops at every operator that it does not know.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from keras_trt._keras.calls.graphs import as_graph
from keras_trt._keras.calls.record import replaced_calls
from keras_trt._keras.flavor import Flavor
from keras_trt._keras.types import Layer, Model, Tensor
from keras_trt.quantize.recovery.channel_scales import Sides, sides_of
from keras_trt.quantize.recovery.commuting import KEEP_THE_LARGEST, READ_NO_VALUES, channel_operands
from keras_trt.twins.quantizer import observing
from keras_trt.twins.types import Quantizer

Key = tuple[str, int]


@dataclass
class ChannelGroup:
    """Tensors whose channels are divided by the same factors.

    Attributes:
        makers: What makes such tensors, by path.
        readers: What reads them, by path.
        quantizers: The identities of the quantisers that round one of them.
        widths: The sizes of the tensors' last axes; a flattened image repeats its channels.
        caps: Where activations on the way stop growing.
    """

    makers: dict[str, Sides] = field(default_factory=dict)
    readers: dict[str, Sides] = field(default_factory=dict)
    quantizers: set[int] = field(default_factory=set)
    widths: set[int] = field(default_factory=set)
    caps: set[float] = field(default_factory=set)

    @property
    def channels(self) -> int:
        """How many factors there are."""
        return min(self.widths)


@dataclass
class _Marks:
    """A traced call: where layers that can take in factors begin and end, and what is quantised."""

    sides: dict[str, Sides] = field(default_factory=dict)
    calls: Counter[str] = field(default_factory=Counter)
    begins: dict[str, str] = field(default_factory=dict)
    ends: dict[str, str] = field(default_factory=dict)
    quantized: list[tuple[int, Tensor]] = field(default_factory=list)
    outputs: set[Key] = field(default_factory=set)


def channel_groups(flavor: Flavor, model: Model, batch: object) -> list[ChannelGroup]:
    """The groups of a quantised model in which a quantiser rounds; none that reaches an output of the model.

    Args:
        flavor: The model's Keras.
        model: A quantised model.
        batch: Inputs it can be called on.
    """
    graph, marks = _traced(flavor, model, batch)
    visited: set[Key] = set()
    groups = []
    for name in marks.ends:
        end = graph.get_operation_by_name(name).outputs[0]
        if _key(end) not in visited:
            walk = _Walk(flavor, graph, marks)
            walk.spread(end)
            visited |= walk.seen.keys()
            if walk.holds():
                groups.append(walk.group)
    return groups


def _traced(flavor: Flavor, model: Model, batch: object) -> tuple[Any, _Marks]:
    """The graph of a model's call in float, with its marks."""
    tf, marks, ranks, graphs = flavor.tf, _Marks(), dict[str, int](), list[Any]()

    def marking(path: str, call: Callable[..., object]) -> Callable[..., Any]:
        def marked(*args: Any, **options: Any) -> Any:
            marks.calls[path] += 1
            if not args or not tf.is_tensor(args[0]) or args[0].shape.rank is None:
                return call(*args, **options)
            begin, ranks[path] = tf.identity(args[0]), args[0].shape.rank
            end = call(begin, *args[1:], **options)
            if not tf.is_tensor(end):
                return end
            end = tf.identity(end)
            if begin.graph is graphs[0]:  # a loop's body has a graph, and names, of its own
                marks.begins[begin.op.name], marks.ends[end.op.name] = path, path
            return end

        return marked

    def observe(quantizer: Quantizer, x: Tensor) -> None:
        marks.quantized.append((id(quantizer), x))

    def kernel(layer: Layer, floats: Tensor, rounded: Tensor) -> Tensor:
        return floats

    def run(batch: object) -> Any:
        graphs[:] = [tf.compat.v1.get_default_graph()]
        with observing(observe, kernel, corrected=False), replaced_calls(flavor, model, marking):
            return tf.nest.flatten(model(batch, training=False))

    graph = as_graph(flavor, run, batch)
    marks.outputs = {_key(t) for t in graph.outputs}
    for path, layer in flavor.walk(model):  # not while a layer runs, whose kernel is a tensor then
        sides = sides_of(flavor, layer, ranks[path]) if marks.calls[path] == 1 and path in ranks else None
        if sides is not None:
            marks.sides[path] = sides
    for places in (marks.begins, marks.ends):
        for name in [name for name, path in places.items() if path not in marks.sides]:
            del places[name]
    return graph, marks


class _Walk:
    """One group, from one of its tensors on."""

    def __init__(self, flavor: Flavor, graph: object, marks: _Marks) -> None:
        self.seen: dict[Key, Tensor] = {}
        self.group = ChannelGroup()
        self._flavor, self._graph, self._marks = flavor, graph, marks
        self._open: list[Any] = []
        self._blocked = False
        self._lessened = False  # a quantiser behind it does not see how near to its cap an activation comes

    def spread(self, start: Tensor) -> None:
        """Follows the tensors, to what makes them and to what reads them."""
        self._add(start)
        while self._open:
            tensor = self._open.pop()
            if (
                tensor.shape.rank in (None, 0)
                or tensor.shape[-1] is None
                or _key(tensor) in self._marks.outputs
            ):
                self._blocked = True
                continue
            self.group.widths.add(int(tensor.shape[-1]))
            self._up(tensor)
            for reader in tensor.consumers():
                self._down(tensor, reader)

    def holds(self) -> bool:
        """Whether all that was met takes part, and something of it is rounded."""
        rounded = {id_ for id_, x in self._marks.quantized if self._seen(x)}
        self.group.quantizers |= rounded
        if self._blocked or not (rounded and self.group.readers and len(self.group.caps) <= 1):
            return False
        if self.group.caps and self._lessened:
            return False
        channels = self.group.channels
        return channels > 1 and all(width % channels == 0 for width in self.group.widths)

    def _seen(self, tensor: Any) -> bool:
        return tensor.graph is self._graph and _key(tensor) in self.seen

    def _add(self, tensor: Tensor) -> None:
        if _key(tensor) not in self.seen:
            self.seen[_key(tensor)] = tensor
            self._open.append(tensor)

    def _up(self, tensor: Any) -> None:
        op = tensor.op
        path = self._marks.ends.get(op.name)
        if path is None:
            self._through(op)
            return
        sides = self._marks.sides[path]
        self._blocked |= not sides.makes
        self.group.makers[path] = sides
        if sides.cap is not None:
            self.group.caps.add(sides.cap)

    def _down(self, tensor: Tensor, op: Any) -> None:
        path = self._marks.begins.get(op.name)
        if path is not None:
            sides = self._marks.sides[path]
            self._blocked |= not sides.reads
            self.group.readers[path] = sides
            self.seen[_key(op.outputs[0])] = op.outputs[0]  # the layer's own tensor, which it rounds
        elif op.type not in READ_NO_VALUES:
            operands = channel_operands(self._flavor, op)
            self._blocked |= not any(_key(each) == _key(tensor) for each in operands)
            self._through(op)

    def _through(self, op: Any) -> None:
        operands = channel_operands(self._flavor, op)
        self._blocked |= not operands
        self._lessened |= op.type not in KEEP_THE_LARGEST
        if operands:
            if op.type == "Relu6":
                self.group.caps.add(6.0)
            for tensor in (*operands, op.outputs[0]):
                self._add(tensor)
            taking = {_key(each) for each in operands}
            others = [each for each in op.inputs if _key(each) not in taking]
            self._blocked |= any(_key(each) in self.seen for each in others)


def _key(tensor: Any) -> Key:
    return tensor.op.name, tensor.value_index
