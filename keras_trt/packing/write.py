"""Writes the ONNX file; weights go beside it when protobuf's 2 GB would not hold them.

Weights go from their arrays straight into the file: protobuf would copy them, all of them, three times.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import onnx
import onnx_ir as ir

from keras_trt._machine.protobuf import LARGEST, field_head
from keras_trt.bundle import sha256_of
from keras_trt.bundle.manifest import ONNX_FILE
from keras_trt.onnx_passes import _graph as g

EXTERNAL_FILE = "model.onnx.data"


def write_onnx(model: ir.Model, folder: Path, *, external: bool | None = None) -> dict[str, str]:
    """Writes `model.onnx` into a folder. The same model gives the same bytes.

    Args:
        model: The finished graph.
        folder: An existing folder.
        external: Whether the weights go into a file of their own; None: only if they have to.

    Returns:
        The SHA-256 of the external files, by name.
    """
    weights = sum(
        v.const_value.nbytes for v in model.graph.initializers.values() if v.const_value is not None
    )
    if external is None:
        external = weights > LARGEST
    if external:
        ir.save(model, folder / ONNX_FILE, external_data=EXTERNAL_FILE)
        file = folder / EXTERNAL_FILE
        return {EXTERNAL_FILE: sha256_of(file)} if file.is_file() else {}
    with (folder / ONNX_FILE).open("wb") as target:
        _write(model, target)
    return {}


def _write(model: ir.Model, file: BinaryIO) -> None:
    """Writes a `ModelProto`, its fields in the order in which protobuf itself would write them."""
    tensors = [_named(v) for v in model.graph.initializers.values() if v.const_value is not None]
    proto = _without_weights(model)
    model_head, model_tail = _around(proto, "graph")
    graph_head, graph_tail = _around(proto.graph, "initializer")
    heads = [_head(tensor) for tensor in tensors]
    entry = _number(onnx.GraphProto, "initializer")
    size = len(graph_head) + len(graph_tail)
    for head, tensor in zip(heads, tensors, strict=True):
        length = len(head) + _size(tensor)
        size += len(field_head(entry, length)) + length
    file.write(model_head + field_head(_number(onnx.ModelProto, "graph"), size) + graph_head)
    for head, tensor in zip(heads, tensors, strict=True):
        file.write(field_head(entry, len(head) + _size(tensor)) + head)
        if tensor.dtype != ir.DataType.STRING:
            file.write(_content(tensor))
    file.write(graph_tail + model_tail)


def _named(value: ir.Value) -> ir.TensorProtocol:
    tensor = g.given(value.const_value)
    tensor.name = value.name
    return tensor


def _without_weights(model: ir.Model) -> onnx.ModelProto:
    """The model without initializers; what is known of their types and shapes stays."""
    graph = model.graph
    weights = list(graph.initializers.values())
    graph.initializers.clear()
    try:
        proto = ir.to_proto(model)
    finally:
        for value in weights:
            graph.register_initializer(value)
    others = proto.graph.value_info[:]
    del proto.graph.value_info[:]
    known = (v for v in weights if not v.is_graph_input() and (v.type is not None or v.shape is not None))
    proto.graph.value_info.extend(ir.serde.serialize_value(value) for value in known)
    proto.graph.value_info.extend(others)
    return proto


def _around(message: Any, field: str) -> tuple[bytes, bytes]:
    """A message without one of its fields, in two: what comes before it, what comes after it."""
    number, encoded = _number(type(message), field), []
    for later in (False, True):
        side = type(message)()
        side.CopyFrom(message)
        for other, _ in message.ListFields():
            if other.number == number or (other.number > number) != later:
                side.ClearField(other.name)
        encoded.append(side.SerializeToString(deterministic=True))
    return encoded[0], encoded[1]


def _head(tensor: ir.TensorProtocol) -> bytes:
    """A `TensorProto` up to the content; strings, which are not stored as such, whole."""
    if tensor.dtype == ir.DataType.STRING:
        return ir.serde.serialize_tensor(tensor).SerializeToString(deterministic=True)
    proto = onnx.TensorProto(dims=tensor.shape.numpy(), data_type=tensor.dtype, name=tensor.name or "")
    return proto.SerializeToString() + field_head(_number(onnx.TensorProto, "raw_data"), tensor.nbytes)


def _size(tensor: ir.TensorProtocol) -> int:
    return 0 if tensor.dtype == ir.DataType.STRING else tensor.nbytes


def _content(tensor: ir.TensorProtocol) -> bytes | memoryview:
    """The bytes of a tensor, without a copy where they lie in order."""
    if tensor.dtype.bitwidth < 8 or sys.byteorder != "little":  # ONNX packs the former, and swaps the latter
        return tensor.tobytes()
    return np.ascontiguousarray(tensor.numpy()).reshape(-1).view(np.uint8).data


def _number(message: Any, field: str) -> int:
    return message.DESCRIPTOR.fields_by_name[field].number
