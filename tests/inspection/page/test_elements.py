import math
import re

from keras_trt.inspection.page.elements import (
    bars,
    cards,
    curve,
    heading,
    histogram,
    label,
    table,
    tags,
    verdict,
)


def lengths(html):
    return [float(width) for width in re.findall(r"width:([\d.]+)%", html)]


def test_bars_are_as_long_as_their_numbers():
    assert lengths(bars([("a", 2.0), ("b", 1.0), ("c", 0.0)])) == [100.0, 50.0, 0.0]
    logarithmic = lengths(bars([("a", 100.0), ("b", 10.0), ("c", 1.0), ("d", math.inf)], logarithmic=True))
    assert logarithmic == [100.0, 60.0, 20.0, 0.0]
    assert bars([]) == ""
    assert bars([("a", 0.0)]) == ""
    assert "50.0%" in bars([("a", 0.5)], percent=True)
    assert lengths(bars([("a", 0.5), ("b", 0.25)], percent=True)) == [50.0, 25.0]


def test_long_names_break_between_their_words():
    assert label("block_1/conv<_>:q") == "block_<wbr>1/<wbr>conv&lt;_<wbr>&gt;:<wbr>q"
    assert "a_<wbr>b" in histogram([1], "a_b", 1.0)


def test_a_histogram_has_a_column_for_each_bin_that_holds_something():
    shown = histogram([1, 0, 2], "caption <b>", 1.5)
    assert shown.count("<rect") == 2
    assert "caption &lt;b&gt;" in shown
    assert ">-1.5<" in shown


def test_a_curve_ends_where_its_points_do():
    points = re.search(r'points="([^"]*)"', curve([0.5, 0.9], [0.0, 2.0], "w"))[1]
    assert points == "0.0,64.0 164.0,0.0"
    assert "at most 2" in curve([0.5, 0.9], [0.0, 2.0], "w")
    assert "points" in curve([0.5], [0.0], "one point")


def test_tables_escape_and_name_their_cells():
    shown = table(["layer", ""], [["<x>", 1], ["y", 2.5]])
    assert '<td data-of="layer">&lt;x&gt;</td>' in shown
    assert '<td class="n">2.5</td>' in shown
    assert table(["a"], []) == ""


def test_small_elements():
    assert heading("title", "") == ""
    assert "<h2>a &amp; b</h2>" in heading("a & b", "body")
    assert "<b>3</b><span>plans</span>" in cards([("plans", 3)])
    assert tags(["int8", "<x>"]).count("tag int8") == 1
    assert "✗ off" in verdict(False, "off")
