"""`only` and `skip` choose layers by name, path, class, pattern, layer object and callable."""

import re
from types import SimpleNamespace

import pytest

from keras_trt._keras.select import check_choices, selected
from keras_trt.errors import InputError


class Conv:
    pass


class Dense:
    pass


LAYERS = [("backbone", object()), ("backbone/conv1", Conv()), ("backbone/conv11", Conv()), ("head", Dense())]


def chosen(only=None, skip=()):
    return [path for path, layer in LAYERS if selected(path, layer, only, skip)]


def test_everything_is_selected_by_default():
    assert chosen() == [path for path, _ in LAYERS]


def test_a_name_selects_that_layer_only():
    assert chosen(only="conv1") == ["backbone/conv1"]


def test_a_path_selects_the_layer_and_a_model_name_selects_all_inside_it():
    assert chosen(only=["backbone/conv11"]) == ["backbone/conv11"]
    assert chosen(skip="backbone") == ["head"]


def test_text_may_be_a_regular_expression_for_the_whole_name():
    assert chosen(only="conv.*") == ["backbone/conv1", "backbone/conv11"]


def test_a_compiled_pattern_is_searched_in_the_path():
    assert chosen(only=re.compile("1$")) == ["backbone/conv1", "backbone/conv11"]


def test_classes_callables_and_layer_objects_work():
    assert chosen(only=Conv, skip="conv11") == ["backbone/conv1"]
    assert chosen(only=lambda layer: isinstance(layer, Dense)) == ["head"]
    assert chosen(only=SimpleNamespace(name="head", get_config=dict)) == ["head"]


def test_a_name_that_matches_nothing_is_an_error_with_close_names():
    with pytest.raises(InputError, match=r"`skip` matches no layer.*'conv2'.*Close names: conv1"):
        check_choices(LAYERS, skip=["conv2"])


def test_an_invalid_regular_expression_is_taken_as_a_name():
    assert selected("conv(1", Conv(), only="conv(1")
    with pytest.raises(InputError, match="matches no layer"):
        check_choices(LAYERS, only="conv(1")


def test_a_class_that_matches_nothing_points_to_the_other_keras():
    with pytest.raises(InputError, match="same Keras as the model"):
        check_choices(LAYERS, only=dict)


def test_a_callable_may_select_nothing():
    check_choices(LAYERS, skip=lambda layer: False)


def test_a_number_is_no_choice():
    with pytest.raises(InputError, match="name, class, regular expression or callable"):
        selected("a", object(), only=[3])


def test_a_name_means_all_layers_that_share_it_and_a_path_means_one():
    same = [("b/same", Conv()), ("b/same#2", Conv()), ("b#2/same", Conv())]

    def found(only):
        return [path for path, layer in same if selected(path, layer, only)]

    assert found("same") == ["b/same", "b/same#2", "b#2/same"]
    assert found("b") == ["b/same", "b/same#2", "b#2/same"]
    assert found("b/same") == ["b/same"]
    assert found("b/same#2") == found("same#2") == ["b/same#2"]
    assert found("b#2") == ["b#2/same"]
