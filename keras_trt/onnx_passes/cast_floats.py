"""Puts a graph's float part into float16 or bfloat16; TensorRT computes in the types it is given.

A strongly typed network takes precision from the graph alone: initializers are converted, Casts stand at
the borders, and Q/DQ scales have the low type too, since that is the type between a DQ and the next Q.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
import onnx.defs
import onnx_ir as ir

from keras_trt._base.formats import FLOAT16_MAX, NARROW
from keras_trt.onnx_passes import _graph as g
from keras_trt.onnx_passes.naming import layer_of
from keras_trt.onnx_passes.order import bodies

_LOW = {word: ir.DataType[stored.upper()] for word, stored in NARROW.items()}
MIN_OPSET = {"float32": 17, "fp16": 19, "bf16": 22}
"""float16 scales came with opset 19, bfloat16 convolutions with opset 22."""

# Control flow and random numbers stay as they are; the others lose too much, and NVIDIA's AutoCast agrees.
_CONTROL = ("If", "Loop", "Scan")
_RANDOM = ("RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "EyeLike")
_HIGH_OPS = (*_CONTROL, *_RANDOM, "Celu", "NonMaxSuppression", "Upsample", "CumSum", "Range")
_FLOAT16_NORMAL = 6.104e-05  # smallest value with full precision


@dataclass
class CastResult(ir.passes.PassResult):
    """What `CastFloatsPass` gives.

    Attributes:
        in_float32: Why nodes stayed in float32, by node name.
    """

    in_float32: Mapping[str, str] = field(default_factory=dict)


class CastFloatsPass(ir.passes.InPlacePass):
    """Converts every float32 tensor inside the graph; inputs and outputs stay float32.

    A node stays in float32 when its operator does not take the low type, when it belongs to a layer in
    `keep` or `overflowing`, or when one of its constants would overflow, or lose its precision as a scale.

    Args:
        precision: `"fp16"` or `"bf16"`.
        layers: The paths of all Keras layers.
        keep: The paths of layers that stay in float32.
        overflowing: Why layers stay in float32, by path (nodes of no layer by name).
    """

    def __init__(
        self,
        precision: str,
        layers: Iterable[str] = (),
        keep: Iterable[str] = (),
        overflowing: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__()
        self.low = _LOW[precision]
        self.layers = tuple(layers)
        self.keep = set(keep)
        self.overflowing = overflowing or {}

    def call(self, model: ir.Model) -> CastResult:
        """Converts the main graph; the result says what stayed in float32."""
        graph, opset = model.graph, model.opset_imports[""]
        nodes = list(graph)
        reasons = self._reasons(nodes, opset)
        for node in nodes:
            if not reasons[node]:
                self._convert(node, opset)
        in_float32 = {node.name or node.op_type: reasons[node] for node in nodes if reasons[node]}
        self._match_types(graph, nodes, opset, in_float32)
        for value in list(graph.initializers.values()):
            if not value.uses() and not value.is_graph_output():
                del graph.initializers[value.name]
        return CastResult(model, modified=True, in_float32=in_float32)

    def _reasons(self, nodes: list[ir.Node], opset: int) -> dict[ir.Node, str]:
        """Why each node stays in float32.

        One scale that float16 cannot hold keeps its whole layer: a Cast between Q/DQ and the convolution
        behind would cost the layer its int8.
        """
        reasons = {node: self._reason(node, opset) for node in nodes}
        layers = {node: layer_of(node.name or "", self.layers) for node in nodes}
        scales = {layers[n]: reasons[n] for n in nodes if reasons[n] and n.op_type in g.QUANTIZERS}
        return {n: reasons[n] or (scales.get(layers[n], "") if layers[n] else "") for n in nodes}

    def _reason(self, node: ir.Node, opset: int) -> str:
        """Why the node stays in float32; empty when it does not."""
        if node.op_type in _HIGH_OPS:
            return f"{node.op_type} stays in float32"
        values = () if node.op_type in ("Shape", "Size") else (*node.inputs, *node.outputs)
        if not any(v is not None and v.dtype == ir.DataType.FLOAT for v in values):
            return ""  # shapes and masks have no type to keep
        layer = layer_of(node.name or "", self.layers)
        if layer in self.keep:
            return f"layer {layer!r} stays in float32"
        owner = layer or node.name or ""
        if owner in self.overflowing:
            return self.overflowing[owner]
        for i, value in enumerate(node.inputs):
            array = g.constant(value)
            if array is None or array.dtype != np.float32 or not _takes(node, i, opset, self.low):
                continue
            reason = _too_far(node, i, array, self.low)
            if reason:
                return reason
        return ""

    def _convert(self, node: ir.Node, opset: int) -> None:
        """Gives the node's outputs the low type."""
        if node.op_type == "Cast":
            if node.attributes["to"].as_int() == ir.DataType.FLOAT:
                node.attributes["to"] = ir.AttrInt64("to", self.low)
                node.outputs[0].type = ir.TensorType(self.low)
            return
        if node.op_type == "ConstantOfShape":
            value = node.attributes.get("value")
            array = np.zeros(1, np.float32) if value is None else value.as_tensor().numpy()
            if array.dtype == np.float32:
                node.attributes["value"] = ir.AttrTensor("value", ir.tensor(array.astype(self.low.numpy())))
                node.outputs[0].type = ir.TensorType(self.low)
            return
        for i, output in enumerate(node.outputs):
            if output.dtype == ir.DataType.FLOAT and _gives(node, i, opset, self.low):
                output.type = ir.TensorType(self.low)

    def _match_types(
        self, graph: ir.Graph, nodes: list[ir.Node], opset: int, in_float32: Mapping[str, str]
    ) -> None:
        """Feeds every input the type it wants, with one Cast or converted constant per tensor."""
        converted = _Converted()
        for node in nodes:
            high = node.name in in_float32
            for i, value in enumerate(node.inputs):
                if value is None or value.dtype not in (ir.DataType.FLOAT, self.low):
                    continue
                low = not high and (node.op_type == "Cast" or _takes(node, i, opset, self.low))
                wanted = self.low if low else ir.DataType.FLOAT
                if node.op_type == "Cast" or value.dtype == wanted:
                    continue
                node.replace_input_with(i, converted.get(value, wanted, node))
            self._match_bodies(node, node, converted)
        for i, output in enumerate(graph.outputs):
            if output.dtype == self.low:
                _restore_output(graph, i, output)

    def _match_bodies(self, loop: ir.Node, node: ir.Node, converted: _Converted) -> None:
        """Gives the body of a loop, which stays in float32, the tensors it reads from outside in float32."""
        for body in bodies(node):
            for inner in body:
                for i, value in enumerate(inner.inputs):
                    if value is not None and value.dtype == self.low:
                        inner.replace_input_with(i, converted.get(value, ir.DataType.FLOAT, loop))
                self._match_bodies(loop, inner, converted)


