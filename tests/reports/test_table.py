import pytest

from keras_trt.reports import Report
from keras_trt.reports.table import render


@pytest.fixture(autouse=True, params=[80])
def width(request, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(request.param))
    return request.param


LONG = "residual addition: every branch but the one from block_12_project, which is the last of them"
WIDE = {
    "layer": "block/conv",
    "kind": "GlobalAveragePooling2D",
    "amax": "6, 0.25",
    "reason": LONG,
    "share": 0.5,
}


def test_a_narrow_table_is_a_table():
    text = render("title", ["layer", "share"], [["conv", 0.25], ["dense", 1.0]])
    assert text.splitlines() == [
        "title",
        "",
        "  layer   share",
        " ───────────────",
        "  conv     0.25",
        "  dense       1",
    ]


def test_columns_without_room_go_below_their_row_and_nothing_is_lost():
    lines = str(Report("title", (WIDE, WIDE | {"layer": "dense", "reason": "", "kind": None}))).splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[2].split() == ["layer", "kind", "amax", "share"]
    assert lines[4].split() == ["block/conv", "GlobalAveragePooling2D", "6,", "0.25", "0.5"]
    assert " ".join(" ".join(lines[5:7]).split()) == f"reason: {LONG}"
    assert [line.split() for line in lines[7:]] == [["dense", "6,", "0.25", "0.5"]]


@pytest.mark.parametrize("width", [60, 80, 100, 200], indirect=True)
@pytest.mark.parametrize("name", ["conv", "a/long/path/" * 10, "層" * 30, "conv[relu]"])
def test_any_report_fits_the_terminal(width, name):
    from rich.cells import cell_len

    text = str(Report("title " * 30, (WIDE | {"layer": name},), ("A note of many words. " * 20,)))
    assert max(map(cell_len, text.splitlines())) <= width
    assert "".join(name.split()) in "".join(text.split())
    assert LONG in " ".join(text.split())


def test_a_name_and_a_long_text_stay_side_by_side():
    lines = render("title", ["", "exported"], [["operators", "Conv 1, " * 30]]).splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[4].startswith("  operators   Conv 1, Conv 1")
    assert lines[5].startswith("              Conv 1")


@pytest.mark.parametrize("width", [60, 80, 100], indirect=True)
def test_a_name_of_up_to_half_the_terminal_stays_in_one_piece(width):
    name = "plans/" + "x" * (width // 2 - 6)
    lines = render("title", ["", "exported"], [[name, LONG], ["operators", LONG]]).splitlines()
    assert max(map(len, lines)) <= width
    assert lines[4].startswith(f"  {name}   residual")
    assert " ".join(" ".join(lines[4:]).split()) == f"{name} {LONG} operators {LONG}"


@pytest.mark.parametrize(
    "name", ["conv[relu]", "[bold]", "out/[/x]/b", ":smile:", "a\\[b]", "[link=x]y[/link]"]
)
def test_names_are_shown_as_they_are_wherever_they_stand(name):
    text = str(Report(f"net -> {name}", ({"layer": name, f"{name}!": name},), (name,)))
    assert text.count(name) == 5


def test_a_report_without_rows_is_its_title_and_notes():
    assert str(Report("title", (), ("note",))).split() == ["title", "note"]
