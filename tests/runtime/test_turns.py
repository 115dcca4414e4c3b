import threading
import time

import pytest

from keras_trt.runtime.turns import Turns, take_turns, times_faster


def test_a_call_that_takes_five_times_as_long_is_five_times_slower():
    calls = {"short": lambda: time.sleep(0.004), "long": lambda: time.sleep(0.02)}
    turns = take_turns(calls, seconds=0.3)
    assert times_faster(turns["short"], turns["long"]) == pytest.approx(5, rel=0.3)
    assert times_faster(turns["long"], turns["long"]) == 1
    assert min(turns["long"].seconds) >= 0.02
    assert turns["long"].per_second <= 50


def test_who_goes_first_changes_and_every_call_has_its_turn():
    order = []
    turns = take_turns(
        {
            "a": lambda: order.append("a") or time.sleep(0.06),
            "b": lambda: order.append("b") or time.sleep(0.06),
        },
        seconds=0.1,
    )
    rounds = "".join(order)[6:]  # behind the three calls each that warm up
    assert rounds.startswith("aabb" + "bbaa")  # one call that is not timed, one that is
    assert len(turns["a"].bursts) == len(turns["b"].bursts) >= 5


def test_one_call_alone_is_not_called_between_its_turns():
    count = []
    turns = take_turns({"a": lambda: count.append(1) or time.sleep(0.06)}, seconds=0.1)
    assert len(count) == 3 + len(turns["a"].seconds)


def test_threads_call_at_the_same_time():
    together, most = [], []

    def call():
        together.append(1)
        most.append(len(together))
        time.sleep(0.01)
        together.pop()

    turns = take_turns({"a": call}, threads=4, seconds=0.2)
    assert max(most) == 4
    assert len(turns["a"].bursts[0]) % 4 == 0
    assert turns["a"].per_second > 1.5 / 0.01  # one thread ends 100 a second at most


def test_the_error_of_a_call_in_a_thread_is_raised_and_no_thread_stays():
    calls = []

    def call():
        calls.append(1)
        if len(calls) > 6:
            raise ValueError("it broke")

    before = threading.active_count()
    with pytest.raises(ValueError, match="it broke"):
        take_turns({"a": call}, threads=3, seconds=0.05)
    assert threading.active_count() == before


def test_ratios_are_those_of_neighbours():
    """The machine became ten times slower in the second round, for both alike."""
    ours = Turns(bursts=[[1.0], [10.0], [1.0]], walls=[1.0, 10.0, 1.0])
    theirs = Turns(bursts=[[2.0], [20.0], [2.0]], walls=[2.0, 20.0, 2.0])
    assert times_faster(ours, theirs) == 2