class _Converted:
    """The tensors of a graph in other types; each is made once, and all later users share it."""

    def __init__(self) -> None:
        self._made: dict[tuple[ir.Value, ir.DataType], ir.Value] = {}

    def get(self, value: ir.Value, dtype: ir.DataType, user: ir.Node) -> ir.Value:
        """The tensor in another type, for a node that reads it."""
        if (value, dtype) not in self._made:
            self._made[value, dtype] = _constant(value, dtype, user) or (
                _dequantized(value, dtype) or _cast(value, dtype, user)
            )
        return self._made[value, dtype]


def _constant(value: ir.Value, dtype: ir.DataType, user: ir.Node) -> ir.Value | None:
    array = g.constant(value)
    if array is None:
        return None
    made = g.add_constant(user.graph, array.astype(dtype.numpy()), f"{value.name}__low")
    made.type, made.shape = ir.TensorType(dtype), ir.Shape(array.shape)
    return made


def _dequantized(value: ir.Value, dtype: ir.DataType) -> ir.Value | None:
    """What a second DequantizeLinear makes, if the first makes `value` and the type can hold its scale.

    Behind a Cast, TensorRT would not compute in int8.
    """
    maker = g.producer(value, "DequantizeLinear")
    scale = None if maker is None else g.constant(maker.inputs[1])
    if maker is None or scale is None or _too_far(maker, 1, scale, dtype):
        return None
    name = f"{maker.name}/{dtype.name.lower()}"
    converted = g.add_constant(maker.graph, scale.astype(dtype.numpy()), f"{name}/scale")
    inputs = [maker.inputs[0], converted, *maker.inputs[2:]]
    node = ir.Node("", maker.op_type, inputs, maker.attributes.values(), name=name)
    maker.graph.insert_after(maker, node)
    made = node.outputs[0]
    made.name, made.type, made.shape = f"{name}:0", ir.TensorType(dtype), value.shape
    return made


