"""The accuracy-driven search, told metrics from a table instead of a training."""

import pytest

from keras_trt.errors import InputError
from keras_trt.prune.search.search import Search


def run(search, metric_at, epochs=60):
    levels = []
    for _ in range(epochs):
        levels.append(search.trying)
        search.tell(metric_at(search.trying))
        if search.done:
            break
    return levels


def test_it_closes_in_on_the_limit_from_below():
    search = Search(max_drop=0.01)
    run(search, lambda s: 0.9 if s <= 0.73 else 0.5)
    assert search.done
    assert 0.71 <= search.accepted <= 0.73


def test_it_stops_at_the_highest_sparsity_when_nothing_is_lost():
    search = Search(max_drop=0.01, final=0.6)
    levels = run(search, lambda s: 0.9)
    assert search.done
    assert search.accepted == 0.6
    assert levels == pytest.approx([0.0, 0.2, 0.4, 0.6])


def test_it_steps_back_to_the_accepted_level_and_tries_a_smaller_step():
    search = Search(max_drop=0.01, step=0.4)
    assert search.tell(0.9) == "accept"
    assert search.trying == 0.4
    assert search.tell(0.8) == "back"
    assert (search.accepted, search.trying) == (0.0, 0.2)


def test_patience_lets_a_level_recover():
    search = Search(max_drop=0.01, patience=2)
    search.tell(0.9)
    assert [search.tell(0.8), search.tell(0.895)] == ["wait", "accept"]


def test_a_loss_may_rise_by_the_allowed_drop():
    search = Search(max_drop=0.1, higher_is_better=False)
    search.tell(1.0)
    assert search.tell(1.05) == "accept"
    assert search.tell(1.2) == "back"


def test_a_nan_metric_counts_as_a_failure():
    search = Search(max_drop=0.1)
    search.tell(0.9)
    assert search.tell(float("nan")) == "back"


def test_a_model_that_cannot_be_pruned_ends_dense():
    search = Search(max_drop=0.0)
    run(search, lambda s: 0.9 - s)
    assert search.done
    assert search.accepted == search.trying == 0.0


@pytest.mark.parametrize(
    "options,message",
    [
        ({"max_drop": -1}, "max_drop=-1"),
        ({"max_drop": "1%"}, "max_drop='1%'"),
        ({"max_drop": 0, "final": 1}, "Received: 1"),
        ({"max_drop": 0, "patience": 0}, "patience=0"),
    ],
)
def test_nonsense_is_refused(options, message):
    with pytest.raises(InputError, match=message):
        Search(**options)
