"""`Einsum` of one or two operands as what TensorRT knows best: Transposes and one matrix product.

TensorRT takes neither an ellipsis nor one letter twice in an operand.
"""

from __future__ import annotations

import string

import numpy as np

from keras_trt.convert.handlers._nodes import FLOAT, FLOAT16, Nodes, replace
from keras_trt.convert.handlers.indexing.contraction import lowered
from keras_trt.convert.handlers.indexing.diagonal import diagonal
from keras_trt.convert.tf2onnx_seam import stock
from keras_trt.convert.types import Graph, Node

_LETTERS = string.ascii_lowercase
_FLOATS = (FLOAT, FLOAT16)


def einsum(ctx: Graph, node: Node, name: str, _: list[object]) -> Node | None:
    """Writes letters for the ellipsis, and takes the diagonal first of an operand that repeats one."""
    ranks = [ctx.get_rank(operand) for operand in node.input]
    parsed = _spelled_out(node.get_attr_value("equation").decode(), ranks)
    if parsed is None:
        return None
    terms, result = parsed
    for i in range(len(terms)):
        while (axes := _repeated(terms[i])) is not None:
            value = diagonal(Nodes(ctx, f"{name}/diagonal_{i}_{len(terms[i])}"), node.input[i], axes)
            ctx.replace_input(node, node.input[i], value, i)
            terms[i] = terms[i][: axes[1]] + terms[i][axes[1] + 1 :]
    if len(terms) == 1:
        return replace(ctx, node, name, lambda add: _rearranged(add, node.input[0], terms[0], result))
    shapes = [ctx.get_shape(operand) for operand in node.input]
    build = lowered(terms, result, shapes) if ctx.get_dtype(node.input[0]) in _FLOATS else None
    if build is not None:
        operands = list(node.input)
        return replace(ctx, node, name, lambda add: build(add, operands))
    node.set_attr("equation", f"{','.join(terms)}->{result}".encode())
    stock("Einsum", ctx, node)
    return node


def _rearranged(add: Nodes, x: str, term: str, result: str) -> str:
    """One operand: a sum and a Transpose. OpenVINO 2026.4 gives `Einsum` of one another shape."""
    dtype = add.ctx.get_dtype(x)
    summed = [term.index(c) for c in term if c not in result]
    if summed:
        x = add("ReduceSum", x, add.const(summed, np.int64), keepdims=0, dtype=dtype)
    left = [c for c in term if c in result]
    order = [left.index(c) for c in result]
    return x if order == sorted(order) else add("Transpose", x, perm=order, dtype=dtype)


def _repeated(term: str) -> tuple[int, int] | None:
    """The first and the last place of a letter that a term has twice."""
    return next(((term.index(c), term.rindex(c)) for c in term if term.count(c) > 1), None)


def _spelled_out(equation: str, ranks: list[int | None]) -> tuple[list[str], str] | None:
    """The terms and the result in small letters alone, those of an ellipsis counted from its last axis."""
    left, _, result = equation.replace(" ", "").partition("->")
    terms, hidden = left.split(","), []
    for term, rank in zip(terms, ranks, strict=True):
        if "..." in term and rank is None:
            return None
        hidden.append((rank or 0) - len(term) + 3 if "..." in term else 0)
    named = sorted({c for c in equation if c.isalpha()})
    if len(named) + max(hidden) > len(_LETTERS):
        return None
    small = str.maketrans({c: _LETTERS[i] for i, c in enumerate(named)})
    extra = _LETTERS[len(named) : len(named) + max(hidden)]
    terms = [
        t.translate(small).replace("...", extra[len(extra) - n :]) for t, n in zip(terms, hidden, strict=True)
    ]
    return terms, result.translate(small).replace("...", extra)
