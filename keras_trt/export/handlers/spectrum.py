"""The spectrum of real signals (MelSpectrogram), of which tf2onnx converts the magnitude only."""

from __future__ import annotations

from typing import Any

import numpy as np

from keras_trt.export.handlers._nodes import Nodes


def real_spectrum(ctx: Any, node: Any, name: str, _: list[Any]) -> Any:
    """The real and imaginary parts as matrix products with cosines and sines.

    Complex numbers exist between this op and its readers only, so all of them must be known: `Real`, `Imag`
    and `ComplexAbs`.
    """
    x, readers = node.input[0], ctx.find_output_consumers(node.output[0])
    known = {"Real", "Imag", "ComplexAbs"}
    shape, length = ctx.get_shape(x), node.inputs[1]
    if not shape or shape[-1] < 1 or not length.is_const() or {r.type for r in readers} - known:
        return
    cosines, sines = _matrices(shape[-1], int(np.ravel(length.get_tensor_value(as_list=False))[0]))
    add = Nodes(ctx, name)
    parts = {
        "Real": add("MatMul", x, add.const(cosines)),
        "Imag": add("MatMul", x, add.const(sines)),
    }
    parts["ComplexAbs"] = _magnitude(add, *parts.values())
    for reader in readers:
        part, reader.type = parts[reader.type], "Identity"
        ctx.replace_inputs(reader, [part])
        for key in list(reader.attr):
            del reader.attr[key]
    ctx.remove_node(node.name)


def _matrices(given: int, length: int) -> tuple[np.ndarray, np.ndarray]:
    """The transform of `given` samples, cut or filled up with zeros to `length`."""
    angle = 2 * np.pi / length * (np.outer(np.arange(given), np.arange(length // 2 + 1)) % length)
    inside = (np.arange(given) < length)[:, None]
    return (np.cos(angle) * inside).astype(np.float32), (-np.sin(angle) * inside).astype(np.float32)


def _magnitude(add: Nodes, real: str, imaginary: str) -> str:
    return add("Sqrt", add("Add", add("Mul", real, real), add("Mul", imaginary, imaginary)))
