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


HANDLERS: dict[str, tuple[Handler, list[Any]]] = {"Erfc": (_erfc, [])}


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
