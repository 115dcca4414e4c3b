"""What handlers need of tf2onnx's graph and nodes, which have no types of their own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np


class Node(Protocol):
    """One operation, of TensorFlow before its conversion or of ONNX after it."""

    name: str
    type: str
    domain: str
    op: Any

    @property
    def input(self) -> list[str]:
        """The names of the tensors it reads."""

    @property
    def output(self) -> list[str]:
        """The names of the tensors it makes."""

    @property
    def inputs(self) -> list[Node]:
        """The nodes that make what it reads."""

    @property
    def output_shapes(self) -> list[Any]:
        """A list of sizes for each output, -1 for an open one; None where not even the rank is known."""

    @property
    def output_dtypes(self) -> list[int]:
        """ONNX's number of each output's type."""

    @property
    def attr(self) -> dict[str, Any]:
        """Its attributes, as ONNX's messages."""

    def get_attr_value(self, name: str, default: object = None) -> Any:
        """An attribute's plain value."""

    def get_attr_str(self, name: str, encoding: str = "utf-8") -> str:
        """An attribute's text."""

    def set_attr(self, name: str, value: object) -> None:
        """Sets an attribute."""

    def is_const(self) -> bool:
        """Whether it is a constant."""

    def get_tensor_value(self, as_list: bool = True) -> Any:
        """A constant's numbers, as a list or an array."""


class Graph(Protocol):
    """The graph that is being converted."""

    @property
    def opset(self) -> int:
        """ONNX's opset that it is written in."""

    def make_node(self, op_type: str, inputs: Sequence[str], **options: object) -> Node:
        """Adds a node."""

    def make_const(self, name: str, np_val: np.ndarray) -> Node:
        """Adds a constant."""

    def remove_node(self, node_name: str) -> None:
        """Takes a node out."""

    def get_node_by_output(self, output: str) -> Any:
        """The `Node` that makes a tensor; None outside the graph."""

    def replace_input(
        self, node: Node, old_input: str, new_input: str, input_index: int | None = None
    ) -> object:
        """Makes a node read another tensor."""

    def get_dtype(self, output: str) -> int:
        """ONNX's number of a tensor's type."""

    def get_rank(self, output: str) -> Any:
        """A tensor's number of axes; None where it is not known."""

    def get_shape(self, output: str) -> Any:
        """A tensor's sizes, -1 for an open one; None where not even the rank is known."""

    def set_shape(self, output: str, shape: object) -> None:
        """Says a tensor's shape."""
