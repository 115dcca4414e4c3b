"""Writes the ONNX file; weights go beside it when protobuf's 2 GB would not hold them."""

from __future__ import annotations

from pathlib import Path

import onnx_ir as ir

from keras_trt.bundle import sha256_of
from keras_trt.bundle.manifest import ONNX_FILE

EXTERNAL_FILE = "model.onnx.data"
LIMIT = 1_900_000_000
"""Bytes of weights beyond which they are written beside the graph (protobuf refuses 2 GiB)."""


def write_onnx(model: ir.Model, folder: Path, *, external: bool | None = None) -> dict[str, str]:
    """Writes `model.onnx` into a folder. The same model gives the same bytes.

    Args:
        model: The finished graph.
        folder: An existing folder.
        external: Whether the weights go into a file of their own; None: only if they have to.

    Returns:
        The SHA-256 of the external files, by name.
    """
    weights = sum(
        v.const_value.nbytes for v in model.graph.initializers.values() if v.const_value is not None
    )
    if external is None:
        external = weights > LIMIT
    if external:
        ir.save(model, folder / ONNX_FILE, external_data=EXTERNAL_FILE)
        file = folder / EXTERNAL_FILE
        return {EXTERNAL_FILE: sha256_of(file)} if file.is_file() else {}
    (folder / ONNX_FILE).write_bytes(ir.to_proto(model).SerializeToString(deterministic=True))
    return {}
