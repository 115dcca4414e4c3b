"""Every report fits the terminal, whatever the names in it are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from rich.cells import cell_len

from keras_trt.building.build_report import BuildReport, BuiltPlan
from keras_trt.compare.verify_report import LayerDifference, OutputDifference, VerifyReport
from keras_trt.exporting.export_report import ExportReport
from keras_trt.exporting.tftrt import TFTRTReport
from keras_trt.prune import Sensitivity
from keras_trt.quantize import SensitivityReport
from keras_trt.reports import Findings, Report
from keras_trt.runtime.profile import EngineProfile, LayerProfile

LONG = "backbone/a_block_of_a_long_name/" * 4 + "conv"
NOTES = ("A note of some words, as there are. " * 6,)
PATH = Path("/a/folder/of/a/long/name" * 5)

REPORTS: list[Callable[[], Findings]] = [
    lambda: Report(LONG, ({"layer": LONG, "reason": "a reason " * 20, "share": 0.5},), NOTES),
    lambda: ExportReport(
        path=PATH, name=LONG, keras="keras3", precision="int8+fp16", opset=19, onnx_bytes=10**9,
        operators=dict.fromkeys((f"Operator{i}" for i in range(40)), 3), int8_layers=(LONG,) * 3,
        float_layers=(LONG,) * 9, int8_mac_share=0.5, fp8_layers=(LONG,), weights={"int8": 3},
        sparse_layers=(LONG,),
        differences=({"output": LONG, "relative": 0.1, "allowed": 0.2},), verified_with="openvino",
        plans=({"file": f"plans/{LONG}", "bytes": 3, "compute_capabilities": ["SM89"] * 20},),
        kept_float32={LONG: "why"}, seconds=dict.fromkeys("abcdefgh", 1.0), notes=NOTES,
    ),
    lambda: TFTRTReport(PATH, LONG, "legacy", "FP16", 3, False, {"Op": 3}, (), NOTES),
    lambda: VerifyReport(
        path=PATH, name=LONG, precision="int8", rows=3, runners=("onnxruntime-tensorrt",),
        differences=(OutputDifference("onnxruntime-tensorrt", LONG, 0.1, 0.2, 0.5, 0.01),),
        layers=(LayerDifference("openvino", LONG, 0.1, 0.2, 0.01),), first_divergence=LONG,
        metrics={"keras": 0.5, "onnxruntime-tensorrt": 0.4}, notes=NOTES,
    ),
    lambda: BuildReport(
        PATH, LONG,
        (BuiltPlan("tensorrt_rtx", "1.7", ("SM89",) * 9, PATH, 10**9, {"profiles": [{"batch": 3}] * 9}),),
        {"tensorrt": "a reason " * 20}, NOTES,
    ),
    lambda: SensitivityReport({LONG: 0.25, "b": 1e-9}, "int8"),
    lambda: Sensitivity((0.1, 0.5, 0.9), {LONG: (0.1, 0.2, 0.3)}, "unstructured"),
    lambda: EngineProfile(
        LONG, "openvino", (LayerProfile(LONG, ("FullyConnected",) * 9, ("u8", "i8"), 0.1, 3),), True, NOTES
    ),
]  # fmt: skip


@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize("make", REPORTS, ids=lambda make: type(make()).__name__)
def test_it_fits_the_terminal_and_is_shown_in_notebooks(monkeypatch, width, make):
    monkeypatch.setenv("COLUMNS", str(width))
    lines = str(make()).splitlines()
    # A name or a path without a space cannot be broken; all else is.
    assert max(cell_len(line) for line in lines if LONG not in line and str(PATH) not in line) <= width
    assert "backbone/a_block_of_a_long_name" in str(make())
    assert "<table>" in make()._repr_html_()
