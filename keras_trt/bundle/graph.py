"""What an ONNX file says of its inputs, outputs and external files, read without the `onnx` package.

A manifest and a graph that disagree would give wrong numbers or errors in the runner's words. The file is
protobuf (encoding: protobuf.dev/programming-guides/encoding; fields: onnx.proto3), and only the few messages
that matter are looked into: weights are skipped, so the size of the file hardly matters.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from keras_trt._base.formats import ELEMENT_TYPES
from keras_trt._base.tensors import TensorSpec
from keras_trt._machine.protobuf import Span, fields
from keras_trt.bundle.read import Bundle
from keras_trt.errors import BundleError

# Message: {field: message inside it}. Everything else in a file is skipped.
_FIELDS: dict[str, dict[int, str]] = {
    "Model": {7: "Graph", 20: "TrainingInfo", 25: "Function"},
    "TrainingInfo": {1: "Graph", 2: "Graph"},
    "Function": {7: "Node"},
    "Graph": {1: "Node", 5: "Tensor", 15: "SparseTensor"},
    "Node": {5: "Attribute"},
    "Attribute": {5: "Tensor", 6: "Graph", 10: "Tensor", 11: "Graph", 22: "SparseTensor", 23: "SparseTensor"},
    "SparseTensor": {1: "Tensor", 2: "Tensor"},
}
_INPUT, _OUTPUT = 11, 12  # of a Graph
_TENSOR_NAME, _EXTERNAL = 8, 13  # of a Tensor

Axes = list[int | str]


@dataclass
class Graph:
    """Facts of an ONNX file: element type number and axes by name; initializers; where external data lies."""

    inputs: dict[str, tuple[int, Axes]] = field(default_factory=dict)
    outputs: dict[str, tuple[int, Axes]] = field(default_factory=dict)
    initializers: set[str] = field(default_factory=set)
    external: set[str] = field(default_factory=set)


def check_graph(bundle: Bundle) -> None:
    """Compares the graph's inputs, outputs and external files with the manifest.

    Raises:
        BundleError: They differ, or the file is no ONNX file; names the file and the tensor.
    """
    path, manifest = bundle.onnx_path, bundle.manifest
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            graph = read_graph(data)
    except (ValueError, IndexError, OSError) as e:
        raise BundleError(f"`{path}` is no readable ONNX file: {e}") from e
    unlisted = sorted(graph.external - set(manifest.external_data))
    if unlisted:
        raise BundleError(
            f"`{path}` takes weights from files that the manifest does not list: {unlisted}. "
            f"Received: external_data={sorted(manifest.external_data)}"
        )
    given = {name: declared for name, declared in graph.inputs.items() if name not in graph.initializers}
    _compare(path, "inputs", manifest.inputs, given)
    _compare(path, "outputs", manifest.outputs, graph.outputs)


def _compare(
    path: object, what: str, specs: tuple[TensorSpec, ...], declared: dict[str, tuple[int, Axes]]
) -> None:
    if {spec.name for spec in specs} != set(declared):
        raise BundleError(
            f"The manifest's {what} are not those of `{path}`. Received: {[s.name for s in specs]}, "
            f"the graph has {list(declared)}"
        )
    for spec in specs:
        number, axes = declared[spec.name]
        dtype = ELEMENT_TYPES.get(number)
        if dtype != spec.dtype:
            raise BundleError(
                f"The manifest's dtype of `{spec.name}` is not that of `{path}`. Received: {spec.dtype}, "
                f"the graph has {dtype or f'element type {number}'}"
            )
        if len(axes) not in (0, len(spec.shape)) or not all(map(_agree, spec.shape, axes)):
            raise BundleError(
                f"The manifest's shape of `{spec.name}` is not that of `{path}`. Received: "
                f"{list(spec.shape)}, the graph has {axes}"
            )


def _agree(written: int | str, declared: int | str) -> bool:
    """Whether two axes may be the same: sizes are compared with sizes, names with names."""
    return written == declared or type(written) is not type(declared) or declared == ""


def read_graph(data: Any) -> Graph:
    """Reads the facts off an ONNX file's bytes.

    Raises:
        ValueError: Not protobuf.
        IndexError: It ends too early.
    """
    graph, main = Graph(), True
    left: list[tuple[str, Span]] = [("Model", (0, len(data)))]
    while left:
        message, span = left.pop()
        for number, value in fields(data, *span):
            inside = _FIELDS[message].get(number)
            if inside == "Tensor":
                name = _tensor(data, value, graph)
                if message == "Graph":
                    graph.initializers.add(name)
            elif inside is not None:
                left.append((inside, value))
            elif message == "Graph" and main and number in (_INPUT, _OUTPUT):
                name, kind = _value(data, value)
                (graph.inputs if number == _INPUT else graph.outputs)[name] = kind
        main = main and message != "Graph"
    return graph


def _tensor(data: object, span: Span, graph: Graph) -> str:
    name = ""
    for number, value in fields(data, *span):
        if number == _TENSOR_NAME:
            name = _text(data, value)
        elif number == _EXTERNAL:
            entry = {key: _text(data, text) for key, text in fields(data, *value)}
            if entry.get(1) == "location":
                graph.external.add(entry.get(2, ""))
    return name


def _value(data: object, span: Span) -> tuple[str, tuple[int, Axes]]:
    """Name, element type and axes of a ValueInfo; an axis of unknown size is an empty text."""
    name, kind, axes = "", 0, []
    for number, value in fields(data, *span):
        if number == 1:
            name = _text(data, value)
        for _, tensor in _of(data, value, 1) if number == 2 else ():
            for inner, content in fields(data, *tensor):
                if inner == 1:
                    kind = content
                elif inner == 2:
                    axes = [_axis(data, dim) for _, dim in _of(data, content, 1)]
    return name, (kind, axes)


def _axis(data: object, span: Span) -> int | str:
    size: int | str = ""
    for number, value in fields(data, *span):
        size = value if number == 1 else _text(data, value) if number == 2 else size
    return size


def _of(data: object, span: Span, wanted: int) -> Iterator[tuple[int, Any]]:
    return ((number, value) for number, value in fields(data, *span) if number == wanted)


def _text(data: Any, span: Span) -> str:
    return bytes(data[span[0] : span[1]]).decode()
