"""What the page says of a bundle by itself: the sections that the manifest and the graph fill."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from keras_trt._base.tensors import shape_text
from keras_trt.bundle.manifest import Manifest
from keras_trt.inspection.files import BundleFile
from keras_trt.inspection.page import elements as e
from keras_trt.inspection.weights import Histogram

_CLASSES = 20  # as many are named
_NOT_RECORDED = "The bundle was written by a version that did not record its layers."


def facts(manifest: Manifest, files: Sequence[BundleFile]) -> str:
    """The numbers at the top."""
    share = _number(manifest.quantization.get("int8_mac_share"))
    size = sum(file.bytes or 0 for file in files if file.what in ("graph", "weights"))
    zeros = _numbers(manifest.sparsity.get("zeros"))
    known: list[tuple[str, object]] = [
        ("precision", manifest.precision),
        ("of the multiply-accumulates in int8", f"{share:.1%}"),
        ("graph and weights", f"{size / 1e6:.3g} MB"),
        ("plans", len(manifest.plans)),
        ("batch: min, usual, max", ", ".join(map(str, manifest.batch))),
    ]
    if zeros:
        known.append(("layers with zeros", len(zeros)))
    for output in _dicts(_dict(manifest.record.get("verification")).get("outputs"))[:1]:
        known.append(("from Keras at export", f"{_number(output.get('relative')):.2g}"))
    return e.cards(known)


def interface(manifest: Manifest) -> str:
    """Inputs and outputs."""
    rows = [["input", s.name, shape_text(s.shape), s.dtype] for s in manifest.inputs]
    rows += [
        ["output", s.name, shape_text(s.shape), manifest.predicted_dtypes.get(s.name, s.dtype)]
        for s in manifest.outputs
    ]
    body = e.table(["", "name", "shape", "type"], rows)
    for output, classes in manifest.labels.items():
        more = f", and {len(classes) - _CLASSES:,} more" if len(classes) > _CLASSES else ""
        body += f"<p>Classes of {e.text(output)}: {e.text(', '.join(classes[:_CLASSES]))}{more}.</p>"
    return e.heading("Inputs and outputs", body)


def layers(manifest: Manifest) -> str:
    """What was quantised, pruned, fused and left, and why."""
    record = manifest.record
    described = _dicts(record.get("layers"))
    if not described:
        return e.heading("Layers", f'<p class="soft">{_NOT_RECORDED}</p>')
    products = _dicts(record.get("products"))
    total = sum(_number(p.get("macs")) for p in products) or 1.0
    zeros, patterned = _numbers(manifest.sparsity.get("zeros")), _texts(manifest.sparsity.get("2:4"))
    rows = []
    for layer in described:
        name = str(layer.get("layer", ""))
        own = [p for p in products if p.get("layer") == name]
        macs = sum(_number(p.get("macs")) for p in own)
        rows.append(
            [
                name,
                str(layer.get("kind", "")),
                e.tags(_tags(layer, own, name in patterned)),
                f"{macs / total:.1%}" if own else "",
                f"{zeros[name]:.1%}" if name in zeros else "",
                _reason(layer),
            ]
        )
    quantized = sum(bool(layer.get("quantised")) for layer in described)
    gone = sum(layer.get("in_graph") is False for layer in described)
    note = f"{quantized} of {len(described)} layers are quantised, {gone} have no operator of their own left."
    return e.heading("Layers", e.table(["layer", "kind", "", "work", "zeros", "why"], rows), note)


def ranges(manifest: Manifest) -> str:
    """The largest magnitude of each quantised activation."""
    amax = _numbers(manifest.quantization.get("ranges"))
    note = "The largest magnitude that each int8 activation can hold; logarithmic."
    return e.heading("Activation ranges", e.bars(list(amax.items()), logarithmic=True), note)


def weights(stored: Mapping[str, Histogram], layer_of: Mapping[str, str]) -> str:
    """How the weights of each layer are spread."""
    shown = "".join(
        e.histogram(one.heights, f"{layer_of.get(name) or name} ({_stored(one)})", one.limit)
        for name, one in stored.items()
    )
    note = "Values as they are stored: of int8 weights the integers, whose scale is the channel's. "
    note += "The column of zeros is cut off at the height of the next one."
    return e.heading("Weights", f'<div class="grid">{shown}</div>' if shown else "", note)


def sparsity(manifest: Manifest) -> str:
    """The share of zeros in each layer's weights."""
    zeros = _numbers(manifest.sparsity.get("zeros"))
    patterned = _texts(manifest.sparsity.get("2:4"))
    note = f"Layers with the 2:4 pattern, whose zeros TensorRT can skip: {len(patterned)}." if zeros else ""
    return e.heading("Sparsity", e.bars(list(zeros.items()), percent=True), note)


