"""Repeating the rows and columns of images, as a Resize."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from keras_trt.onnx_passes import _graph as g

_NEAREST = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}


class RepeatsToResizePass(ir.passes.InPlacePass):
    """Two exact rewrites.

    1. `Unsqueeze -> Tile [-> Transpose] -> Reshape` that repeats along one axis of an image, as UpSampling2D
       of Keras 3 does, becomes a nearest `Resize`.
    2. Two nearest `Resize` by whole factors in a row become one.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Walks the graph once."""
        modified = False
        for node in list(model.graph):
            if node.op_type == "Reshape":
                modified = _resize(node) or modified
            elif node.op_type == "Resize":
                modified = _merge(node) or modified
        return ir.passes.PassResult(model, modified)


def _resize(node: ir.Node) -> bool:
    transpose = g.producer(node.inputs[0], "Transpose")
    tile = g.producer(node.inputs[0] if transpose is None else transpose.inputs[0], "Tile")
    unsqueeze = g.producer(tile.inputs[0], "Unsqueeze") if tile is not None else None
    if tile is None or unsqueeze is None:
        return False
    x, axes, counts = unsqueeze.inputs[0], g.constant(unsqueeze.inputs[1]), g.constant(tile.inputs[1])
    if x is None or axes is None or counts is None or axes.size != 1 or g.rank(x) != 4 or x.shape is None:
        return False
    order = list(range(5)) if transpose is None else g.ints(transpose, "perm") or []
    new, counts = order.index(int(axes.flat[0]) % 5), counts[order]
    left = [axis - (axis > order[new]) for axis in order if axis != order[new]]  # of the image's own axes
    factors = np.delete(counts, new)
    shape = ir.Shape([x.shape[axis] for axis in left])
    if new not in (2, 3) or np.any(factors != 1):  # behind the height or the width
        return False
    factors[new - 1] = counts[new]
    if not _grows(shape, node.outputs[0].shape, factors):
        return False
    if left != sorted(left):
        x = g.insert(node, "Transpose", [x], {"perm": left}, like=x, name=f"{node.name}/Transpose")
        x.shape = shape
    scales = g.add_constant(node.graph, factors.astype(np.float32), f"{node.name}/scales")
    options = {"like": node.outputs[0], "name": f"{node.name}/Resize"}
    g.replace(node, g.insert(node, "Resize", [x, None, scales], dict(_NEAREST), **options))
    return True


def _grows(before: ir.Shape, after: ir.Shape | None, factors: np.ndarray) -> bool:
    """Whether each size but the batch's is known, and grows by its factor."""
    if after is None or len(before) != len(after):
        return False
    sizes = list(zip(before, after, factors.tolist(), strict=True))[1:]
    return all(isinstance(a, int) and a * n == b for a, b, n in sizes)


def _merge(node: ir.Node) -> bool:
    before = g.producer(node.inputs[0], "Resize")
    if before is None or not g.only_used_by(before.outputs[0], node):
        return False
    scales = [_whole_scales(one) for one in (before, node)]
    if scales[0] is None or scales[1] is None:
        return False
    node.replace_input_with(0, before.inputs[0])
    node.replace_input_with(2, g.add_constant(node.graph, scales[0] * scales[1], f"{node.name}/scales"))
    before.graph.remove(before, safe=True)
    return True


def _whole_scales(node: ir.Node) -> np.ndarray | None:
    """The scales of a Resize that repeats, else None."""
    if any(
        key not in node.attributes or node.attributes[key].as_string() != how for key, how in _NEAREST.items()
    ):
        return None
    scales = g.constant(node.inputs[2]) if len(node.inputs) == 3 else None
    return scales if scales is not None and scales.size and np.all(scales == np.rint(scales)) else None
