"""docs/hub.md, from the results of the keras-hub sweep."""

from __future__ import annotations

from typing import Any

from benchmarks.hub_newer import LEFT_OUT, NETS

REASONS = {
    "SAMImageSegmenter": "TensorFlow itself aborts in a matrix product of oneDNN on some batches of this "
    "model, before anything of it is exported; not with `TF_ENABLE_ONEDNN_OPTS=0`.",
}


def document(results: dict[str, dict[str, Any]]) -> str:
    """The whole page."""
    rows = [results[name] for name in NETS if name in results]
    passed = sum(not row["failed"] for row in rows)
    head = ["class", "int8 layers", "int8 MACs", "float32", "runner", "int8", "runner", "result"]
    lines = [
        _HEAD.format(passed=passed, run=len(rows), all=len(NETS)),
        f"| {' | '.join(head)} |",
        f"|{'---|' * len(head)}",
        *(f"| {' | '.join(_cells(row))} |" for row in rows),
        *_failures(rows),
        *_missing(results),
        *_left_out(),
    ]
    return "\n".join(lines) + "\n"


def _cells(row: dict[str, Any]) -> list[str]:
    share = f"{row['int8_macs']:.0%}" if "int8_macs" in row else ""
    compared = [cell for road in ("float", "int8") for cell in _compared(row.get(road))]
    result = f"fails: {row['failed']}" if row["failed"] else "passes"
    if "keras_change" in row:
        result += f" (Keras itself loads it {row['keras_change']:.0e} off)"
    return [f"`{row['name']}`", str(row.get("int8_layers", "")), share, *compared, result]


def _compared(found: dict[str, Any] | None) -> tuple[str, str]:
    """The larger difference of the runners that run the file, and the one that `load` takes."""
    if found is None:
        return "", ""
    numbers = [found[name] for name in ("openvino", "onnxruntime") if not isinstance(found[name], str)]
    return f"{max(numbers):.0e}", str(found["runner"])


def _failures(rows: list[dict[str, Any]]) -> list[str]:
    failed = [row for row in rows if row["failed"]]
    if not failed:
        return []
    lines = ["", "## What does not pass, and why", ""]
    for row in failed:
        reason = REASONS.get(row["name"])
        error = " ".join(row["error"].split())[:300]
        lines.append(f"* `{row['name']}`, {row['failed']}: {reason or 'not solved yet.'} *{error}*")
    return lines


def _missing(results: dict[str, dict[str, Any]]) -> list[str]:
    names = [f"`{name}`" for name in NETS if name not in results]
    return ["", f"Not run yet: {', '.join(names)}."] if names else []


def _left_out() -> list[str]:
    return ["", "## What is not tried", "", *(f"* `{name}`: {reason}" for name, reason in LEFT_OUT.items())]


_HEAD = """# Models of keras-hub

`python -m benchmarks.hub --write` writes this page. `tox -e hub` runs the same, and fails where a result is
not the one shown here. Of {all} classes {run} were run: {passed} pass the whole road.

Each class is built small from random weights, without a download: exported in float32 and compared with
Keras, quantised and calibrated, trained for one step with `fit`, saved with `save_model` and loaded (as many
quantised layers, the same outputs; where Keras itself loads the model without quantisers with other outputs,
as those that interpolate their position table anew, no more than twice that far off), exported in int8 with a
TensorRT-RTX plan for SM89 (built, not run: that needs such a GPU), and compared with Keras again. Axes for
the length of a text stay open.

* *float32*, *int8*: the largest relative difference from Keras on OpenVINO and ONNX Runtime, where they load
  the file. In int8 a value next to a border may be rounded up or down; allowed is 1.5 times what the rounding
  of the activations itself changes, and at least 0.005.
* *runner*: what `load` takes on a CPU. Bundles that OpenVINO cannot load or gets wrong run on ONNX Runtime.
* *int8 MACs*: the share of the multiply-accumulates that TensorRT computes in int8. Experts of a mixture hold
  their kernels in layers of their own, which stay float: see `register_layer`.
"""
