"""Names tensors after the nodes that make or use them, so that the same model always gives the same bytes."""

from __future__ import annotations

import onnx_ir as ir

from keras_trt._base.names import unique
from keras_trt.onnx_passes.order import bodies


class NameTensorsPass(ir.passes.InPlacePass):
    """Names each tensor after the node that makes it, each constant after the first node that uses it.

    tf2onnx numbers names with a counter that runs through the process; without this pass the bytes of the
    same model would differ from export to export. Inputs and outputs of the model keep their names; nodes
    and tensors of a loop's body are named after the loop.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Renames everything but the inputs and outputs of the model."""
        graph = model.graph
        taken = {v.name for v in (*graph.inputs, *graph.outputs) if v.name is not None}
        _rename(graph, "", set(), taken, set(taken))
        return ir.passes.PassResult(model, modified=True)


def _rename(graph: ir.Graph, prefix: str, nodes: set[str], taken: set[str], fixed: set[str]) -> None:
    """Renames one graph and, inside, the bodies of its loops and branches."""
    if prefix:
        graph.name = prefix.rstrip("/")
    for i, value in enumerate([v for n, v in graph.initializers.items() if n not in fixed]):
        value.name = f"\0{prefix}{i}"  # first out of the way of each other
    named: set[ir.Value] = set()
    if prefix:
        for i, value in enumerate(graph.inputs):
            value.name = unique(f"{prefix}input_{i}", taken)
            _forget_numbers(value)
    for node in graph:
        node.name = unique(f"{prefix}{node.op_type}" if prefix else node.name or node.op_type, nodes)
        for i, value in enumerate(node.inputs):
            own = value is not None and value.is_initializer() and value.graph is graph
            if value is not None and own and value not in named and value.name not in fixed:
                value.name = unique(f"{node.name}/{_role(node, i)}", taken)
                named.add(value)
        for i, value in enumerate(node.outputs):
            _forget_numbers(value)
            if prefix or not value.is_graph_output():
                value.name = unique(node.name if i == 0 else f"{node.name}:{i}", taken)
        for body in bodies(node):
            _rename(body, f"{node.name}/", nodes, taken, fixed)
    for value in [v for v in graph.initializers.values() if v not in named and v.name not in fixed]:
        value.name = unique(f"{prefix}constant", taken)  # used inside a body only


def _forget_numbers(value: ir.Value) -> None:
    """Drops the made-up names (`unk__171`) of unknown axes: their numbers run through the process too."""
    if value.shape is not None:
        names = [d if isinstance(d, int) else d.value for d in value.shape]
        if any(str(name).startswith("unk__") for name in names):
            value.shape = ir.Shape([None if str(name).startswith("unk__") else name for name in names])


_ROLES = {
    "Conv": ("x", "weight", "bias"),
    "ConvTranspose": ("x", "weight", "bias"),
    "MatMul": ("a", "weight"),
    "Gemm": ("a", "weight", "bias"),
    "QuantizeLinear": ("x", "scale", "zero_point"),
    "DequantizeLinear": ("int8", "scale", "zero_point"),
    "Reshape": ("x", "shape"),
    "Clip": ("x", "min", "max"),
    "Pad": ("x", "pads", "value"),
}


def _role(node: ir.Node, index: int) -> str:
    """What an input is to its node."""
    roles = _ROLES.get(node.op_type, ())
    return roles[index] if index < len(roles) else f"constant_{index}"
