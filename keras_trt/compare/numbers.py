"""Compares the exported graph with Keras on a probe batch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx
import onnx_ir as ir

from keras_trt.errors import ExportError
from keras_trt.onnx_passes.quantized.remove import RemoveQuantizersPass
from keras_trt.runtime.distance import distance


@dataclass(frozen=True)
class Difference:
    """How far one output is from Keras's.

    Attributes:
        output: Its name.
        relative: `|a - b| / |b|` in the L2 norm, with b Keras's.
        largest: The largest absolute difference.
        allowed: The relative difference that the graph's types explain.
    """

    output: str
    relative: float
    largest: float
    allowed: float

    @property
    def diverges(self) -> bool:
        """Whether the difference is more than the types explain."""
        return not self.relative <= self.allowed

    def __str__(self) -> str:
        return (
            f"output {self.output!r} by {self.relative:.2%} (largest difference {self.largest:.3g}; "
            f"{self.allowed:.2%} is allowed)"
        )


def compare(
    expected: Mapping[str, np.ndarray], actual: Mapping[str, np.ndarray], allowed: Mapping[str, float]
) -> list[Difference]:
    """The difference of every output, the one farthest beyond what is allowed first.

    Raises:
        ExportError: An output has another shape, or is NaN or infinite where Keras's is finite.
    """
    differences = []
    for name, reference in expected.items():
        output = np.asarray(actual[name])
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
        differences.append(Difference(name, *distance(b, a), allowed[name]))
    return sorted(differences, key=lambda d: -d.relative / max(d.allowed, 1e-12))


def without_rounding(model: onnx.ModelProto) -> onnx.ModelProto:
    """A quantised graph without the rounding of activations: no Q/DQ is left.

    The weights become floats on their int8 grid, since runners quantise the activations of layers whose
    weights are int8 on their own. What is left must agree with Keras to float precision.
    """
    return _removed(model, weights=True)


def without_activation_rounding(model: onnx.ModelProto) -> onnx.ModelProto:
    """A graph without the Q/DQ of activations; int8 weights stay, and are not read."""
    return _removed(model, weights=False)


def _removed(model: onnx.ModelProto, *, weights: bool) -> onnx.ModelProto:
    graph = ir.from_proto(model)
    RemoveQuantizersPass(weights=weights)(graph)
    return ir.to_proto(graph)


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
