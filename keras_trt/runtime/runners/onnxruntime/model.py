"""What ONNX Runtime is given of a bundle: the file itself, or a rewrite of it that its CPU kernels suit."""

from __future__ import annotations

import os
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_trt._base.formats import NARROW, float_type
from keras_trt._base.say import LOGGER
from keras_trt._machine import deps
from keras_trt.bundle.read import Bundle
from keras_trt.runtime.runners.mapped import without_weights
from keras_trt.runtime.runners.onnxruntime.edit import Editor
from keras_trt.runtime.runners.onnxruntime.int8 import fuse

if TYPE_CHECKING:
    import onnx_ir


def cpu_model(bundle: Bundle, *, int8: bool) -> str | bytes:
    """The path of the bundle's file, or the bytes of a graph of the same numbers.

    Narrow floats become float32, in which a CPU computes anyway; there are no kernels for bfloat16.

    Args:
        bundle: What to run.
        int8: Whether int8 layers shall compute in int8, where the bundle has any.
    """
    path, precision = str(bundle.onnx_path), bundle.manifest.precision
    int8 = int8 and precision.startswith("int8")
    wide = float_type(precision) == "float32"
    if wide and not int8:
        return path
    if not deps.available("onnx_ir"):
        LOGGER.info("ONNX Runtime gets `%s` as it is; it is faster with: pip install onnx-ir", path)
        return path
    ir = deps.require("onnx_ir", install="onnx-ir", why="runner='onnxruntime'")
    model = _mapped(bundle, ir)
    if not wide:
        widen_floats(model, ir)
    if int8:
        fuse(model, ir)
    data: bytes = ir.to_proto(model).SerializeToString()
    return data


def weights_folder(bundle: Bundle) -> Path:
    """Where the files of weights that a rewritten graph names really lie.

    A bundle may be made of links, as in a cache of downloads or a mounted volume, and ONNX Runtime follows
    none that leads out of the folder it is told.
    """
    return bundle.onnx_path.resolve().parent


def _mapped(bundle: Bundle, ir: ModuleType) -> onnx_ir.Model:
    """The model, its large weights left in their files, from where ONNX Runtime reads them, too."""
    onnx = deps.require("onnx", install="onnx", why="runner='onnxruntime'")
    path, folder = bundle.onnx_path.resolve(), weights_folder(bundle)
    model = ir.from_proto(onnx.load_model_from_string(without_weights(path, path.name)))
    for value in model.graph.initializers.values():
        held = value.const_value
        if isinstance(held, ir.ExternalTensor):
            file = (bundle.onnx_path.parent / held.location).resolve() if held.location != path.name else path
            value.const_value = ir.ExternalTensor(
                os.path.relpath(file, folder),
                held.offset,
                held.length,
                held.dtype,
                shape=held.shape,
                name=held.name,
                base_dir=str(folder),
            )
    return model


def widen_floats(model: onnx_ir.Model, ir: ModuleType) -> None:
    """Makes float32 of float16 and bfloat16 but for the model's own inputs and outputs, in place."""
    graph = model.graph
    narrow = [ir.DataType[stored.upper()] for stored in NARROW.values()]
    ends = [(value, value.dtype) for value in (*graph.inputs, *graph.outputs) if value.dtype in narrow]
    for each in (graph, *graph.subgraphs()):
        for value in (*each.inputs, *each.initializers.values()):
            _widen(value, narrow, ir)
    for node in graph.all_nodes():
        for value in node.outputs:
            _widen(value, narrow, ir)
        for name in ("to", "dtype", "output_dtype"):
            if name in node.attributes and node.attributes[name].value in narrow:
                node.attributes[name] = ir.AttrInt64(name, ir.DataType.FLOAT)
        held = node.attributes.get("value")
        if held is not None and held.type == ir.AttributeType.TENSOR and held.value.dtype in narrow:
            node.attributes["value"] = ir.AttrTensor("value", _single(held.value, ir))
    _cast_ends(graph, ends, ir)


def _widen(value: onnx_ir.Value, narrow: list[object], ir: ModuleType) -> None:
    if value.dtype in narrow:
        value.type = ir.TensorType(ir.DataType.FLOAT)
        if value.const_value is not None:
            value.const_value = _single(value.const_value, ir)


def _single(tensor: onnx_ir.TensorProtocol, ir: ModuleType) -> onnx_ir.TensorProtocol:
    return ir.tensor(tensor.numpy().astype(np.float32), name=tensor.name)


def _cast_ends(graph: onnx_ir.Graph, ends: list[tuple[Any, Any]], ir: ModuleType) -> None:
    """Gives the graph's inputs and outputs back their types, with casts behind and in front of them."""
    edit = Editor(graph, ir)
    for value, dtype in ends:
        if value in graph.inputs:
            readers = list(value.uses())
            value.type = ir.TensorType(dtype)
            if readers:
                cast = edit.before(graph[0], "Cast", [value], {"to": int(ir.DataType.FLOAT)})
                for use in readers:
                    use.node.replace_input_with(use.idx, cast)
        for index, output in enumerate(graph.outputs):
            if output is value and value not in graph.inputs:
                node = ir.node("Cast", [value], {"to": int(dtype)})
                graph.append(node)
                node.outputs[0].name, value.name = value.name, f"{value.name}/float32"
                node.outputs[0].type, node.outputs[0].shape = ir.TensorType(dtype), value.shape
                graph.outputs[index] = node.outputs[0]
