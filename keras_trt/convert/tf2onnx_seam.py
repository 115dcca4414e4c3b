"""Everything this library knows of tf2onnx's insides: the one file that imports it.

Handlers get a graph and a node of tf2onnx (`ctx`, `node`), call their public methods, and make nodes through
`handlers/_nodes.py`; the conversions that tf2onnx has itself they reach by `stock`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_trt._base.formats import ELEMENT_TYPES, widens
from keras_trt._base.private import private
from keras_trt._machine.process import alone, attributes_replaced
from keras_trt.convert.einsum_orders import orders
from keras_trt.convert.types import Graph, Node

if TYPE_CHECKING:
    import tensorflow as tf
    from tensorflow.compat.v1 import GraphDef

HIGHEST_OPSET = 18
"""The highest opset tf2onnx writes; `onnx_passes/opset.py` raises it afterwards."""

Handler = Callable[[Graph, Node, str, list[object]], object]

STOCK = {
    "Conv": ("nn", "ConvOp", "any_version"),
    "Einsum": ("math", "Einsum", "version_12"),
    "FloorDiv": ("math", "FloorDiv", "version_6"),
    "FloorMod": ("math", "FloorMod", "version_7"),
    "GatherV2": ("tensor", "GatherV2", "version_12"),
    "MirrorPad": ("nn", "Pad", "version_11"),
    "OneHot": ("tensor", "OneHot", "any_version_after9"),
    "Resize": ("nn", "Resize", "version_11"),
    "Roll": ("tensor", "Roll", "any_version"),
    "ScatterND": ("tensor", "ScatterND", "version_11"),
    "Slice": ("tensor", "Slice", "version_10"),
    "Select": ("controlflow", "Select", "version_9"),
    "UnsortedSegmentSum": ("reduction", "SegmentSum", "any_version"),
}
"""Conversions of tf2onnx's own that handlers call: the module of `onnx_opset`, the class and its method."""

_BFLOAT16 = next(number for number, name in ELEMENT_TYPES.items() if name == "bfloat16")

# The first two move Q and DQ apart or fold them away (`onnx_passes/quantized` places them for TensorRT); the
# last merges equal nodes in the order of a set, which differs from run to run.
_LEFT_OUT = ("q_dq_optimizer", "const_dequantize_optimizer", "merge_duplication")


def stock(operator: str, ctx: Graph, node: Node) -> Node | None:
    """Converts a node as tf2onnx does by itself."""
    from importlib import import_module

    module, name, method = STOCK[operator]
    convert = getattr(getattr(import_module(f"tf2onnx.onnx_opset.{module}"), name), method)
    made: Node | None = convert(ctx.opset, ctx, node) if method.startswith("any_") else convert(ctx, node)
    return made


def numpy_type(dtype: int) -> type[np.generic]:
    """NumPy's name for a type of ONNX."""
    from tf2onnx.utils import map_onnx_to_numpy_type

    return map_onnx_to_numpy_type(dtype)


def constants_of(graph_def: GraphDef) -> Mapping[str, bytes]:
    """Takes large constants out of a graph, in place; what `graph_to_onnx` wants as `constants`."""
    from tf2onnx import tf_utils

    return tf_utils.compress_graph_def(graph_def)


def graph_to_onnx(
    graph: tf.Graph,
    constants: Mapping[str, bytes],
    handlers: Mapping[str, tuple[Handler, list[object]]],
    *,
    opset: int,
    inputs: list[str],
    outputs: list[str],
) -> tuple[Any, dict[str, str]]:
    """Converts a graph of TensorFlow and optimises it.

    Args:
        graph: The `tf.Graph`.
        constants: See `constants_of`.
        handlers: Conversions that go before tf2onnx's own, by the operator of TensorFlow.
        opset: At most `HIGHEST_OPSET`.
        inputs: The tensors that stay inputs.
        outputs: The tensors that are outputs.

    Returns:
        tf2onnx's graph, and the old name of each Conv that got a new one.
    """
    from tf2onnx import tfonnx

    converted = tfonnx.process_tf_graph(
        graph,
        opset=opset,
        const_node_values=constants,
        custom_op_handlers=dict(handlers),
        input_names=inputs,
        output_names=outputs,
    )
    return _optimised(converted)


