"""What a bundle tells people of how it was made: layers, checks, versions, data. No runner reads it."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from importlib import metadata
from typing import Any

import numpy as np
import onnx_ir as ir

from keras_trt._base.nests import leaves_of
from keras_trt._keras.flavor import Flavor
from keras_trt._keras.types import Model
from keras_trt.compare.comparison import Comparison
from keras_trt.data.source import is_arrays
from keras_trt.models.report import rows_of
from keras_trt.onnx_passes.naming import layer_of
from keras_trt.tensorrt_rules.stats import Product

_PACKAGES = ("keras-trt", "tensorflow", "keras", "tf-keras", "tf2onnx", "onnx", "onnx-ir", "numpy")
_LARGEST = 4 * 10**9  # bytes of data that are worth the seconds


def record_of(
    flavor: Flavor,
    model: Model,
    graph: ir.Model,
    weighted: Sequence[Product],
    compared: Comparison,
    *,
    data: object = None,
    in_float32: Mapping[str, str] | None = None,
    notes: Iterable[str] = (),
    around: Mapping[str, Sequence[str]] | None = None,
) -> dict[str, Any]:
    """The record of an export, JSON-ready. The same export makes the same one.

    Args:
        flavor: The model's Keras.
        model: What was exported.
        graph: The finished graph.
        weighted: Its products.
        compared: The comparison with Keras.
        data: What ranges were found with, or None.
        in_float32: Why nodes stayed in float32.
        notes: What the export has said.
        around: The names of the layers before and after the model itself, by `"before"` and `"after"`.
    """
    paths = [path for path, _ in flavor.walk(model)]
    present = {layer_of(node.name or "", paths) for node in graph.graph}
    layers = [
        {name: row[name] for name in ("layer", "kind", "quantised", "scheme", "reason")}
        | {"in_graph": row["layer"] in present or any(str(p).startswith(f"{row['layer']}/") for p in present)}
        for row in rows_of(flavor, model)
    ]
    record: dict[str, Any] = {
        "layers": layers,
        "products": [_product(product) for product in weighted],
        "kept_float32": dict(in_float32 or {}),
        "versions": _versions(),
        "notes": list(notes),
    }
    if around:
        record["around"] = dict(around)
    if compared.setting is not None:
        record["verification"] = {
            "runner": compared.setting.name,
            "without": compared.setting.without,
            # Two digits: the rest may differ from one run to the next.
            "outputs": [
                {
                    "output": d.output,
                    "relative": float(f"{d.relative:.1e}"),
                    "allowed": float(f"{d.allowed:.1e}"),
                }
                for d in compared.differences
            ],
        }
    digest = data_digest(data)
    return record if digest is None else record | {"calibration_data": digest}


def data_digest(data: object) -> dict[str, Any] | None:
    """The SHA-256 of arrays, with their types and shapes; None of other data, and of huge arrays."""
    if data is None or not is_arrays(data):
        return None
    arrays = [np.asarray(leaf) for leaf in leaves_of(data)]
    if sum(array.nbytes for array in arrays) > _LARGEST or any(array.dtype.hasobject for array in arrays):
        return None
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.dtype.str}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return {"sha256": digest.hexdigest(), "arrays": [f"{a.dtype.name} {list(a.shape)}" for a in arrays]}


def _product(product: Product) -> dict[str, Any]:
    return {
        "layer": product.layer,
        "operator": product.op_type,
        "computes": product.computes,
        "macs": product.macs,
        "weights": list(product.weights),
    }


def _versions() -> dict[str, str]:
    versions = {"python": platform.python_version()}
    for name in _PACKAGES:
        with suppress(metadata.PackageNotFoundError):
            versions[name] = metadata.version(name)
    return versions
