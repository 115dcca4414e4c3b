"""The float graph of a quantised bundle: its quantisers gone, its float part in 16 bits. Needs `onnx_ir`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import onnx_ir as ir
from onnx_ir.passes import common

from keras_trt._base.formats import FLOAT16_MAX, float_type
from keras_trt.bundle.checksum import sha256_of
from keras_trt.bundle.manifest import ONNX_FILE, Manifest
from keras_trt.bundle.read import Bundle
from keras_trt.onnx_passes.cast_floats import CastFloatsPass
from keras_trt.onnx_passes.quantized.remove import RemoveQuantizersPass
from keras_trt.packing.write import write_onnx


def unquantized(bundle: Bundle, precision: str, folder: Path) -> Bundle:
    """Writes the float graph of a quantised bundle; its weights are the floats that the quantised ones mean.

    A float part in 16 bits stays as the export has written it, with the layers that it left in float32. One
    in float32 is cast, but for layers whose ranges come near the end of float16.

    Args:
        bundle: A quantised one.
        precision: `"fp16"` or `"bf16"`: the float part's own, where that is one of them.
        folder: An existing folder, the caller's to remove.

    Returns:
        A bundle in `folder`, without plans and probe.
    """
    manifest = bundle.manifest
    graph = ir.load(bundle.onnx_path)
    RemoveQuantizersPass()(graph)
    if float_type(manifest.precision) != precision:
        common.ShapeInferencePass()(graph)  # every tensor's type must be known
        overflowing = _overflowing(manifest)
        CastFloatsPass(precision, overflowing, overflowing=overflowing)(graph)
    common.CommonSubexpressionEliminationPass()(graph)  # what only quantisers told apart
    common.RemoveUnusedNodesPass()(graph)
    external = write_onnx(graph, folder)
    changed = replace(
        manifest,
        precision=precision,
        onnx_file=ONNX_FILE,
        onnx_sha256=sha256_of(folder / ONNX_FILE),
        external_data=external,
        plans=(),
        probe_sha256=None,
    )
    return Bundle(folder, changed)


def _overflowing(manifest: Manifest) -> dict[str, str]:
    """Why layers stay in float32, by path; values to come may reach twice as far as those that were seen."""
    ranges = manifest.quantization.get("ranges", {})
    return {
        name.rpartition("/")[0]: f"its range of {amax:.3g} comes near float16's end"
        for name, amax in ranges.items()
        if isinstance(amax, int | float) and amax > FLOAT16_MAX / 2
    }
