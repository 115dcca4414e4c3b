"""Recurrent layers, which `trace/layers/recurrent.py` traces as one operator each."""

from __future__ import annotations

from typing import Any

import numpy as np

from keras_trt.convert.handlers._nodes import FLOAT, Nodes
from keras_trt.convert.types import Graph, Node

_OPERATORS = {"lstm": "LSTM", "gru": "GRU", "rnn_tanh": "RNN", "rnn_relu": "RNN"}
_GATES = {"LSTM": (0, 3, 1, 2), "GRU": (0, 1, 2), "RNN": (0,)}
"""The gates in ONNX's order (LSTM: input, output, forget, cell), as positions in Keras's."""


def recurrent(ctx: Graph, node: Node, name: str, _: list[object]) -> None:
    """`CudnnRNNV3` with the weights of a Keras cell as its parameters."""
    mode = node.get_attr_str("rnn_mode")
    operator = _OPERATORS[mode]
    x, state, memory, *_rest = node.input
    width, units = ctx.get_shape(x)[-1], ctx.get_shape(node.output[0])[-1]
    if not node.inputs[3].is_const() or -1 in (width, units):
        return
    parameters = node.inputs[3].get_tensor_value(as_list=False)
    weights, after = _weights(parameters, width, units, _GATES[operator])
    outputs, shapes = list(node.output), node.output_shapes
    ctx.remove_node(node.name)
    add = Nodes(ctx, name)
    inputs = [x, *map(add.const, weights), "", state, *([memory] if operator == "LSTM" else [])]
    attributes: dict[str, Any] = {"hidden_size": units, "direction": "forward"}
    if operator == "GRU":
        attributes["linear_before_reset"] = int(after)
    if mode == "rnn_relu":
        attributes["activations"] = ["Relu"]
    states = outputs[1:3] if operator == "LSTM" else outputs[1:2]
    every = f"{name}/steps:0"
    steps, batch, _size = shapes[0]
    ctx.make_node(
        operator,
        inputs,
        attr=attributes,
        name=name,
        outputs=[every, *states],
        shapes=[[steps, 1, batch, units], *([1, batch, units] for _ in states)],
        dtypes=[FLOAT] * (1 + len(states)),
    )
    one = add.const([1], np.int64)
    ctx.make_node(
        "Squeeze",
        [every, one],
        name=f"{name}/Squeeze",
        outputs=outputs[:1],
        shapes=[[steps, batch, units]],
        dtypes=[FLOAT],
    )


def _weights(
    flat: np.ndarray, width: int, units: int, order: tuple[int, ...]
) -> tuple[list[np.ndarray], bool]:
    """`W`, `R` and `B` of ONNX, and whether the reset gate of a GRU acts after the product.

    Keras has two biases for such a GRU, otherwise one, or none; without biases both forms agree but for
    the place of the reset gate, which `trace/layers/recurrent.py` tells by writing zeros.
    """
    columns = len(order) * units
    kernel, recurrent, bias = np.split(flat, [width * columns, (width + units) * columns])
    biases = np.zeros((2, columns), np.float32)
    if bias.size:
        biases[: bias.size // columns] = bias.reshape(-1, columns)

    def gates(matrix: np.ndarray) -> np.ndarray:
        rows = matrix.reshape(-1, len(order), units)[:, list(order)]
        return rows.reshape(len(matrix), columns)

    w, r = (gates(m.reshape(n, columns)).T[None] for m, n in ((kernel, width), (recurrent, units)))
    arrays = [np.ascontiguousarray(array, np.float32) for array in (w, r, gates(biases).reshape(1, -1))]
    return arrays, bias.size == 2 * columns
