import argparse
import sys

import pytest

from keras_trt.cli.result import UsageError
from keras_trt.cli.values import custom_objects, imported, names, settings, shape, shapes, whole, wholes
from keras_trt.errors import InputError


def test_numbers_and_names():
    assert whole("8") == 8
    assert wholes("1, 8,32") == (1, 8, 32)
    assert names("a, b,") == ("a", "b")


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "x", "", "1,,2"])
def test_what_is_no_whole_number_is_refused(text):
    with pytest.raises(argparse.ArgumentTypeError, match="a whole number >= 1 is needed"):
        wholes(text)


def test_shapes_of_inputs():
    assert shapes(None) is None
    assert shapes([shape("?,224,224,3")]) == [None, 224, 224, 3]
    assert shapes([shape("a=1,2"), shape("b=?,3")]) == {"a": [1, 2], "b": [None, 3]}
    with pytest.raises(argparse.ArgumentTypeError, match="sizes behind commas"):
        shape("a=b")
    with pytest.raises(UsageError, match="each needs its name"):
        shapes([shape("1,2"), shape("a=1,2")])


def test_settings_are_json_where_they_can_be():
    given = settings(["level=5", "tf32=false", "tiling=fast", 'profiles=[{"batch": 1}]'])
    assert given == {"level": 5, "tf32": False, "tiling": "fast", "profiles": [{"batch": 1}]}
    with pytest.raises(UsageError, match="name=value is needed"):
        settings(["level"])


@pytest.fixture
def own_layers(tmp_path, monkeypatch):
    (tmp_path / "own_layers_of_a_test.py").write_text("class Scale: ...\nclass Shift: ...\n")
    monkeypatch.chdir(tmp_path)
    yield "own_layers_of_a_test"
    sys.modules.pop("own_layers_of_a_test", None)


def test_custom_objects_come_from_the_module_that_was_typed(own_layers):
    path = list(sys.path)
    assert set(custom_objects([f"{own_layers}:Scale,Shift"])) == {"Scale", "Shift"}
    assert custom_objects([f"{own_layers}:Scale"])["Scale"].__module__ == own_layers
    assert sys.path == path
    assert custom_objects(None) == {}


@pytest.mark.parametrize("text", ["module", ":A", "module:", "module: ,"])
def test_custom_objects_of_another_form_are_wrong_usage(text):
    with pytest.raises(UsageError, match="module:names is needed"):
        custom_objects([text])


def test_absent_modules_and_names_are_told(own_layers):
    with pytest.raises(InputError, match="module `no_such_module` cannot be imported"):
        imported("no_such_module:A")
    with pytest.raises(InputError, match="has no `Other`. It has: Scale, Shift"):
        imported(f"{own_layers}:Other")
