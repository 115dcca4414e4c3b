"""Small ONNX files and bundles for the rooms that know no Keras."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from keras_trt._base.tensors import TensorSpec
from keras_trt.bundle import Manifest, sha256_of, write_bundle, write_manifest


def conv_model(
    *, int8: bool = True, zero_point: int = 0, zero_scale: bool = False, batch: int | str = "batch"
) -> onnx.ModelProto:
    """relu(conv(x)): x is (batch, 4, 8, 8), y is (batch, 8, 8, 8)."""
    rng = np.random.default_rng(0)
    kernel = rng.normal(size=(8, 4, 3, 3)).astype(np.float32)
    tensors: dict[str, Any] = {"bias": rng.normal(size=8).astype(np.float32)}
    nodes = []
    data, weight = "x", "kernel"
    if int8:
        scale = (np.abs(kernel).max(axis=(1, 2, 3)) / 63).astype(
            np.float32
        )  # no sum of two overflows 16 bits
        tensors["kernel_q"] = np.round(kernel / scale[:, None, None, None]).astype(np.int8)
        if zero_scale:
            scale[3] = 0
        tensors |= {"kernel_scale": scale, "kernel_zero": np.zeros(8, np.int8)}
        tensors |= {"x_scale": np.float32(0.03), "x_zero": np.int8(zero_point)}
        nodes = [
            helper.make_node(
                "QuantizeLinear", ["x", "x_scale", "x_zero"], ["x_q"], name="conv1/input/quantize"
            ),
            helper.make_node(
                "DequantizeLinear", ["x_q", "x_scale", "x_zero"], ["x_dq"], name="conv1/input/dequantize"
            ),
            helper.make_node(
                "DequantizeLinear",
                ["kernel_q", "kernel_scale", "kernel_zero"],
                ["kernel_dq"],
                name="conv1/kernel/dequantize",
                axis=0,
            ),
        ]
        data, weight = "x_dq", "kernel_dq"
    else:
        tensors["kernel"] = kernel
    nodes += [
        helper.make_node("Conv", [data, weight, "bias"], ["c"], name="conv1/conv", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["y"], name="relu1"),
    ]
    return model_of(nodes, {"x": [batch, 4, 8, 8]}, {"y": [batch, 8, 8, 8]}, tensors)


def two_in_two_out() -> onnx.ModelProto:
    """total = a + float(b), product = a * float(b): a is float32 (batch, 3), b is int32 (batch, 3)."""
    nodes = [
        helper.make_node("Cast", ["b"], ["b_float"], to=TensorProto.FLOAT),
        helper.make_node("Add", ["a", "b_float"], ["total"]),
        helper.make_node("Mul", ["a", "b_float"], ["product"]),
    ]
    shape = ["batch", 3]
    return model_of(
        nodes, {"a": shape, "b": shape}, {"total": shape, "product": shape}, {}, {"b": TensorProto.INT32}
    )


def sequence_model(seed: int = 0) -> onnx.ModelProto:
    """y = x @ w: x is (batch, time, 4), y is (batch, time, 2)."""
    weight = np.random.default_rng(seed).normal(size=(4, 2)).astype(np.float32)
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"], name="dense/matmul")]
    return model_of(nodes, {"x": ["batch", "time", 4]}, {"y": ["batch", "time", 2]}, {"w": weight})


def model_of(
    nodes: list[Any],
    inputs: dict[str, list[int | str]],
    outputs: dict[str, list[int | str]],
    tensors: dict[str, Any],
    dtypes: dict[str, int] | None = None,
) -> onnx.ModelProto:
    """A checked model of opset 19."""

    def info(name: str, shape: list[int | str]) -> Any:
        return helper.make_tensor_value_info(name, (dtypes or {}).get(name, TensorProto.FLOAT), shape)

    graph = helper.make_graph(
        nodes,
        "small",
        [info(n, s) for n, s in inputs.items()],
        [info(n, s) for n, s in outputs.items()],
        [numpy_helper.from_array(np.asarray(a), n) for n, a in tensors.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9)
    onnx.checker.check_model(model, full_check=True)
    return model


def manifest_of(model: onnx.ModelProto, digest: str, **changes: Any) -> Manifest:
    """The manifest of a model; one input or output makes a plain structure, more make a list."""

    def specs(infos: Any) -> tuple[TensorSpec, ...]:
        return tuple(
            TensorSpec(
                v.name,
                tuple(d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim),
                helper.tensor_dtype_to_np_dtype(v.type.tensor_type.elem_type).name,
            )
            for v in infos
        )

    def nest(found: tuple[TensorSpec, ...]) -> Any:
        return found[0].name if len(found) == 1 else [s.name for s in found]

    inputs, outputs = specs(model.graph.input), specs(model.graph.output)
    facts: dict[str, Any] = {
        "name": "small",
        "keras_trt_version": "0.1.0",
        "keras": "keras3",
        "inputs": inputs,
        "outputs": outputs,
        "input_structure": nest(inputs),
        "output_structure": nest(outputs),
        "batch": (1, 8, 32),
        "precision": "float32",
        "opset": 19,
        "onnx_sha256": digest,
    }
    return Manifest(**(facts | changes))


def save_bundle(path: Path, model: onnx.ModelProto, **changes: Any) -> Path:
    """Writes a bundle of `model` without plans at `path`."""
    with write_bundle(path) as folder:
        onnx.save(model, folder / "model.onnx")
        write_manifest(folder, manifest_of(model, sha256_of(folder / "model.onnx"), **changes))
    return path