@contextmanager
def as_before() -> Iterator[None]:
    """While open, tf2onnx may be used, and is quiet; then its tables and its logger are as they were."""
    import tensorflow as tf
    from tf2onnx import constants, tf_utils
    from tf2onnx.handler import tf_op

    types, bfloat16 = tf_utils.TF_TO_ONNX_DTYPE, tf.bfloat16.as_datatype_enum
    logger = logging.getLogger("tf2onnx")
    domain = constants.TENSORFLOW_OPSET.domain
    with alone():
        level, disabled = logger.level, logger.disabled
        opsets = tf_op.get_opsets()
        before = [dict(version) for version in opsets[domain]] if domain in opsets else None
        narrow = types[bfloat16]
        caches = {name: private(tf_op, name, "tf2onnx") for name in ("_MAPPING", "_DOMAIN_MAPPING")}
        try:
            logger.setLevel(logging.CRITICAL + 1)  # it writes to stderr by default
            types[bfloat16] = _BFLOAT16  # it has float16 there
            yield
        finally:
            types[bfloat16] = narrow
            logger.setLevel(level)
            logger.disabled = disabled
            for name, cache in caches.items():
                setattr(tf_op, name, cache)
            if before is None:
                opsets.pop(domain, None)
            else:
                opsets[domain] = before


def _optimised(graph: Any) -> tuple[Any, dict[str, str]]:
    """Runs tf2onnx's optimisers until none changes anything; gives the graph and new names of Convs.

    `tf2onnx.optimizer.optimize_graph` does the same, but copies all weights before and after every step.
    """
    factories, origins = _optimizers()
    iteration, changed = 0, True
    while changed:
        changed = False
        for factory in factories:
            step = factory()
            step.opt_iteration = iteration
            graph = step._optimize(graph) or graph
            graph.delete_unused_nodes(graph.outputs)
            changed = changed or step.graph_been_opt
        iteration += 1
    graph.topological_sort(graph.get_nodes())
    return graph, origins


def _optimizers() -> tuple[list[Any], dict[str, str]]:
    """tf2onnx's optimisers; where they give a Conv a new name, they note its old one by it."""
    from tf2onnx import optimizer

    transposes, origins = _named_transposes()
    chosen = {name: o for name, o in optimizer._get_optimizers().items() if name not in _LEFT_OUT}
    ours = {
        "optimize_transpose": transposes,
        "einsum_optimizer": _few_orders(),
        "reshape_optimizer": _inner_reshapes(),
        "remove_back_to_back": _lossless_casts(),
    }
    return list({**chosen, **ours}.values()), origins


def _inner_reshapes() -> type[Any]:
    """tf2onnx's optimiser of Reshapes; it loses the Squeeze that it puts behind one that makes an output."""
    from tf2onnx import optimizer

    class InnerReshapeOptimizer(optimizer.ReshapeOptimizer):
        def _optimize_reshape(self, node: Node, graph: Any) -> bool:
            return node.output[0] not in graph.outputs and super()._optimize_reshape(node, graph)

    return InnerReshapeOptimizer


