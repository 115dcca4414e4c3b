"""The smallest bundle there can be, to try runners on: `y = relu(x)`, written without the `onnx` package.

The numbers of the fields are those of onnx.proto3, which do not change.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from keras_trt._base.tensors import BATCH_AXIS, TensorSpec
from keras_trt._machine.protobuf import field_head, varint
from keras_trt.bundle import Manifest, sha256_of, write_bundle, write_manifest
from keras_trt.bundle.manifest import ONNX_FILE

WIDTH, _OPSET, _IR_VERSION, _FLOAT = 4, 17, 8, 1


def write_small_bundle(path: Path) -> Path:
    """Writes it."""
    with write_bundle(path) as folder:
        (folder / ONNX_FILE).write_bytes(_model())
        x, y = (TensorSpec(name, (BATCH_AXIS, WIDTH), "float32") for name in "xy")
        manifest = Manifest(
            name="relu",
            keras_trt_version="0",
            keras="none",
            inputs=(x,),
            outputs=(y,),
            input_structure="x",
            output_structure="y",
            batch=(1, 2, 4),
            precision="float32",
            opset=_OPSET,
            onnx_sha256=sha256_of(folder / ONNX_FILE),
        )
        write_manifest(folder, manifest)
    return path


def is_right(x: np.ndarray, y: np.ndarray) -> bool:
    """Whether `y` is what the bundle makes of `x`."""
    return bool(np.array_equal(np.maximum(x, 0), y))


def _model() -> bytes:
    node = _text(1, "x") + _text(2, "y") + _text(3, "relu") + _text(4, "Relu")
    graph = _inside(1, node) + _text(2, "relu") + _inside(11, _tensor("x")) + _inside(12, _tensor("y"))
    return _number(1, _IR_VERSION) + _inside(7, graph) + _inside(8, _number(2, _OPSET))


def _tensor(name: str) -> bytes:
    shape = _inside(1, _text(2, BATCH_AXIS)) + _inside(1, _number(1, WIDTH))
    return _text(1, name) + _inside(2, _inside(1, _number(1, _FLOAT) + _inside(2, shape)))


def _number(field: int, value: int) -> bytes:
    return varint(field << 3) + varint(value)


def _text(field: int, value: str) -> bytes:
    return _inside(field, value.encode())


def _inside(field: int, content: bytes) -> bytes:
    return field_head(field, len(content)) + content
