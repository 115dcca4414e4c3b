"""The bar of `predict`: when it is drawn, and beside what."""

import numpy as np
import pytest

from keras_trt.errors import InputError
from keras_trt.runtime.progress import progress


def test_one_batch_draws_no_bar(capsys):
    for verbose in (1, "auto"):
        assert list(progress("a", 1, verbose)) == ["a"]
    assert capsys.readouterr().out == ""
    assert list(progress("a", 1, 2)) == ["a"]
    assert capsys.readouterr().out == "1/1\n"


def test_one_batch_of_a_source_that_does_not_say_how_many_makes_no_bar(capsys, monkeypatch):
    import rich.progress

    def refuse(*_, **__):
        raise AssertionError("a bar was made")

    monkeypatch.setattr(rich.progress, "Progress", refuse)
    for verbose in (1, "auto"):
        assert list(progress(iter("a"), None, verbose)) == ["a"]
        assert list(progress(iter(""), None, verbose)) == []
    with pytest.raises(AssertionError, match="a bar was made"):
        list(progress(iter("ab"), None, 1))
    assert capsys.readouterr().out == ""


def test_a_batch_is_asked_for_only_when_the_one_before_is_done(capsys):
    asked = []

    def source():
        for item in "abc":
            asked.append(item)
            yield item

    for number, item in enumerate(progress(source(), None, 1), start=1):
        assert (len(asked), asked[-1]) == (number, item)
    assert "3/3" in capsys.readouterr().out


def test_bars_in_threads_and_beside_a_display_of_the_users_do_not_meet(capsys):
    from rich import get_console
    from rich.live import Live

    with Live("theirs", console=get_console(), auto_refresh=False):
        outer = progress("abc", 3, "auto")
        assert next(outer) == "a"
        assert list(progress("xy", 2, "auto")) == ["x", "y"]  # as another thread would, while one is drawn
        assert list(outer) == ["b", "c"]
    assert "3/3" in capsys.readouterr().out


def test_a_prediction_that_fails_gives_the_bar_back(capsys):
    for _ in range(2):
        broken = progress(iter(lambda: 1 / 0, None), None, 1)
        with pytest.raises(ZeroDivisionError):
            next(broken)
    assert list(progress("abc", 3, 1)) == ["a", "b", "c"]
    assert "3/3" in capsys.readouterr().out


@pytest.mark.parametrize("verbose", [None, 1.0, 3, -1, np.zeros(2), "1"])
def test_no_other_value_is_a_verbosity(verbose):
    with pytest.raises(InputError, match="`verbose` must be"):
        list(progress("abc", 3, verbose))


@pytest.mark.parametrize(
    ("verbose", "shown"), [(0, ""), (1, "3/3"), ("auto", "3/3"), (2, "3/3"), (True, "3/3"), (False, "")]
)
@pytest.mark.parametrize("count", [3, None])
def test_progress_is_shown_as_asked(capsys, verbose, shown, count):
    assert list(progress("abc", count, verbose)) == ["a", "b", "c"]
    out = capsys.readouterr().out
    assert (shown in out) if shown else out == ""


def test_another_verbosity_is_refused():
    with pytest.raises(InputError, match=r"`verbose` must be 'auto', 0, 1 or 2. Received: 'loud'"):
        list(progress("abc", 3, "loud"))
