"""What TensorRT's ONNX importer takes, checked before a build: with the Keras layer and what to do."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib import resources
from typing import Any

import onnx_ir as ir

from keras_trt.errors import ExportError
from keras_trt.onnx_passes import _graph as g
from keras_trt.onnx_passes.naming import layer_of
from keras_trt.tensorrt_rules.import_rules import DOUBTS, REFUSALS

_UNKNOWN_TYPES = ("STRING", "COMPLEX64", "COMPLEX128", "INT16", "UINT16", "UINT32", "UINT64")
_MOST_AXES = 8
_LISTED_AS = {  # quantised types are reached through Q and DQ only, and not listed
    "FLOAT": "FP32",
    "DOUBLE": "FP32",
    "FLOAT16": "FP16",
    "BFLOAT16": "BF16",
    "INT32": "INT32",
    "INT64": "INT64",
    "UINT8": "UINT8",
    "BOOL": "BOOL",
}


@dataclass(frozen=True)
class Obstacle:
    """One node that TensorRT cannot import.

    Attributes:
        layer: The Keras layer's path, or the node's name.
        operator: The ONNX operator.
        problem: What is wrong, and what to do.
        refused: Whether no TensorRT takes it; otherwise the one at hand may.
    """

    layer: str
    operator: str
    problem: str
    refused: bool = True

    def __str__(self) -> str:
        return f"layer {self.layer!r}: {self.operator}: {self.problem}"


@functools.cache
def operator_table() -> dict[str, Any]:
    """By operator its types and restrictions (onnx-tensorrt, `docs/operators.md`)."""
    table = resources.files("keras_trt.tensorrt_rules").joinpath("tensorrt_ops.json")
    return json.loads(table.read_text(encoding="utf-8"))["operators"]


def obstacles(model: ir.Model, layers: Iterable[str]) -> list[Obstacle]:
    """The inputs, outputs and nodes of a finished graph that TensorRT cannot import, or may not."""
    layers = tuple(layers)
    collected = [*_ends(model.graph.inputs, "input"), *_ends(model.graph.outputs, "output")]
    for node in model.graph.all_nodes():
        layer = layer_of(node.name or "", layers) or node.name or node.op_type
        collected += [Obstacle(layer, node.op_type, problem) for problem in _refusals(node)]
        collected += [Obstacle(layer, node.op_type, doubt, refused=False) for doubt in _doubts(node)]
    return list(dict.fromkeys(collected))


def check_importable(model: ir.Model, layers: Iterable[str]) -> None:
    """Makes sure that TensorRT can import a graph.

    Raises:
        ExportError: It cannot; every layer at fault is listed.
    """
    refused = [obstacle for obstacle in obstacles(model, layers) if obstacle.refused]
    if refused:
        raise ExportError(
            f"TensorRT cannot import {len(refused)} operations of model {model.graph.name!r}:\n"
            + "\n".join(f"  {obstacle}" for obstacle in refused[:20])
            + "\nChange these layers, or export with engine=None to run the ONNX file on another runner."
        )


def _ends(values: Iterable[ir.Value], role: str) -> Iterator[Obstacle]:
    for value in values:
        name = value.dtype.name if value.dtype is not None else "FLOAT"
        if name in _UNKNOWN_TYPES:
            problem = (
                f"{role}s of type {name.lower()} are not supported; look words up, or cast, outside the model"
            )
            yield Obstacle(value.name or "", role, problem)
        elif name == "DOUBLE":
            yield Obstacle(value.name or "", role, "float64 is computed in float32", refused=False)


def _refusals(node: ir.Node) -> Iterator[str]:
    if node.op_type not in operator_table():
        yield "TensorRT has no such operator; write the layer with others, or run it outside the model"
        return
    for value in node.outputs:
        name = value.dtype.name if value.dtype is not None else "FLOAT"
        if name in _UNKNOWN_TYPES:
            yield f"tensors of type {name.lower()} are not supported; cast to int32 or float32 before"
        elif name == "UINT8" and not value.is_graph_output():
            yield "uint8 is supported for inputs and outputs of the model only; cast to int32 or float32"
        if (g.rank(value) or 0) > _MOST_AXES:
            yield f"tensors of {g.rank(value)} axes are not supported, up to {_MOST_AXES} are; reshape"
    if node.op_type in REFUSALS:
        yield from REFUSALS[node.op_type](node)


def _doubts(node: ir.Node) -> Iterator[str]:
    row = operator_table().get(node.op_type)
    if row is None:
        return
    if "since" in row:
        yield f"needs TensorRT {row['since']} or newer"
    position = 1 if node.op_type == "Where" else 0
    value = node.inputs[position] if len(node.inputs) > position else None
    name = value.dtype.name if value is not None and value.dtype is not None else None
    listed = _LISTED_AS.get(name or "")
    if listed is not None and listed not in row["types"]:
        yield f"{str(name).lower()} is not among the types it is listed with ({', '.join(row['types'])})"
    if node.op_type in DOUBTS:
        yield from DOUBTS[node.op_type](node)
