"""Compares the exported graph with Keras on a probe batch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx

from keras_trt.errors import ExportError

if TYPE_CHECKING:
    from keras_trt._keras.trace import Trace

TOLERANCES = {
    "float32": 1e-3,
    "fp16": 3e-2,
    "bf16": 1e-1,
    "int8": 1e-1,
    "int8+fp16": 1.2e-1,
    "int8+bf16": 2e-1,
}
"""Largest relative error by precision. An int8 value next to a rounding border may fall on either side."""

_UNKNOWN_AXIS = 64


@dataclass(frozen=True)
class Difference:
    """How far one output is from Keras's.

    Attributes:
        output: Its name.
        relative: `|a - b| / |b|` in the L2 norm, with b Keras's.
        largest: The largest absolute difference.
    """

    output: str
    relative: float
    largest: float


def probe(trace: Trace, batch: int, given: Mapping[str, np.ndarray] | None = None) -> dict[str, np.ndarray]:
    """One batch of inputs: `given` where there is any, else normal floats, 0/1 integers, random booleans."""
    rng = np.random.default_rng(0)
    feeds = {}
    for info in trace.inputs:
        if given is not None and info.name in given:
            feeds[info.name] = np.ascontiguousarray(given[info.name][:batch]).astype(info.dtype)
            continue
        shape = [_size(trace, axis, batch) for axis in info.shape]
        if info.dtype == "bool":
            feeds[info.name] = rng.random(shape) < 0.5
        elif np.issubdtype(np.dtype(info.dtype), np.integer):
            feeds[info.name] = rng.integers(0, 2, shape).astype(info.dtype)
        else:
            feeds[info.name] = rng.standard_normal(shape).astype(info.dtype)
    return feeds


def compare(expected: Mapping[str, np.ndarray], found: Mapping[str, np.ndarray]) -> list[Difference]:
    """The difference of every output, worst first.

    Raises:
        ExportError: An output has another shape, or is NaN or infinite where Keras's is finite.
    """
    differences = []
    for name, reference in expected.items():
        output = np.asarray(found[name])
        if output.shape != reference.shape:
            raise ExportError(
                f"Output {name!r} of the exported model has shape {output.shape}, in Keras {reference.shape}."
            )
        a, b = output.astype(np.float64), np.asarray(reference).astype(np.float64)
        if np.isfinite(b).all() and not np.isfinite(a).all():
            raise ExportError(
                f"Output {name!r} of the exported model is NaN or infinite where Keras's is finite. "
                "A value overflows the chosen precision; export with precision=None or 'bf16'."
            )
        differences.append(Difference(name, *distance(b, a)))
    return sorted(differences, key=lambda d: -d.relative)


def distance(expected: np.ndarray, found: np.ndarray) -> tuple[float, float]:
    """(relative, largest absolute) difference of two arrays of one shape, as in `Difference`.

    Values that are not finite in `expected` do not count; where only `found` is not, both are infinite.
    """
    a, b = found.astype(np.float64), expected.astype(np.float64)
    if not np.isfinite(a[np.isfinite(b)]).all():
        return float("inf"), float("inf")
    gap = np.subtract(a, b, out=np.zeros_like(b), where=np.isfinite(b))
    norm = float(np.linalg.norm(np.where(np.isfinite(b), b, 0.0)))
    return float(np.linalg.norm(gap)) / max(norm, 1e-6), float(np.abs(gap).max(initial=0.0))


def check_numbers(
    differences: list[Difference], precision: str, rounding: Mapping[str, float] | None = None
) -> None:
    """Makes sure that every output is within the precision's tolerance.

    Args:
        differences: What `compare` found.
        precision: A key of `TOLERANCES`.
        rounding: By output, how much int8 activations change it in Keras itself, as `Difference.relative`.
            Twice that is allowed where it is more than the tolerance: a value's last bit decides to which
            side of a border it is rounded, so after a few layers two runners round independently.

    Raises:
        ExportError: One is not.
    """
    for worst in differences:
        tolerance = max(TOLERANCES[precision], 2 * (rounding or {}).get(worst.output, 0.0))
        if worst.relative <= tolerance:
            continue
        raise ExportError(
            f"The exported model differs from Keras: output {worst.output!r} by {worst.relative:.2%} "
            f"(largest difference {worst.largest:.3g}); {tolerance:.1%} is allowed for {precision}. "
            "If the difference is known and wanted, pass verify=False. For int8, calibrate on data like "
            "that used in practice."
        )


def without_rounding(model: onnx.ModelProto) -> onnx.ModelProto:
    """Takes the rounding of activations out of a quantised graph, in place: no Q/DQ is left.

    The weights become floats on their int8 grid, since runners quantise the activations of layers whose
    weights are int8 on their own. What is left must agree with Keras to float precision.
    """
    arrays = {tensor.name: tensor for tensor in model.graph.initializer}
    passed: dict[str, str] = {}
    for node in model.graph.node:
        node.input[:] = [passed.get(name, name) for name in node.input]
        if node.op_type == "QuantizeLinear" or (
            node.op_type == "DequantizeLinear" and node.input[0] not in arrays
        ):
            passed[node.output[0]] = node.input[0]
    kept = [node for node in model.graph.node if node.output[0] not in passed]
    for i, node in enumerate(kept):
        attributes = {a.name: a.i for a in node.attribute}
        if node.op_type == "DequantizeLinear" and not attributes.get("block_size"):
            weight, scale = (onnx.numpy_helper.to_array(arrays[name]) for name in node.input[:2])
            shape = [-1 if axis == attributes.get("axis", 1) else 1 for axis in range(weight.ndim)]
            floats = weight.astype(scale.dtype) * scale.reshape(shape if scale.ndim else ())
            value = onnx.numpy_helper.from_array(floats)
            kept[i] = onnx.helper.make_node("Constant", [], list(node.output), name=node.name, value=value)
    used = {name for node in kept for name in node.input} | {o.name for o in model.graph.output}
    constants = [arrays[name] for name in arrays if name in used]
    del model.graph.node[:], model.graph.initializer[:], model.graph.value_info[:]
    model.graph.node.extend(kept)
    model.graph.initializer.extend(constants)
    return model


def without_bfloat16(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy with float32 in the place of bfloat16; constants keep their rounded values.

    OpenVINO misreads the bias of an int8 convolution in bfloat16 (2026.4), and ONNX Runtime has no bfloat16
    on the CPU, so this is what can be compared. TensorRT gets the bfloat16 graph.
    """
    bfloat16, float32 = onnx.TensorProto.BFLOAT16, onnx.TensorProto.FLOAT
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    for i, tensor in enumerate(copy.graph.initializer):
        if tensor.data_type == bfloat16:
            array = onnx.numpy_helper.to_array(tensor).astype(np.float32)
            copy.graph.initializer[i].CopyFrom(onnx.numpy_helper.from_array(array, tensor.name))
    for node in copy.graph.node:
        for attribute in node.attribute:
            if node.op_type == "Cast" and attribute.name == "to" and attribute.i == bfloat16:
                attribute.i = float32
            elif attribute.t.data_type == bfloat16:
                array = onnx.numpy_helper.to_array(attribute.t).astype(np.float32)
                attribute.t.CopyFrom(onnx.numpy_helper.from_array(array))
    del copy.graph.value_info[:]
    return copy


def _size(trace: Trace, axis: Any, batch: int) -> int:
    if isinstance(axis, int):
        return axis
    if axis == "batch":
        return batch
    return trace.axis_sizes.get(axis, (0, _UNKNOWN_AXIS, 0))[1]
