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
from keras_trt.export.passes import _graph as g
from keras_trt.export.passes.naming import layer_of

_TOPK_LIMIT = 3840
_INPUT_TYPES = ("FLOAT", "FLOAT16", "BFLOAT16", "INT32", "INT64", "BOOL", "UINT8", "INT8", "DOUBLE")


@dataclass(frozen=True)
class Obstacle:
    """One node that TensorRT cannot import.

    Attributes:
        layer: The Keras layer's path, or the node's name.
        operator: The ONNX operator.
        problem: What is wrong, and what to do.
    """

    layer: str
    operator: str
    problem: str


@functools.cache
def operator_table() -> dict[str, Any]:
    """By operator its types and restrictions (onnx-tensorrt, `docs/operators.md`)."""
    text = resources.files("keras_trt.export").joinpath("tensorrt_ops.json").read_text(encoding="utf-8")
    return json.loads(text)["operators"]


def obstacles(model: ir.Model, layers: Iterable[str]) -> list[Obstacle]:
    """The inputs and nodes of a finished graph that TensorRT cannot import."""
    layers = tuple(layers)
    found = [
        Obstacle(value.name or "", "input", f"inputs of type {value.dtype.name.lower()} are not supported")
        for value in model.graph.inputs
        if value.dtype is not None and value.dtype.name not in _INPUT_TYPES
    ]
    for node in model.graph.all_nodes():
        layer = layer_of(node.name or "", layers) or node.name or node.op_type
        found += [Obstacle(layer, node.op_type, problem) for problem in _problems(node)]
    return found


def check_importable(model: ir.Model, layers: Iterable[str]) -> None:
    """Makes sure that TensorRT can import a graph.

    Raises:
        ExportError: It cannot; every layer at fault is listed.
    """
    found = obstacles(model, layers)
    if found:
        raise ExportError(
            f"TensorRT cannot import {len(found)} operations of model {model.graph.name!r}:\n"
            + "\n".join(f"  layer {o.layer!r}: {o.operator}: {o.problem}" for o in found[:20])
            + "\nChange these layers, or export with engine=None to run the ONNX file on another runner."
        )


def _problems(node: ir.Node) -> Iterator[str]:
    if node.op_type not in operator_table():
        yield "TensorRT has no such operator"
        return
    rule = _RULES.get(node.op_type)
    if rule is not None:
        yield from rule(node)


def _resize(node: ir.Node) -> Iterator[str]:
    if g.integer(node, "antialias", 0):
        yield "antialiasing is not supported; use antialias=False"
    if _text(node, "coordinate_transformation_mode", "half_pixel") == "tf_crop_and_resize":
        yield "crop and resize is not supported; crop first"


def _top_k(node: ir.Node) -> Iterator[str]:
    k = g.scalar(node.inputs[1])
    if k is not None and k > _TOPK_LIMIT:
        yield f"k must be at most {_TOPK_LIMIT}, it is {int(k)}"


def _pooling(node: ir.Node) -> Iterator[str]:
    if any(d != 1 for d in g.ints(node, "dilations", []) or []):
        yield "dilated pooling is not supported"
    if len(node.outputs) > 1 and (node.outputs[1].uses() or node.outputs[1].is_graph_output()):
        yield "the positions of the maxima are not supported; use the values only"


def _scatter(node: ir.Node) -> Iterator[str]:
    if _text(node, "reduction", "none") != "none":
        yield "scattering with a reduction is not supported"


def _text(node: ir.Node, name: str, default: str) -> str:
    return node.attributes[name].as_string() if name in node.attributes else default


_RULES = {
    "Resize": _resize,
    "TopK": _top_k,
    "MaxPool": _pooling,
    "AveragePool": _pooling,
    "ScatterND": _scatter,
}
