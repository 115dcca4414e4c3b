"""The layer sweep knows every layer of both Kerases, and its page shows what it found."""

from __future__ import annotations

import json

import pytest

from benchmarks import layers
from benchmarks.layer_cases import CASES
from benchmarks.layer_nets import KERASES, case, layer_of, public_layers
from benchmarks.layer_page import document

ADVICE = "benchmarks/layers.json is out of date: python -m benchmarks.layers --write"


@pytest.mark.parametrize("keras_name", KERASES)
def test_every_public_layer_has_a_case(keras_name):
    cases = {layer_of(name) for name, found in CASES.items() if keras_name in found.kerases}
    assert not set(public_layers(keras_name)) - cases, "add a case to benchmarks/layer_cases.py"


def test_a_layer_without_a_case_ends_the_sweep(monkeypatch):
    others = {name: found for name, found in CASES.items() if layer_of(name) != "Dense"}
    monkeypatch.setattr(layers, "CASES", others)
    with pytest.raises(SystemExit, match="No case for Dense of keras: add one"):
        layers.rows_of("keras")


def test_aliases_are_one_layer():
    assert public_layers("keras")["AveragePooling2D"] == ["AvgPool2D"]
    assert "AvgPool2D" not in public_layers("keras")


def test_the_page_shows_the_results():
    results = layers.read_results()
    assert {name for _, name in results} == set(CASES), ADVICE
    assert {(keras, name) for keras in KERASES for name in layers.rows_of(keras)} <= set(results), ADVICE
    assert layers.DOCUMENT.read_text() == document(results)


def test_no_layer_fails():
    assert not [row for row in layers.read_results().values() if "fails" in (row["float"], row["int8"])]


@pytest.mark.parametrize(
    ("name", "float_", "int8"),
    [
        ("Dense", "passes", "passes"),
        ("Flatten", "passes", "nothing to quantise"),
        ("StringLookup", "impossible", ""),
    ],
)
def test_a_case_passes_or_is_refused_with_the_reason(k, name, float_, int8):
    row = layers.run(k.__name__, name)
    assert (row["float"], row["int8"]) == (float_, int8)
    assert ("Layer 'string_lookup' works on strings" in row["error"]) == (float_ == "impossible")


def test_a_case_that_should_pass_fails_with_its_error(k, monkeypatch):
    monkeypatch.setitem(layers.CASES, "Dense", case(lambda L: L.Dense(-1)))
    row = layers.run(k.__name__, "Dense")
    assert row["float"] == "fails" and "cannot build it" in row["error"]


def test_a_case_that_is_called_impossible_must_not_pass(k, monkeypatch):
    known = CASES["Flatten"]
    monkeypatch.setitem(layers.CASES, "Flatten", case(known.make, *known.inputs, impossible="so they say"))
    row = layers.run(k.__name__, "Flatten")
    assert row["float"] == "fails" and "called impossible: so they say" in row["error"]


def test_a_result_other_than_the_page_s_is_noticed():
    passed = {"float": "passes", "int8": "passes", "error": ""}
    assert not layers.differs(passed, passed)
    assert layers.differs(passed | {"int8": "fails"}, passed)
    assert layers.differs(passed, None)
    assert not layers.differs({"float": "not run", "int8": ""}, {"float": "impossible", "int8": ""})


def test_results_are_written_in_the_order_of_the_table(tmp_path):
    rows = [{"keras": keras, "name": name, "float": "passes", "int8": "", "error": "", "seconds": 1.0}
            for keras, name in (("tf_keras", "Dense"), ("keras", "LSTM"), ("keras", "Dense"))]  # fmt: skip
    layers.write_results({(row["keras"], row["name"]): row for row in rows}, tmp_path / "r.json")
    written = json.loads((tmp_path / "r.json").read_text())
    assert [(row["keras"], row["name"]) for row in written] == [
        ("keras", "Dense"),
        ("keras", "LSTM"),
        ("tf_keras", "Dense"),
    ]
    assert "seconds" not in written[0]
