"""What is wanted of a network that goes down the road, and docs/zoo.md, which shows what was found."""

from __future__ import annotations

from typing import Any

from benchmarks.zoo_nets import networks

WANTED_SHARE = 0.95
"""Of the multiply-accumulates, in int8."""

BELOW_SHARE: dict[str, str] = {}
"""Why a network cannot reach it, by name."""

WANTED_PARITY = 1e-3
"""Largest relative difference of the logits between graph and Keras, the activations unrounded in both."""

WANTED_ROUNDED = 1.5
"""Largest difference with the activations rounded, relative to what int8 itself changes. Whether a value next
to a border is rounded up or down depends on its last bit, and a few layers further on the roundings of two
runners have nothing in common: they are two samples of the same noise, sqrt(2) apart."""


def document(rows: dict[tuple[str, str], dict[str, Any]]) -> str:
    """docs/zoo.md."""
    order = {key: n for n, key in enumerate(networks())}
    found = [rows[key] for key in sorted(rows, key=order.__getitem__)]
    passed = sum(not row["failed"] and not row.get("float_only") for row in found)
    float_only = sum(not row["failed"] and bool(row.get("float_only")) for row in found)
    head = ["Keras", "network", "input", "parameters", "float32 against Keras", "int8 layers", "int8 MACs",
            "against Keras", "int8 against float", "rounded", "ONNX", "SM89 plan", "result"]  # fmt: skip
    lines = [
        _HEAD.format(
            passed=passed,
            float_only=f", {float_only} only the export in float32" if float_only else "",
            run=len(found),
            all=len(order),
            parity=WANTED_PARITY,
            rounded=WANTED_ROUNDED,
        ),
        f"| {' | '.join(head)} |",
        f"|{'---|' * len(head)}",
        *(f"| {' | '.join(_cells(row))} |" for row in found),
    ]
    return "\n".join([*lines, *_failures(found), *_below_share(found)]) + "\n"


def _cells(row: dict[str, Any]) -> list[str]:
    def cell(key: str, form: str, factor: float = 1.0) -> str:
        return form.format(row[key] * factor) if key in row else ""

    return [
        row["keras"],
        row["net"],
        cell("input", "{0:.0f} x {0:.0f}"),
        cell("parameters", "{:.1f} M", 1e-6),
        cell("float_parity", "{:.0e}"),
        cell("int8_layers", "{:.0f}"),
        cell("mac_share", "{:.1f} %", 100),
        cell("parity", "{:.0e}"),
        cell("int8_error", "{:.0f} %", 100),
        cell("rounded", "{:.2f}"),
        cell("onnx_mb", "{:.1f} MB"),
        cell("plan_mb", "{:.1f} MB"),
        _result(row),
    ]


def _result(row: dict[str, Any]) -> str:
    passes = "float32 passes" if row.get("float_only") else "passes"
    return f"fails: {row['failed']}" if row["failed"] else passes


def _failures(found: list[dict[str, Any]]) -> list[str]:
    failed = [row for row in found if row["failed"]]
    lines = [
        f"* {row['keras']} {row['net']}, {row['failed']}: {row['error'].partition(chr(10))[0]}"
        for row in failed
    ]
    return ["", "What failed, when it was last run:", "", *lines] if lines else []


def _below_share(found: list[dict[str, Any]]) -> list[str]:
    nets = sorted({row["net"] for row in found if row["net"] in BELOW_SHARE})
    return (
        ["", f"Below {WANTED_SHARE:.0%} in int8:", "", *(f"* {n}: {BELOW_SHARE[n]}" for n in nets)]
        if nets
        else []
    )


_HEAD = """# The networks of `keras.applications` and `tf_keras.applications`

Of the {all} networks {run} were run: {passed} pass the whole road{float_only}.
Each row is from the last run of its network, which may be older than the code beside it.
`python -m benchmarks.zoo` runs the failed and the missing ones and writes this page, `tox -e sweep` runs the
same as tests, with the networks' own sizes of images.

Each network is built untrained (`weights=None`) with its classifier, its normalisations set to statistics of
random images, exported in float32 and compared with Keras on the CPU runner, quantised with `quantize_model`,
calibrated on four images, trained for one step, and exported with a TensorRT-RTX plan for SM89 (built, not
run: that needs such a GPU). Then the bundle predicts four other images with OpenVINO.

* *float32 against Keras*: the largest relative difference of the float32 bundle's outputs.
* *int8 MACs*: the share of the multiply-accumulates that the exported graph computes in int8.
* *against Keras*: how far the bundle's logits are from those of the quantised Keras model, relative to how
  much the logits differ between images, when the rounding of the activations is taken out of both (the
  weights are int8); {parity:.0e} is allowed.
* *int8 against float*: how far the rounding of the activations moves the logits of the Keras model. The
  weights are random, so it says nothing about the accuracy of trained networks.
* *rounded*: how far the whole int8 bundle is from the quantised Keras model, in units of the column before;
  {rounded} is allowed. Rounding is chaotic: a difference in the last bit of a value next to a border becomes
  one step, and after a few layers two runners are as far from each other as either is from the float model.
* *input*: the size of the images; smaller than the network's own to save time.
"""
