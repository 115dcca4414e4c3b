"""Small models of keras-hub's classes go the whole road; slow, and only where keras-hub is installed."""

from __future__ import annotations

import pytest

from benchmarks import hub, hub_page
from benchmarks.hub_newer import NETS, not_listed
from benchmarks.hub_page import document

ADVICE = "benchmarks/hub.json is out of date: python -m benchmarks.hub --write"


@pytest.mark.slow
@pytest.mark.parametrize("name", NETS)
def test_a_class_goes_the_whole_road(name):
    pytest.importorskip("keras_hub")
    (row,) = hub.run_all([name])
    recorded = hub.read_results().get(name, {"failed": ""})
    assert row["failed"] == recorded["failed"], row["error"]


def test_every_class_of_keras_hub_is_tried_or_left_out_by_name():
    keras_hub = pytest.importorskip("keras_hub")
    assert not not_listed(keras_hub.models)


def test_the_page_shows_the_results():
    assert hub.DOCUMENT.read_text() == document(hub.read_results()), ADVICE


def test_results_are_written_in_the_order_of_the_table(tmp_path):
    rows = {
        n: {"name": n, "failed": "", "error": "", "seconds": 1.0} for n in ("BertBackbone", "ViTBackbone")
    }
    hub.write_results(rows, tmp_path / "r.json")
    assert list(hub.read_results(tmp_path / "r.json")) == ["ViTBackbone", "BertBackbone"]
    assert "seconds" not in (tmp_path / "r.json").read_text()


def test_a_failure_is_shown_with_its_reason(monkeypatch):
    monkeypatch.setitem(hub_page.REASONS, "FNetBackbone", "Fourier has no int8.")
    failed = {"name": "FNetBackbone", "failed": "float export", "error": "ExportError: no\nmore"}
    text = document({"FNetBackbone": failed})
    assert (
        "fails: float export" in text and "Fourier has no int8." in text and "*ExportError: no more*" in text
    )