def _cast(value: ir.Value, dtype: ir.DataType, user: ir.Node) -> ir.Value:
    """A Cast right behind the node that makes `value`, so that all later users can share it."""
    label = dtype.name.lower()
    maker = value.producer()
    if maker is None:  # an input of the graph
        return g.insert(
            next(iter(user.graph)),
            "Cast",
            [value],
            {"to": dtype},
            like=value,
            dtype=dtype,
            name=f"{value.name}/{label}",
        )
    anchor = g.insert(
        maker, "Cast", [value], {"to": dtype}, like=value, dtype=dtype, name=f"{maker.name}/{label}"
    )
    node = anchor.producer()
    graph = node.graph
    graph.remove(node)
    graph.insert_after(maker, node)
    return anchor


def _restore_output(graph: ir.Graph, index: int, inner: ir.Value) -> None:
    """Casts a low output back to float32; the output keeps its name."""
    maker, name = inner.producer(), inner.name
    node = ir.node("Cast", [inner], {"to": ir.DataType.FLOAT}, name=f"{maker.name}/float")
    inner.name = f"{name}__low"
    output = node.outputs[0]
    output.name, output.type, output.shape = name, ir.TensorType(ir.DataType.FLOAT), inner.shape
    graph.append(node)
    graph.outputs[index] = output


def _too_far(node: ir.Node, index: int, array: np.ndarray, dtype: ir.DataType) -> str:
    """Why a type cannot hold a constant that a node reads; empty where it can."""
    if dtype != ir.DataType.FLOAT16:
        return ""
    finite = array[np.isfinite(array)]
    largest = float(np.abs(finite).max(initial=0.0))
    if largest > FLOAT16_MAX:
        return f"a constant of {largest:.3g} overflows float16"
    is_scale = node.op_type in g.QUANTIZERS and index == 1
    if is_scale and float(finite.min(initial=1.0)) < _FLOAT16_NORMAL:
        return f"a scale of {float(finite.min()):.3g} is too small for float16"
    if array.size == 1 and 0 < largest < _FLOAT16_NORMAL:
        return f"a constant of {largest:.3g} is too small for float16"
    return ""


def _takes(node: ir.Node, index: int, opset: int, dtype: ir.DataType) -> bool:
    """Whether the operator's input takes the type."""
    schema = onnx.defs.get_schema(node.op_type, opset, "")
    return _allows(schema, schema.inputs, index, dtype)


def _gives(node: ir.Node, index: int, opset: int, dtype: ir.DataType) -> bool:
    """Whether the operator's output can have the type."""
    schema = onnx.defs.get_schema(node.op_type, opset, "")
    return _allows(schema, schema.outputs, index, dtype)


def _allows(schema: onnx.defs.OpSchema, parameters: list, index: int, dtype: ir.DataType) -> bool:
    if not parameters:
        return False
    kind = parameters[min(index, len(parameters) - 1)].type_str
    allowed = {c.type_param_str: c.allowed_type_strs for c in schema.type_constraints}.get(kind, [kind])
    return f"tensor({dtype.name.lower()})" in allowed
