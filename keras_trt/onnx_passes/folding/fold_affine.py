"""Folds BatchNormalization, and any scale and shift per channel, into the layer before it.

A factor per output channel keeps int8 weights on their grid: only the channel's scale changes.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from keras_trt.onnx_passes import _graph as g
from keras_trt.onnx_passes.weight_axes import WEIGHTED, output_axis

_CONVS = ("Conv", "ConvTranspose")


class FoldAffinePass(ir.passes.InPlacePass):
    """Leaves no BatchNormalization, and no scale or shift right after a layer with weights.

    1. `BatchNormalization` becomes a `Mul` and an `Add` per channel.
    2. `Mul` and `Div` by constants per channel go into the weights, `Add` and `Sub` into the bias.
    3. `MatMul` has no bias: a shift stays as its `Add`, and a scale behind that `Add` is moved before it.
    4. Two constant shifts (or scales) in a row become one.
    5. A scale or shift behind a Squeeze (of a 1D convolution) or a Reshape (of a Dense on many axes) moves
       before it, where the rules above find it.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Applies the rules until none fits."""
        modified = False
        for node in list(model.graph):
            if node.op_type == "BatchNormalization":
                _split_batch_norm(node)
                modified = True
        changed = True
        while changed:
            changed = any([_step(node) for node in list(model.graph) if node.op_type in _STEPS])
            modified = modified or changed
        return ir.passes.PassResult(model, modified)


def _split_batch_norm(node: ir.Node) -> None:
    """Rule 1: `y = x * s + t` with `s = gamma / sqrt(var + eps)`, `t = beta - mean * s`."""
    x, *parameters = node.inputs
    arrays = [a.astype(np.float64) for p in parameters if (a := g.constant(p)) is not None]
    n_axes = g.rank(x) or g.rank(node.outputs[0])
    if len(arrays) != 4 or n_axes is None:
        return
    gamma, beta, mean, variance = arrays
    epsilon = node.attributes["epsilon"].as_float() if "epsilon" in node.attributes else 1e-5
    scale = gamma / np.sqrt(variance + epsilon)
    shift = beta - mean * scale
    shape = [1, -1] + [1] * (n_axes - 2)
    graph, name = node.graph, node.name or "batch_normalization"
    constants = [
        g.add_constant(graph, a.astype(np.float32).reshape(shape), f"{name}/{label}")
        for a, label in ((scale, "scale"), (shift, "shift"))
    ]
    scaled = g.insert(node, "Mul", [x, constants[0]], like=x, name=f"{name}/mul")
    shifted = g.insert(node, "Add", [scaled, constants[1]], like=x, name=f"{name}/add")
    g.replace(node, shifted)


def _step(node: ir.Node) -> bool:
    """Folds one Mul, Div, Add or Sub when a rule fits; True when the graph changed."""
    if node.graph is None:  # removed by an earlier step
        return False
    x, c = node.inputs
    array = g.constant(c)
    if array is None and node.op_type in ("Mul", "Add"):  # they commute
        x, c, array = c, x, g.constant(x)
    before = g.producer(x)
    if array is None or before is None or not np.issubdtype(array.dtype, np.floating):
        return False
    output_fits = not node.outputs[0].is_graph_output() or g.can_take_output(x)
    if not g.only_used_by(x, node) or len(before.outputs) != 1 or not output_fits:
        return False
    if before.op_type in ("Squeeze", "Reshape"):
        return _move_before_shape(node, before, array)
    values = array.astype(np.float64)
    if node.op_type in ("Mul", "Div"):
        return _fold_scale(node, before, 1 / values if node.op_type == "Div" else values)
    return _fold_shift(node, before, -values if node.op_type == "Sub" else values)


_STEPS = ("Mul", "Div", "Add", "Sub")


def _fold_scale(node: ir.Node, before: ir.Node, factor: np.ndarray) -> bool:
    if before.op_type in WEIGHTED:
        channels = _per_channel(before, factor)
        if channels is None:
            return False
        _scale_weight(before, channels)
        _set_bias(before, lambda bias: bias * channels, only_if_there=True)
        g.replace(node, before.outputs[0])
        return True
    if before.op_type == "Add" and node.op_type == "Mul":  # rule 3: (x + b) * f = x * f + b * f
        return _move_scale_before_shift(node, before, factor)
    return _merge(node, before, "Mul", factor)


def _fold_shift(node: ir.Node, before: ir.Node, shift: np.ndarray) -> bool:
    if before.op_type in (*_CONVS, "Gemm"):
        channels = _per_channel(before, shift)
        if channels is None:
            return False
        _set_bias(before, lambda bias: bias + channels)
        g.replace(node, before.outputs[0])
        return True
    return _merge(node, before, "Add", shift)


def _scale_weight(before: ir.Node, channels: np.ndarray) -> None:
    shape = g.constant_shape(before.inputs[1]) or ()
    groups = g.integer(before, "group", 1)
    if before.op_type == "ConvTranspose" and groups != 1:
        # weight (C, K/g, ...): output k of group i is row block i
        blocks: tuple[int, ...] = (groups, -1, *shape[1:])
        factors = channels.reshape(groups, 1, -1, *[1] * (len(shape) - 2))
    else:
        blocks, factors = shape, np.expand_dims(channels, _other_axes(before, shape))

    def scaled(weight: np.ndarray) -> np.ndarray:
        # Multiplied as float64 and rounded once; with `out` that happens a few numbers at a time.
        product = np.empty(shape, weight.dtype)
        np.multiply(weight.reshape(blocks), factors, out=product.reshape(blocks), casting="same_kind")
        return product

    g.derive_constant(before, 1, scaled, "__scaled")


def _other_axes(node: ir.Node, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The axes of a weight but that of its output channels."""
    return tuple(axis for axis in range(len(shape)) if axis != output_axis(node) % len(shape))


