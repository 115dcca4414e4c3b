"""Operators that add, drop, split or merge axes, and how an order of axes carries through them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import onnx_ir as ir

from keras_trt.onnx_passes import _graph as g

Order = tuple[int, ...]
"""As a Transpose's `perm`: axis i of a tensor is axis `order[i]` of the moved one."""


_AXIS = {"ArgMax": 0, "ArgMin": 0, "OneHot": -1}
"""The operators that say in an attribute which axis they drop or add, and what they mean without it."""


class Group(NamedTuple):
    """Axes of the input that become axes of the output; one side is empty where axes come or go."""

    before: tuple[int, ...]
    after: tuple[int, ...]


def groups_of(node: ir.Node) -> list[Group] | None:
    """Which axes become which; None for operators that do not only rearrange or reduce them."""
    kind = node.op_type
    ranks = g.rank(node.inputs[0] if node.inputs else None), g.rank(node.outputs[0])
    if None in ranks or g.constant_shape(node.inputs[0]) is not None:
        return None
    if kind == "Reshape":
        return _reshaped(node)
    changed = _changed_axes(node)
    if changed is None:
        return None
    dropping, axes = changed
    longer = max(int(rank or 0) for rank in ranks)
    gone = {axis % longer for axis in axes}
    left = [axis for axis in range(longer) if axis not in gone]
    pairs = [Group((axis,), (i,)) for i, axis in enumerate(left)] + [Group((axis,), ()) for axis in gone]
    return pairs if dropping else [Group(after, before) for before, after in pairs]


def _changed_axes(node: ir.Node) -> tuple[bool, list[int]] | None:
    """The axes that a node drops, or adds; None where it does neither, or they are not known."""
    kind = node.op_type
    if kind in _AXIS:
        keeps = kind != "OneHot" and g.integer(node, "keepdims", 1)
        return None if keeps else (kind != "OneHot", [g.integer(node, "axis", _AXIS[kind])])
    axes = g.constant(node.inputs[1]) if len(node.inputs) > 1 else None
    dropping = kind == "Squeeze" or (kind.startswith("Reduce") and not g.integer(node, "keepdims", 1))
    if axes is None or not (dropping or kind == "Unsqueeze"):
        return None
    return dropping, [int(axis) for axis in axes.reshape(-1)]


def carried(groups: Sequence[Group], order: Order) -> Order | None:
    """The output's order for that of the input; None where axes to be merged would lie apart."""
    owner = {axis: group for group in groups if group.after for axis in group.before}
    moved = [axis for axis in np.argsort(order).tolist() if axis in owner]
    new_order: list[int] = []
    while moved:
        group = owner[moved[0]]
        if tuple(moved[: len(group.before)]) != group.before:
            return None
        moved = moved[len(group.before) :]
        new_order += group.after
    for axis in sorted(axis for group in groups if not group.before for axis in group.after):
        # Behind its neighbour, as it was.
        new_order.insert(new_order.index(axis - 1) + 1 if axis else 0, axis)
    return tuple(np.argsort(new_order).tolist())


def reversed_groups(groups: Sequence[Group]) -> list[Group]:
    """The same from the output to the input."""
    return [Group(after, before) for before, after in groups]


def move_ranks(node: ir.Node, before: Order, after: Order) -> None:
    """Puts what a node says of axes in the orders of its input and output."""
    graph = g.given(node.graph)
    if node.op_type == "Reshape":
        name, array = "shape", _sizes(node, after)
        node.attributes.pop("allowzero", None)
    elif node.op_type in _AXIS:
        order = after if node.op_type == "OneHot" else before
        axis = order[g.integer(node, "axis", _AXIS[node.op_type]) % len(order)]
        node.attributes["axis"] = ir.AttrInt64("axis", axis)
        return
    else:
        order = after if node.op_type == "Unsqueeze" else before
        axes = g.given(g.constant(node.inputs[1]))
        name, array = "axes", sorted(order[int(axis) % len(order)] for axis in axes.reshape(-1))
    node.replace_input_with(1, g.add_constant(graph, np.array(array, np.int64), f"{node.name}/{name}"))


def _sizes(node: ir.Node, order: Order) -> list[int]:
    """The target of a moved Reshape; an open axis is the first on both sides."""
    shape = g.given(node.outputs[0].shape)
    sizes = [0] * len(order)
    for size, place in zip(shape, order, strict=True):
        sizes[place] = size if isinstance(size, int) else -1
    return sizes


def _reshaped(node: ir.Node) -> list[Group] | None:
    """The smallest groups of axes with as many elements on both sides, axes of size one apart."""
    shapes = [value.shape for value in (node.inputs[0], node.outputs[0]) if value is not None]
    if len(shapes) != 2 or any(shape is None or len(shape) == 0 for shape in shapes):
        return None
    old, new = (list(shape or ()) for shape in shapes)
    groups = []
    if not (isinstance(old[0], int) or isinstance(new[0], int)):  # the batch
        groups, old[0], new[0] = [Group((0,), (0,))], 1, 1
    if any(not isinstance(size, int) or size == 0 for size in (*old, *new)):
        return None
    done = len(groups)
    ones = [Group((i,), ()) for i, size in enumerate(old) if size == 1 and i >= done]
    ones += [Group((), (i,)) for i, size in enumerate(new) if size == 1 and i >= done]
    left, right = ([i for i, size in enumerate(sizes) if size != 1] for sizes in (old, new))
    while left and right:
        here, there = [left.pop(0)], [right.pop(0)]
        while (a := _product(old, here)) != (b := _product(new, there)):
            rest, split = (left, here) if a < b else (right, there)
            if not rest:
                return None
            split.append(rest.pop(0))
        groups.append(Group(tuple(here), tuple(there)))
    return None if left or right else groups + ones


def _product(sizes: Sequence[int], axes: Sequence[int]) -> int:
    return int(np.prod([sizes[axis] for axis in axes]))
