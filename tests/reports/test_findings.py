"""What all reports share: text, HTML and JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pytest

from keras_trt.compare.verify_report import VerifyReport
from keras_trt.exporting.export_report import ExportReport
from keras_trt.exporting.tftrt import TFTRTReport
from keras_trt.prune import Sensitivity
from keras_trt.quantize import SensitivityReport
from keras_trt.reports import Findings, Report, Table


@dataclass(frozen=True)
class Found(Findings):
    path: Path
    losses: dict[str, tuple[float, ...]]
    notes: tuple[str, ...] = ()

    def tables(self) -> Iterable[Table]:
        for layer, losses in self.losses.items():
            yield Table(f"losses of {layer}", ["loss"], [[loss] for loss in losses])


FOUND = Found(Path("a/b"), {"<conv>": (0.25, float("nan"))}, ("1 < 2.",))


def test_json_holds_every_field_and_names_numbers_that_it_does_not_know(tmp_path):
    text = FOUND.to_json(tmp_path / "report.json")
    assert json.loads(text) == {"path": "a/b", "losses": {"<conv>": [0.25, "nan"]}, "notes": ["1 < 2."]}
    assert (tmp_path / "report.json").read_text(encoding="utf-8") == text + "\n"
    assert json.loads(text) == FOUND.to_dict()


def test_text_shows_every_table_and_the_notes():
    lines = str(FOUND).splitlines()
    assert lines[0] == "losses of <conv>"
    assert lines[-1] == "1 < 2."
    assert "0.25" in str(FOUND)


def test_a_notebook_shows_the_same_with_brackets_as_text():
    shown = FOUND._repr_html_()
    assert "<caption>losses of &lt;conv&gt;</caption>" in shown
    assert "<tr><th>loss</th></tr><tr><td>0.25</td></tr><tr><td>nan</td></tr>" in shown
    assert shown.endswith("<p>1 &lt; 2.</p>")


@pytest.mark.parametrize(
    "kind", [ExportReport, Report, Sensitivity, SensitivityReport, TFTRTReport, VerifyReport]
)
def test_every_report_of_the_library_is_one(kind):
    assert issubclass(kind, Findings)
    assert kind.tables is not Findings.tables
