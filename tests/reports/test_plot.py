import sys

import pytest

from keras_trt.errors import InputError, MissingDependencyError
from keras_trt.reports.plot import drawn, new_figure


def test_a_figure_is_written_where_a_path_is_given(tmp_path):
    figure = new_figure("a test")
    assert drawn(figure, None) is figure
    assert drawn(figure, tmp_path / "empty.svg") is figure
    assert "<svg" in (tmp_path / "empty.svg").read_text()


@pytest.mark.parametrize("name", ["a.txt", "a"])
def test_another_format_is_refused_by_its_name(tmp_path, name):
    with pytest.raises(InputError, match=rf"A picture is one of .*\.png, .*\.svg.* Received: '.*{name}'"):
        drawn(new_figure("a test"), tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_without_matplotlib_the_error_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(
        MissingDependencyError, match=r"needed by Report.plot.*pip install 'keras-trt\[report\]'"
    ):
        new_figure("Report.plot")
