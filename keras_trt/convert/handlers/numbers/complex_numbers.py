"""Complex numbers as their real and imaginary part; TensorRT has none.

They exist in TensorFlow between what makes them (`Complex`, `Cast`, a transform) and what reads them as real
numbers again (`Real`, `Imag`, `ComplexAbs`, `IRFFT`, a `Cast` back), and it is these readers that are
converted, with all that is behind them.
"""

from __future__ import annotations

import numpy as np

from keras_trt.convert.handlers._nodes import FLOAT, Nodes, replace
from keras_trt.convert.handlers.numbers.spectrum import TRANSFORMS, Complex, along, backwards, halves, turned
from keras_trt.convert.types import Graph, Node

COMPLEX64, COMPLEX128 = 14, 15  # onnx.TensorProto

_MOVED = {
    "Gather": ("axis",),
    "Pad": ("mode",),
    "Reshape": (),
    "Slice": (),
    "Squeeze": ("axes",),
    "Transpose": ("perm",),
    "Unsqueeze": ("axes",),
}
"""Operators of ONNX that move numbers about, and the attributes they have."""


def complex_numbers(ctx: Graph, node: Node, name: str, _: list[object]) -> None:
    """Leaves what makes complex numbers to what reads them."""


def real_numbers(ctx: Graph, node: Node, name: str, _: list[object]) -> Node | None:
    """A real reader of complex numbers; it stays when something behind it is not known."""
    add = Nodes(ctx, name)
    pair = _complex(add, node.input[0])
    if pair is None:
        return None
    real, imaginary = pair
    if node.type == "IRFFT":
        matrices = backwards(ctx, node, real)
        if matrices is None:
            return None
        cosines, sines = (add.const(matrix) for matrix in matrices)
        result = add("MatMul", real, cosines)
        if imaginary is not None:
            result = add("Sub", result, add("MatMul", imaginary, sines))
    elif node.type == "ComplexAbs":
        result = add("Abs", real) if imaginary is None else _magnitude(add, real, imaginary)
    elif node.type == "Real":
        result = real
    elif node.type == "Cast":
        result = add.cast(real, node.output_dtypes[0])
    else:
        result = imaginary or add("Sub", real, real)
    return replace(ctx, node, name, lambda _: result)


def _complex(add: Nodes, value: str) -> Complex | None:
    """The two parts of a complex tensor; None where what made it is not known."""
    maker = add.ctx.get_node_by_output(value)
    pair: Complex | None = None
    if maker is None:
        return None
    if maker.is_const():
        numbers = maker.get_tensor_value(as_list=False)
        pair = add.const(numbers.real, np.float32), add.const(numbers.imag, np.float32)
    elif maker.type in ("Add", "Sub", "Mul"):
        pair = _arithmetic(add, maker)
    elif maker.type in _MOVED and not _fills(add.ctx, maker):
        pair = _complex(add, maker.input[0])
        pair = pair and tuple(x and _like(add, maker, x) for x in pair)  # type: ignore[assignment]
    elif maker.type == "Complex":
        real, imaginary = maker.input
        pair = real, None if _is_zero(add.ctx, imaginary) else imaginary
    elif maker.type == "Cast" and is_complex(add.ctx, value) and not is_complex(add.ctx, maker.input[0]):
        pair = add.cast(maker.input[0], FLOAT), None
    elif maker.type == "RFFT" and (matrices := halves(add.ctx, maker)) is not None:
        cosines, sines = (add.const(matrix) for matrix in matrices)
        pair = turned(add, (maker.input[0], None), cosines, sines)
    elif maker.type == "Exp":
        pair = _complex(add, maker.input[0])
        pair = pair and _exponential(add, *pair)
    elif maker.type == "Conj":
        pair = _complex(add, maker.input[0])
        pair = pair and (pair[0], pair[1] and add("Neg", pair[1]))
    elif maker.type in ("Identity", "Cast", *TRANSFORMS):
        pair = _complex(add, maker.input[0])
        axes, inverse = TRANSFORMS.get(maker.type, (0, False))
        for axis in range(-1, -axes - 1, -1):
            pair = pair and along(add, pair, axis, inverse)
    shape = add.ctx.get_shape(value)
    if pair and shape and add.ctx.get_shape(pair[0]) is None:
        add.ctx.set_shape(pair[0], shape)
    return pair


def _arithmetic(add: Nodes, node: Node) -> Complex | None:
    """A sum, difference or product of complex tensors."""
    first, second = (_complex(add, value) for value in node.input)
    if first is None or second is None:
        return None
    zero = add.const(0, np.float32)
    (a, b), (c, d) = ((real, imaginary or zero) for real, imaginary in (first, second))
    if node.type == "Mul":
        return add("Sub", add("Mul", a, c), add("Mul", b, d)), add("Add", add("Mul", a, d), add("Mul", b, c))
    return add(node.type, a, c), add(node.type, b, d)


def _exponential(add: Nodes, real: str, imaginary: str | None) -> Complex:
    size = add("Exp", real)
    if imaginary is None:
        return size, None
    return add("Mul", size, add("Cos", imaginary)), add("Mul", size, add("Sin", imaginary))


def _fills(ctx: Graph, node: Node) -> bool:
    """Whether a node pads with another number than zero."""
    return node.type == "Pad" and not all(_is_zero(ctx, value) for value in node.input[2:3])


def _like(add: Nodes, node: Node, x: str) -> str:
    """What a node that only moves numbers makes of one of the two."""
    attributes = {name: node.get_attr_value(name) for name in node.attr if name in _MOVED[node.type]}
    inputs = node.input[1:2] if node.type == "Pad" else node.input[1:]  # with zeros, which need no value
    return add(node.type, x, *inputs, **attributes)


def is_complex(ctx: Graph, value: str) -> bool:
    """Whether a value is of complex numbers."""
    return ctx.get_dtype(value) in (COMPLEX64, COMPLEX128)


def _is_zero(ctx: Graph, value: str) -> bool:
    maker = ctx.get_node_by_output(value)
    if maker.type == "ConstantOfShape":
        return "value" not in maker.attr or not np.any(maker.get_attr_value("value").raw_data)
    return maker.is_const() and not np.any(maker.get_tensor_value(as_list=False))


def _magnitude(add: Nodes, real: str, imaginary: str) -> str:
    return add("Sqrt", add("Add", add("Mul", real, real), add("Mul", imaginary, imaginary)))
