from __future__ import annotations

from keras_trt._base.names import free, unique


def test_a_name_is_taken_once():
    taken = {"a"}
    assert [unique("a", taken), unique("a", taken), unique("b", taken)] == ["a_1", "a_2", "b"]
    assert taken == {"a", "a_1", "a_2", "b"}


def test_the_mark_and_the_first_number_can_be_chosen():
    assert unique("a", {"a", "a#2"}, mark="#", first=2) == "a#3"


def test_a_free_name_is_not_taken_yet():
    taken = {"a": 1}
    assert [free("a", taken), free("a", taken), free("b", taken)] == ["a_1", "a_1", "b"]
    assert taken == {"a": 1}