def _set_bias(before: ir.Node, change: object, *, only_if_there: bool = False) -> None:
    """Replaces the bias `b` of a Conv or Gemm by `change(b)`; a missing one counts as zeros."""
    if before.op_type == "MatMul":
        return
    old = before.inputs[2] if len(before.inputs) > 2 else None
    if old is None and only_if_there:
        return
    existing = g.constant(old)
    bias = np.zeros(1) if existing is None else existing.astype(np.float64)
    new = change(bias).astype(np.float32)  # type: ignore[operator]
    value = g.add_constant(before.graph, new, f"{before.name}/bias")
    before.resize_inputs(max(3, len(before.inputs)))
    before.replace_input_with(2, value)


def _per_channel(node: ir.Node, values: np.ndarray) -> np.ndarray | None:
    """`values` as one number per output channel, or None when they are not constant per channel."""
    weight = g.constant_shape(node.inputs[1])
    if weight is None or not _takes_constants(node, len(weight)):
        return None
    n_axes = len(weight) if node.op_type in _CONVS else g.rank(node.outputs[0]) or 2
    if values.ndim > n_axes:
        return None
    channels = weight[output_axis(node)]
    if node.op_type == "ConvTranspose":
        channels *= g.integer(node, "group", 1)
    if values.size == 1:
        return np.full(channels, values.reshape(()))
    full = values.reshape([1] * (n_axes - values.ndim) + list(values.shape))
    axis = 1 if node.op_type in _CONVS else n_axes - 1
    return full.reshape(-1) if full.size == channels == full.shape[axis] else None


def _takes_constants(node: ir.Node, weight_rank: int) -> bool:
    """Whether the node is one whose weight and bias can be rescaled."""
    bias = node.inputs[2] if len(node.inputs) > 2 else None
    if bias is not None and g.constant(bias) is None:
        return False
    return {"Gemm": _plain_gemm(node), "MatMul": weight_rank == 2}.get(node.op_type, True)


def _plain_gemm(node: ir.Node) -> bool:
    """Whether a Gemm multiplies and adds without factors of its own."""
    factors = [node.attributes[a].as_float() for a in ("alpha", "beta") if a in node.attributes]
    return all(f == 1.0 for f in factors) and not g.integer(node, "transA", 0)