def _named_transposes() -> tuple[type[Any], dict[str, str]]:
    """tf2onnx's optimiser of Transposes, and what it notes: by a new Conv's name, the old one."""
    from tf2onnx import optimizer
    from tf2onnx.optimizer import transpose_optimizer

    origins: dict[str, str] = {}

    class NamedTransposeOptimizer(optimizer.TransposeOptimizer):
        """Merging a bias into a Conv makes a nameless node; this notes which Conv it was."""

        def _optimize_at_current_graph_level(self, graph: Any) -> Any:
            """The base class starts over at the first node after every step: minutes in deep graphs."""
            self._g = graph
            self.pre_optimize_action()
            moved = True
            while moved:
                transposes = [node for node in graph.get_nodes() if node.type == "Transpose"]
                moved = any([self._move_down(node) for node in transposes])
                if moved:
                    self.graph_been_opt = True
            self.merge_duplicated_transposes()
            self.post_optimize_action()
            return graph

        def _move_down(self, trans: Any) -> bool:
            """Moves one Transpose past as many nodes as it can, or removes it."""
            moved = False
            while self._g.get_node_by_name(trans.name) is trans:
                if transpose_optimizer.is_useless_transpose(trans):
                    self._remove_useless_tranpose(trans)
                    return True
                if not (transpose_optimizer.is_transpose(trans) and self._handle_nhwc_tranpose(trans)):
                    break
                moved = True
            return moved

        def _mul_handler(self, trans: Any, node: Node) -> Any:
            """The base class leaves a square its old shape, and makes a wrong Reshape of it later."""
            square, shape = node.input[0] == node.input[1], self._g.get_shape(node.output[0])
            handled = super()._mul_handler(trans, node)
            if handled and square and shape:
                perm = trans.get_attr_value("perm")
                self._g.set_shape(node.output[0], [shape[i] for i in transpose_optimizer.invert_perm(perm)])
            return handled

        def _switch_transpose_and_node(self, node: Node, trans: Any, update_shape: bool = True) -> Any:
            """tf2onnx gives a Slice the shape of the Squeeze behind it; such a shape cannot be permuted."""
            shape = self._g.get_shape(node.output[0])
            if node.type == "Slice" and shape is not None and len(shape) != len(trans.get_attr_value("perm")):
                self._g.set_shape(node.output[0], None)
            return super()._switch_transpose_and_node(node, trans, update_shape)

        def _add_handler(self, trans: Any, node: Node) -> Any:
            old = trans.inputs[0].name
            handled = super()._add_handler(trans, node)
            source = trans.inputs[0] if trans.graph is not None and trans.input else None
            if handled and source is not None and source.name != old:
                origins[source.name] = origins.get(old, old)
            return handled

    return NamedTransposeOptimizer, origins


def _few_orders() -> type[Any]:
    """tf2onnx's optimiser of einsum, which tries as many orders of letters as `orders` gives."""
    from tf2onnx.optimizer import einsum_optimizer

    class FewOrdersEinsumOptimizer(einsum_optimizer.EinsumOptimizer):
        def _optimize_einsum(self, node: Node, graph: object) -> Any:
            equation = node.get_attr_value("equation").decode()
            with attributes_replaced() as replace:
                replace(einsum_optimizer, "permutations", partial(orders, equation))
                return super()._optimize_einsum(node, graph)

    return FewOrdersEinsumOptimizer


def _lossless_casts() -> type[Any]:
    """tf2onnx's optimiser of operators in a row, which drops the first of two Casts if that loses nothing.

    By itself it takes every float for wide enough, and every integer before a boolean.
    """
    from tf2onnx.optimizer import back_to_back_optimizer

    rules = private(back_to_back_optimizer, "_func_map", "tf2onnx")
    merge = rules[("Cast",)]

    def casts(graph: Any, node: Node, readers: list[Node]) -> list[str]:
        source, target = graph.get_dtype(node.input[0]), node.get_attr_value("to")
        if widens(ELEMENT_TYPES.get(source, ""), ELEMENT_TYPES.get(target, "")):
            merged: list[str] = merge(graph, node, readers)
            return merged
        return [reader.output[0] for reader in readers]

    class LosslessBackToBackOptimizer(back_to_back_optimizer.BackToBackOptimizer):
        def _optimize_at_current_graph_level(self, graph: Any) -> Any:
            with attributes_replaced() as replace:
                replace(back_to_back_optimizer, "_func_map", {**rules, ("Cast",): casts})
                return super()._optimize_at_current_graph_level(graph)

    return LosslessBackToBackOptimizer
