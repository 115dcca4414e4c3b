import pytest
from rich.cells import cell_len

from keras_trt.measuring.benchmark_report import BenchmarkReport, Contender, Timing
from keras_trt.measuring.machine import Machine

NAMES = ("a float32 network of a long name on onnxruntime-tensorrt", "int8 on openvino")


def report(metric=0.5):
    machine = Machine(
        "A processor " * 6, 2, 2**34, "Linux 6.1 x86_64", "3.11.7", ("NVIDIA L4 (SM89, 22 GiB)",), "570"
    )
    contenders = tuple(Contender(n, n, "openvino", "why", "int8+fp16", 10**7, None, metric) for n in NAMES)
    timings = tuple(
        Timing(n, batch, threads, batch * 1.25, batch * 2.0, batch * 3.0, 1e4, 1.0, 100)
        for n in NAMES
        for batch in (1, 32)
        for threads in (1, 8)
    )
    return BenchmarkReport("net", contenders, timings, NAMES[-1], "the data", machine, ("A note.",))


@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize("metric", [0.5, None])
def test_it_fits_the_terminal(monkeypatch, width, metric):
    monkeypatch.setenv("COLUMNS", str(width))
    lines = str(report(metric)).splitlines()
    assert max(map(cell_len, lines)) <= width
    assert "Batches of 32 from 8 threads at once" in lines
    assert any("NVIDIA L4" in line for line in lines)
    assert ("metric" in str(report(metric))) == (metric is not None)


def test_it_is_drawn_and_shown_in_notebooks(tmp_path):
    figure = report().plot(tmp_path / "speed.png")
    assert (tmp_path / "speed.png").read_bytes().startswith(b"\x89PNG")
    latency, rate = figure.axes
    assert len(latency.lines) == len(rate.lines) == 4
    assert list(latency.lines[0].get_ydata()) == [1.25, 40.0]
    assert "<table>" in report()._repr_html_()
