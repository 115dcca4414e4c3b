"""Schedules: when to prune and how much."""

import json
from dataclasses import asdict

import numpy as np
import pytest

from keras_trt.errors import InputError
from keras_trt.prune.schedule import Schedule, as_numbers, parse_schedule


def test_a_number_prunes_from_the_begin_step_on():
    schedule = parse_schedule(0.8, begin_step=3)
    assert [schedule(step)[0] for step in (0, 2, 3, 4)] == [False, False, True, True]
    assert schedule(3)[1] == 0.8


def test_the_polynomial_starts_ends_and_grows():
    schedule = Schedule(0.8, begin_step=10, end_step=110, frequency=25, initial=0.2)
    pruned = [(step, round(schedule(step)[1], 6)) for step in range(111) if schedule(step)[0]]
    assert [step for step, _ in pruned] == [10, 35, 60, 85, 110]
    assert pruned[0][1] == 0.2
    assert pruned[2][1] == round(0.8 - 0.6 / 8, 6)
    assert pruned[-1][1] == 0.8


def test_the_end_is_reached_when_the_frequency_does_not_divide_the_range():
    assert Schedule(0.5, end_step=100, frequency=30)(100) == (True, 0.5)


def test_it_equals_the_polynomial_decay_of_tfmot(tfmot_schedules):
    theirs = parse_schedule(tfmot_schedules.PolynomialDecay(0.1, 0.9, 5, 45, power=3, frequency=10))
    ours = Schedule(0.9, begin_step=5, end_step=45, frequency=10, initial=0.1)
    for step in range(46):
        assert theirs(step)[0] == ours(step)[0]
        assert theirs(step)[1] == pytest.approx(ours(step)[1], abs=1e-6)


def test_constant_sparsity_of_tfmot_is_taken_as_it_is(tfmot_schedules):
    schedule = parse_schedule(tfmot_schedules.ConstantSparsity(0.5, begin_step=4, end_step=8, frequency=2))
    assert [step for step in range(12) if schedule(step)[0]] == [4, 6, 8]


def test_schedules_of_tfmot_can_be_written_as_numbers(tfmot_schedules):
    theirs = tfmot_schedules.PolynomialDecay(0.1, 0.9, 5, 45, power=2, frequency=10)
    assert as_numbers(theirs) == Schedule(0.9, 5, 45, 10, 0.1, 2)
    assert as_numbers(tfmot_schedules.ConstantSparsity(0.5, 7)) == Schedule(0.5, 7)


def test_a_plain_function_is_asked_at_every_step():
    assert parse_schedule(lambda step: 0.01 * step)(30) == (True, 0.3)


@pytest.mark.parametrize(
    "make,message",
    [
        (lambda: Schedule(1.0), "Received: final=1.0"),
        (lambda: Schedule(0.5, initial=-0.1), "Received: initial=-0.1"),
        (lambda: Schedule(0.5, begin_step=9, end_step=9), "`end_step` must come after `begin_step`"),
        (lambda: Schedule(0.5, frequency=0), "frequency=0"),
        (lambda: Schedule("0.5"), "Received: final='0.5'"),
        (lambda: Schedule(0.5, begin_step=1.5), "whole numbers.*begin_step=1.5"),
        (lambda: Schedule(0.5, end_step="9"), "whole numbers.*end_step='9'"),
        (lambda: Schedule(0.5, power=0), "power=0"),
        (lambda: parse_schedule("fast"), "Received: schedule='fast'"),
        (lambda: parse_schedule(Schedule(0.5), end_step=3), "`end_step` go with a number"),
        (lambda: parse_schedule(lambda step: 2.0)(7), "2.0 at step 7"),
    ],
)
def test_nonsense_is_refused(make, message):
    with pytest.raises(InputError, match=message):
        make()


def test_numbers_of_numpy_are_taken_and_kept_as_plain_ones():
    schedule = parse_schedule(np.float32(0.5), end_step=np.int64(9))
    assert json.loads(json.dumps(asdict(schedule)))["end_step"] == 9
    assert schedule(9) == (True, 0.5)
