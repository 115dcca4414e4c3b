"""Multiplies tensors of many axes by a matrix as they are; tf2onnx makes matrices of them first."""

from __future__ import annotations

import onnx_ir as ir

from keras_trt.onnx_passes import _graph as g

_BETWEEN = ("Add", "Sub", "Mul", "Div")


class MultiplyManyAxesPass(ir.passes.InPlacePass):
    """`Reshape -> MatMul -> Reshape` becomes one MatMul where the first Reshape only joins leading axes.

    Per-tensor Q/DQ pairs before the MatMul, and constants per channel behind it, may stand in between. The
    last Reshape goes too when it only restores the axes; otherwise it stays, as it names all sizes itself.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Visits every product with a constant matrix."""
        modified = False
        for node in list(model.graph):
            if node.op_type == "MatMul":
                modified = _multiply(node) or modified
        return ir.passes.PassResult(model, modified)


def _multiply(node: ir.Node) -> bool:
    before, chain = _reshape_before(node)
    matrix = _matrix(node)
    if before is None or matrix is None or len(matrix) != 2 or g.rank(before.outputs[0]) != 2:
        return False
    x = before.inputs[0]
    if x.shape is None or x.shape.rank() < 3 or x.shape[-1] != matrix[0]:
        return False  # rows of another length: more than leading axes are joined
    after, behind = _reshape_after(node)
    if after is None:
        return False
    first = chain[0] if chain else node
    first.replace_input_with(0, x)
    if not before.outputs[0].uses():
        before.graph.remove(before, safe=True)
    for value, size in (*((n.outputs[0], matrix[0]) for n in chain), *((v, matrix[1]) for v in behind)):
        value.shape = ir.Shape([*x.shape[:-1], size])
    if _restores(after, x):
        g.replace(after, after.inputs[0])
    return True


def _reshape_before(node: ir.Node) -> tuple[ir.Node | None, list[ir.Node]]:
    """The Reshape that makes the left operand, and the quantisers in between, first to last."""
    chain: list[ir.Node] = []
    value = node.inputs[0]
    while g.sole_consumer(value) is not None:
        maker = g.producer(value, "QuantizeLinear", "DequantizeLinear", "Reshape")
        if maker is None or maker.op_type == "Reshape":
            return maker, chain
        if g.scalar(maker.inputs[1]) is None:
            return None, chain
        chain.insert(0, maker)
        value = maker.inputs[0]
    return g.producer(value, "Reshape"), chain  # its other readers keep it


def _reshape_after(node: ir.Node) -> tuple[ir.Node | None, list[ir.Value]]:
    """The Reshape that reads the product, and the tensors from the product to it."""
    value, passed = node.outputs[0], [node.outputs[0]]
    while (reader := g.sole_consumer(value)) is not None:
        if reader.op_type == "Reshape" and value is reader.inputs[0]:
            target = g.constant(reader.inputs[1])
            absolute = target is None or 0 not in target  # 0 would copy a size of its input
            return (reader if absolute else None), passed
        if reader.op_type not in _BETWEEN or not _is_per_channel(reader, value):
            break
        value = reader.outputs[0]
        passed.append(value)
    return None, passed


def _is_per_channel(node: ir.Node, value: ir.Value) -> bool:
    """Whether the node joins the tensor with constants that fit the last of any number of axes."""
    other = node.inputs[1] if node.inputs[0] is value else node.inputs[0]
    shape = g.constant_shape(other)
    return shape is not None and all(size == 1 for size in shape[:-1]) and len(shape) <= 2


def _restores(reshape: ir.Node, x: ir.Value) -> bool:
    """Whether a Reshape gives back the leading axes of `x`, of which one may be unknown."""
    target, given, made = g.constant(reshape.inputs[1]), list(x.shape or ()), reshape.inputs[0].shape
    if target is None or made is None or len(target) != len(given):
        return False
    pairs = list(zip([*given[:-1], made[-1]], map(int, target), strict=True))
    unknown = [size for size, _ in pairs if not isinstance(size, int)]
    return len(unknown) <= 1 and all(
        wanted in (-1, size) if isinstance(size, int) else wanted == -1 for size, wanted in pairs
    )


def _matrix(node: ir.Node) -> tuple[int, ...] | None:
    """The shape of a constant right operand, perhaps dequantised."""
    dequantizer = g.producer(node.inputs[1], "DequantizeLinear")
    return g.constant_shape(node.inputs[1] if dequantizer is None else dequantizer.inputs[0])