def _move_scale_before_shift(node: ir.Node, add: ir.Node, factor: np.ndarray) -> bool:
    index = 1 if g.constant(add.inputs[1]) is not None else 0
    x, bias = add.inputs[1 - index], g.constant(add.inputs[index])
    product = g.producer(x, "MatMul")
    if bias is None or product is None or not g.only_used_by(x, add):
        return False
    if _per_channel(product, factor) is None:
        return False
    graph = node.graph
    scale = g.add_constant(graph, factor.astype(np.float32), f"{node.name}/scale")
    shift = g.add_constant(graph, (bias * factor).astype(np.float32), f"{node.name}/shift")
    scaled = g.insert(add, "Mul", [x, scale], like=x, name=f"{node.name}/mul")
    g.replace(node, add.outputs[0])
    add.replace_input_with(1 - index, scaled)
    add.replace_input_with(index, shift)
    return True


def _move_before_shape(node: ir.Node, shape: ir.Node, array: np.ndarray) -> bool:
    """Rule 5: `op(squeeze(x), c)` becomes `squeeze(op(x, c'))`."""
    x = shape.inputs[0]
    if g.producer(x, *WEIGHTED, "Mul", "Add") is None or not g.only_used_by(x, shape):
        return False
    constant = _unsqueezed(shape, array) if shape.op_type == "Squeeze" else _last_axis(shape, array)
    if constant is None:
        return False
    name = node.name or node.op_type
    moved = g.insert(
        shape, node.op_type, [x, g.add_constant(node.graph, constant, f"{name}/constant")], like=x, name=name
    )
    shape.replace_input_with(0, moved)
    g.replace(node, shape.outputs[0])
    return True


def _unsqueezed(squeeze: ir.Node, array: np.ndarray) -> np.ndarray | None:
    """The constant with the axes that the Squeeze removes."""
    n_axes = g.rank(squeeze.inputs[0])
    axes = g.constant(squeeze.inputs[1]) if len(squeeze.inputs) > 1 else None
    if n_axes is None or axes is None or array.ndim > n_axes - len(axes):
        return None
    full = array.reshape([1] * (n_axes - len(axes) - array.ndim) + list(array.shape))
    return np.expand_dims(full, tuple(int(a) % n_axes for a in axes))


def _last_axis(reshape: ir.Node, array: np.ndarray) -> np.ndarray | None:
    """The constant as one number per output channel, when the Reshape makes the channels its last axis.

    That is after a MatMul, and after a Conv whose output is one pixel.
    """
    product = g.producer(reshape.inputs[0])
    while product is not None and product.op_type in ("Mul", "Add"):
        product = g.producer(product.inputs[0])
    weight = g.constant_shape(product.inputs[1]) if product is not None and product.op_type in _LAST else None
    target = g.constant(reshape.inputs[1])
    if product is None or weight is None or target is None or array.ndim > len(target):
        return None
    channels = weight[output_axis(product)]
    per_channel = array.size == 1 or array.shape[-1:] == (array.size,) == (channels,)
    if int(target[-1]) != channels or not per_channel:
        return None
    if product.op_type == "MatMul":
        return array.reshape(-1)
    shape = reshape.inputs[0].shape
    one_pixel = shape is not None and list(shape[2:]) == [1] * (len(weight) - 2)
    return array.reshape(1, -1, *[1] * (len(weight) - 2)) if one_pixel else None


_LAST = ("MatMul", "Conv")


def _merge(node: ir.Node, before: ir.Node, op_type: str, values: np.ndarray) -> bool:
    """Rule 4: `(x op c1) op c2` becomes `x op (c1 op c2)`."""
    if before.op_type != op_type:
        return False
    index = 1 if g.constant(before.inputs[1]) is not None else 0
    first = g.constant(before.inputs[index])
    if first is None or (first.ndim != values.ndim and 1 not in (first.size, values.size)):
        return False
    merged = first * values if op_type == "Mul" else first + values
    if merged.size not in (first.size, values.size):
        return False
    before.replace_input_with(
        index, g.add_constant(node.graph, merged.astype(np.float32), f"{node.name}/constant")
    )
    g.replace(node, before.outputs[0])
    return True
