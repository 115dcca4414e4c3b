"""Removes nodes that change nothing, and computes shapes that are already known."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from keras_trt.onnx_passes import _graph as g


class SimplifyPass(ir.passes.InPlacePass):
    """Small exact simplifications.

    1. `Mul` and `Div` by one, `Add` and `Sub` of zero are dropped (swish carries a `Mul` by beta = 1).
    2. `Cast` to the type a tensor already has is dropped.
    3. `Transpose` that permutes nothing is dropped; two in a row become one.
    4. `Reshape` gets a constant shape when all axes but one are known (needs inferred shapes).
    5. Of two `Reshape` in a row only the second is kept.
    6. A nearest `Resize` uses the coordinates TensorRT has: `asymmetric` for whole factors, where all modes
       agree, else `half_pixel`, rounded up at a half, which is the same as TensorFlow's without the shift.
       Its empty region of interest goes; TensorRT warns of it.
    7. One minus a boolean (tf_keras's attention masks) is its negation: OpenVINO 2026.4 takes the first for
       a dequantisation and computes int8 attention wrongly.
    8. The shape of a transposed tensor is that of the tensor, in its order.
    9. A `Reshape` to a scalar goes over one element: OpenVINO 2026.4 crashes on a `MatMul` before the first.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Walks the graph once."""
        modified = False
        for node in list(model.graph):
            rule = _RULES.get(node.op_type)
            modified = bool(rule and rule(node)) or modified
        return ir.passes.PassResult(model, modified)


def _neutral(node: ir.Node) -> bool:
    neutral = 1.0 if node.op_type in ("Mul", "Div") else 0.0
    candidates = [(0, 1)] if node.op_type in ("Div", "Sub") else [(0, 1), (1, 0)]
    for operand, dropped in candidates:
        array = g.constant(node.inputs[dropped])
        if array is None or not np.all(array == neutral):
            continue
        x = node.inputs[operand]
        n_axes = g.rank(x)
        if array.size == 1 and (array.ndim == 0 or (n_axes is not None and array.ndim <= n_axes)):
            return _drop(node, x)
    return False


def _difference(node: ir.Node) -> bool:
    cast = g.producer(node.inputs[1], "Cast")
    if cast is None or cast.inputs[0].dtype != ir.DataType.BOOL or g.scalar(node.inputs[0]) != 1.0:
        return _neutral(node)
    dtype = cast.attributes["to"].as_int()
    opposite = g.insert(node, "Not", [cast.inputs[0]], like=cast.inputs[0], name=f"{node.name}/Not")
    number = g.insert(
        node,
        "Cast",
        [opposite],
        {"to": dtype},
        like=node.outputs[0],
        dtype=ir.DataType(dtype),
        name=f"{node.name}/Cast",
    )
    g.replace(node, number)
    return True


def _drop(node: ir.Node, x: ir.Value) -> bool:
    if node.outputs[0].is_graph_output() and not (g.can_take_output(x) and g.only_used_by(x, node)):
        return False
    g.replace(node, x)
    return True


def _same_cast(node: ir.Node) -> bool:
    x = node.inputs[0]
    return x.dtype is not None and x.dtype == node.attributes["to"].as_int() and _drop(node, x)


def _transpose(node: ir.Node) -> bool:
    perm = g.ints(node, "perm")
    if perm is None:
        return False
    if perm == sorted(perm):
        return _drop(node, node.inputs[0])
    before = g.producer(node.inputs[0], "Transpose")
    first = g.ints(before, "perm") if before is not None else None
    if before is None or first is None:
        return False
    node.attributes["perm"] = ir.AttrInt64s("perm", [first[p] for p in perm])
    node.replace_input_with(0, before.inputs[0])
    if not before.outputs[0].uses() and not before.outputs[0].is_graph_output():
        before.graph.remove(before, safe=True)
    _transpose(node)
    return True


def _shape(node: ir.Node) -> bool:
    before = g.producer(node.inputs[0], "Transpose")
    perm = g.ints(before, "perm") if before is not None else None
    if before is None or perm is None or node.attributes.keys() & {"start", "end"}:
        return False
    graph, output = g.given(node.graph), node.outputs[0]
    shape = g.insert(node, "Shape", [before.inputs[0]], like=output, name=f"{node.name}/Shape")
    places = g.add_constant(graph, np.array(perm, np.int64), f"{node.name}/order")
    ordered = g.insert(node, "Gather", [shape, places], {"axis": 0}, like=output, name=f"{node.name}/Gather")
    g.replace(node, ordered)
    if not before.outputs[0].uses() and not before.outputs[0].is_graph_output():
        g.given(before.graph).remove(before, safe=True)
    return True


def _reshape(node: ir.Node) -> bool:
    before, target = g.producer(node.inputs[0], "Reshape"), g.constant(node.inputs[1])
    if before is not None and target is not None and 0 not in target:  # 0 would copy a size of its input
        node.replace_input_with(0, before.inputs[0])
        if not before.outputs[0].uses() and not before.outputs[0].is_graph_output():
            before.graph.remove(before, safe=True)
        return True
    if target is not None and not target.size:
        return _to_scalar(node)
    return _constant_reshape(node)


def _to_scalar(node: ir.Node) -> bool:
    graph, output = g.given(node.graph), node.outputs[0]
    one = g.add_constant(graph, np.array([1], np.int64), f"{node.name}/one")
    axis = g.add_constant(graph, np.array([0], np.int64), f"{node.name}/axis")
    element = g.insert(
        node, "Reshape", [node.inputs[0], one], dtype=output.dtype, name=f"{node.name}/Reshape"
    )
    scalar = g.insert(node, "Squeeze", [element, axis], like=output, name=f"{node.name}/Squeeze")
    g.replace(node, scalar)
    return True


def _constant_reshape(node: ir.Node) -> bool:
    shape = node.outputs[0].shape
    if g.constant(node.inputs[1]) is not None or shape is None:
        return False
    sizes = [d if isinstance(d, int) else -1 for d in shape]
    if sizes.count(-1) > 1 or 0 in sizes:
        return False
    node.replace_input_with(1, g.add_constant(node.graph, np.array(sizes, np.int64), f"{node.name}/shape"))
    return True


def _resize(node: ir.Node) -> bool:
    region = g.constant(node.inputs[1])
    if region is not None and not region.size:
        node.replace_input_with(1, None)
    mode = node.attributes.get("coordinate_transformation_mode")
    nearest = "mode" not in node.attributes or node.attributes["mode"].as_string() == "nearest"
    if not nearest or mode is None or mode.as_string() != "tf_half_pixel_for_nn":
        return False
    scales = g.constant(node.inputs[2]) if len(node.inputs) > 2 and node.inputs[2] is not None else None
    factors = scales if scales is not None and scales.size else _factors(node)
    whole = factors is not None and np.all(factors >= 1) and np.all(factors == np.rint(factors))
    modes = ("asymmetric", "floor") if whole else ("half_pixel", "round_prefer_ceil")
    for name, value in zip(("coordinate_transformation_mode", "nearest_mode"), modes, strict=True):
        node.attributes[name] = ir.AttrString(name, value)
    return True


def _factors(node: ir.Node) -> np.ndarray | None:
    """How much each axis grows, from the shapes; an axis that is unknown on both sides counts as kept."""
    x, y = node.inputs[0].shape, node.outputs[0].shape
    if x is None or y is None:
        return None
    known = [(a, b) for a, b in zip(x, y, strict=True) if isinstance(a, int) or isinstance(b, int)]
    if any(not isinstance(a, int) or not isinstance(b, int) for a, b in known):
        return None
    return np.array([b / a for a, b in known])


_RULES = {
    "Resize": _resize,
    "Mul": _neutral,
    "Div": _neutral,
    "Add": _neutral,
    "Sub": _difference,
    "Cast": _same_cast,
    "Transpose": _transpose,
    "Reshape": _reshape,
    "Shape": _shape,
}
