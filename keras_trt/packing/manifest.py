"""What a fresh bundle says about itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from keras_trt._base.tensors import fixed_batch
from keras_trt.bundle import Manifest, sha256_of
from keras_trt.bundle.manifest import ONNX_FILE
from keras_trt.quantize.inventory import QuantizedTensor
from keras_trt.tensorrt_rules.stats import Product, int8_share

if TYPE_CHECKING:
    from keras_trt.trace.trace import Trace


def layers_of(products: Iterable[Product]) -> tuple[str, ...]:
    """The layers of some products, each once."""
    return tuple(dict.fromkeys(p.layer for p in products))


def manifest_of(
    folder: Path,
    traced: Trace,
    weighted: Sequence[Product],
    tensors: Sequence[QuantizedTensor],
    *,
    batch: tuple[int, int, int],
    precision: str,
    opset: int,
    external: Mapping[str, str],
    labels: Mapping[str, tuple[str, ...]] = MappingProxyType({}),
    metadata: Mapping[str, object] = MappingProxyType({}),
) -> Manifest:
    """The manifest of the ONNX file in `folder`."""
    static = fixed_batch(traced.inputs)
    zeros = {p.layer: round(p.zeros, 4) for p in weighted if p.zeros}
    return Manifest(
        name=traced.name,
        keras_trt_version=_version(),
        keras=traced.flavor,
        inputs=traced.inputs,
        outputs=traced.outputs,
        input_structure=traced.input_structure,
        output_structure=traced.output_structure,
        batch=batch if static is None else (static, static, static),
        precision=precision,
        opset=opset,
        onnx_sha256=sha256_of(folder / ONNX_FILE),
        external_data=dict(external),
        axis_sizes=traced.axis_sizes,
        predicted_dtypes=dict(traced.predicted_dtypes),
        quantization={
            "weights": dict(Counter(t.format for t in tensors if t.stored)),
            "int8_layers": list(layers_of(p for p in weighted if p.int8)),
            "int8_mac_share": round(int8_share(weighted), 4),
            "ranges": {f"{t.layer}/{t.name}": t.amax for t in tensors if t.kind == "activation"},
        },
        labels=dict(labels),
        metadata=dict(metadata),
        sparsity={"2:4": list(layers_of(p for p in weighted if p.two_of_four)), "zeros": zeros},
    )


def _version() -> str:
    try:
        return metadata.version("keras-trt")
    except metadata.PackageNotFoundError:  # run from a checkout
        return "0+checkout"
