"""tf2onnx handlers for the TensorFlow ops it leaves in the graph. They hold for one conversion only."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

Handler = Callable[[Any, Any, str, list[Any]], Any]


def _replace(ctx: Any, node: Any, name: str, build: Callable[[str], str]) -> Any:
    """Puts the subgraph that `build(first input)` makes in the place of `node`."""
    shapes, dtypes, (output,) = node.output_shapes, node.output_dtypes, node.output
    source = node.input[0]
    ctx.remove_node(node.name)
    return ctx.make_node(
        "Identity", [build(source)], name=name, outputs=[output], shapes=shapes, dtypes=dtypes
    )


def _erfc(ctx: Any, node: Any, name: str, _: list[Any]) -> Any:
    """`erfc(x) = 1 - erf(x)`: the exact gelu of both Kerases."""
    dtype = ctx.get_dtype(node.input[0])

    def build(x: str) -> str:
        erf = ctx.make_node("Erf", [x], name=f"{name}/Erf", dtypes=[dtype]).output[0]
        one = ctx.make_const(f"{name}/one", np.array(1.0, np.float32)).output[0]
        return ctx.make_node("Sub", [one, erf], name=f"{name}/Sub", dtypes=[dtype]).output[0]

    return _replace(ctx, node, name, build)


def _bucketize(ctx: Any, node: Any, name: str, _: list[Any]) -> Any:
    """The number of boundaries not above `x`: Discretization."""
    boundaries = np.array(node.get_attr_value("boundaries"), np.float32)

    def build(x: str) -> str:
        real = ctx.make_node("Cast", [x], attr={"to": _FLOAT}, name=f"{name}/real").output[0]
        last = ctx.make_const(f"{name}/axis", np.array([-1], np.int64)).output[0]
        column = ctx.make_node("Unsqueeze", [real, last], name=f"{name}/Unsqueeze").output[0]
        limits = ctx.make_const(f"{name}/boundaries", boundaries).output[0]
        above = ctx.make_node("GreaterOrEqual", [column, limits], name=f"{name}/GreaterOrEqual").output[0]
        ones = ctx.make_node("Cast", [above], attr={"to": _INT32}, name=f"{name}/ones").output[0]
        return ctx.make_node(
            "ReduceSum", [ones, last], attr={"keepdims": 0}, name=f"{name}/ReduceSum", dtypes=[_INT32]
        ).output[0]

    return _replace(ctx, node, name, build)


_FLOAT, _INT32 = 1, 6  # onnx.TensorProto
HANDLERS: dict[str, tuple[Handler, list[Any]]] = {"Erfc": (_erfc, []), "Bucketize": (_bucketize, [])}


@contextmanager
def handlers() -> Iterator[dict[str, tuple[Handler, list[Any]]]]:
    """Yields the `custom_op_handlers` of one conversion and undoes what tf2onnx registers of them."""
    from tf2onnx import constants
    from tf2onnx.handler import tf_op

    opsets = tf_op.get_opsets()
    domain = constants.TENSORFLOW_OPSET.domain
    before = [dict(version) for version in opsets[domain]] if domain in opsets else None
    try:
        yield dict(HANDLERS)
    finally:
        if before is None:
            opsets.pop(domain, None)
        else:
            opsets[domain] = before