def at_export(manifest: Manifest) -> str:
    """The comparison with Keras when the bundle was written."""
    checked = _dict(manifest.record.get("verification"))
    rows = []
    for one in _dicts(checked.get("outputs")):
        relative, allowed = _number(one.get("relative")), _number(one.get("allowed"))
        good = relative <= allowed
        rows.append(
            [str(one.get("output", "")), relative, allowed, e.verdict(good, "equal" if good else "off")]
        )
    without = f" without {checked['without']}" if checked.get("without") else ""
    note = f"Relative to Keras's outputs in the L2 norm, on a few rows, by {checked.get('runner')}{without}."
    return e.heading(
        "Checked at export", e.table(["output", "difference", "allowed", ""], rows), note if rows else ""
    )


def provenance(manifest: Manifest, files: Sequence[BundleFile]) -> str:
    """Versions, hashes, data, plans, files."""
    record = manifest.record
    data, recipe = _dict(record.get("calibration_data")), record.get("recipe")
    told = manifest.metadata.items()
    rows: list[list[Any]] = [
        ["written by", f"keras-trt {manifest.keras_trt_version}, from a {manifest.keras} model"],
        ["graph", f"ONNX opset {manifest.opset}, SHA-256 {manifest.onnx_sha256}"],
        ["calibration data", _data(data) or "not recorded"],
        *([["recipe", str(recipe)]] if recipe else []),
        *([name, value if isinstance(value, str) else json.dumps(value)] for name, value in told),
        *([name, str(version)] for name, version in _dict(record.get("versions")).items()),
    ]
    stored = [[f.name, f.what, "" if f.bytes is None else f"{f.bytes:,}", _state(f.intact)] for f in files]
    plans = [[p.file, p.built_by, ", ".join(p.compute_capabilities), p.os] for p in manifest.plans]
    body = e.table(["", "provenance"], rows) + "<h3>Files</h3>"
    body += e.table(["file", "holds", "bytes", ""], stored)
    body += f"<h3>Plans</h3>{e.table(['plan', 'built by', 'for', 'on'], plans)}" if plans else ""
    return e.heading("Provenance", body)


def notes(manifest: Manifest, more: Sequence[str]) -> str:
    """What the export said, and why nodes stayed in float32."""
    record = manifest.record
    told = [*_texts(record.get("notes")), *more]
    told += [f"{node}: {why}" for node, why in _dict(record.get("kept_float32")).items()]
    listed = "".join(f"<li>{e.text(one)}</li>" for one in told)
    return e.heading("Notes", f"<ul>{listed}</ul>" if listed else "")


def _stored(one: Histogram) -> str:
    return f"{one.dtype}, {one.size:,} values{f', {one.zeros:.0%} zeros' if one.zeros >= 0.005 else ''}"


def _state(intact: bool | None) -> str:
    if intact is None:
        return ""
    return e.verdict(intact, "as written" if intact else "missing or changed")


def _tags(
    layer: Mapping[str, object], products: Iterable[Mapping[str, object]], patterned: bool
) -> Iterator[str]:
    if layer.get("quantised"):
        yield str(layer.get("scheme", ""))
    else:
        yield from dict.fromkeys(str(p.get("computes", "")) for p in products)
    if layer.get("in_graph") is False:
        yield "not in the graph"
    if patterned:
        yield "2:4"


def _reason(layer: Mapping[str, object]) -> str:
    what = f"{layer['quantised']}: " if layer.get("quantised") else ""
    return f"{what}{layer.get('reason', '')}"


def _data(data: Mapping[str, object]) -> str:
    arrays = ", ".join(_texts(data.get("arrays")))
    return f"{arrays}, SHA-256 {data['sha256']}" if data.get("sha256") else ""


# What a manifest says is data from anywhere: of another type it counts as nothing.
def _dict(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _dicts(value: object) -> list[dict[str, Any]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list | tuple) else []


def _texts(value: object) -> list[str]:
    return [str(one) for one in value] if isinstance(value, list | tuple) else []


def _number(value: object) -> float:
    good = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if good else 0.0  # type: ignore[arg-type]


def _numbers(value: object) -> dict[str, float]:
    return {str(name): _number(number) for name, number in _dict(value).items()}
