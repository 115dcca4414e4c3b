"""The names in `keras_trt.__all__`: each resolves, is declared to type checkers, and stays what it is."""

from __future__ import annotations

import ast
import inspect
import pickle
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import keras_trt

SOURCE = Path(inspect.getfile(keras_trt))


@pytest.mark.parametrize("name", keras_trt.__all__)
def test_every_public_name_has_a_text_of_its_own_that_begins_with_a_sentence(name):
    first, _, rest = (getattr(keras_trt, name).__doc__ or "").partition("\n")
    assert first.endswith((".", ":", ";")) or rest.lstrip().split("\n")[0].endswith("."), first
    assert len(first.split()) > 3


CALLABLE = [name for name in keras_trt.__all__ if not isinstance(getattr(keras_trt, name), ModuleType)]


@pytest.mark.parametrize("name", CALLABLE)
def test_every_public_function_says_what_each_argument_is_and_shows_a_call(name):
    function = getattr(keras_trt, name)
    text = inspect.getdoc(function)
    described = set(re.findall(r"^ {4}(\w+): \S", text, re.MULTILINE))
    assert set(inspect.signature(function).parameters) <= described
    assert re.search(rf"^ {{4}}>>> .*\b{name}\(", text, re.MULTILINE)


@pytest.mark.parametrize("name", keras_trt.__all__)
def test_every_public_name_is_the_object_of_its_home(name):
    found = getattr(keras_trt, name)
    if isinstance(found, ModuleType):
        assert found.__name__ == f"keras_trt.{name}"
    else:
        assert found.__name__ == name
        assert pickle.loads(pickle.dumps(found)) is found


def test_the_names_for_type_checkers_are_the_public_names():
    block = next(node for node in ast.parse(SOURCE.read_text()).body if isinstance(node, ast.If))
    declared = {
        alias.asname: (node.module if node.module != "keras_trt" else None)
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert sorted(declared) == sorted(keras_trt.__all__)
    assert {name: home for name, home in declared.items() if home} == keras_trt._HOMES


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'keras_trt' has no attribute 'quantise_model'"):
        keras_trt.quantise_model


def test_dir_lists_the_public_names():
    assert set(keras_trt.__all__) <= set(dir(keras_trt))


def test_no_room_shares_its_name_with_a_function_of_the_front_door():
    rooms = {path.stem for path in SOURCE.parent.iterdir()}
    functions = {name for name in keras_trt.__all__ if not inspect.ismodule(getattr(keras_trt, name))}
    assert not rooms & functions


@pytest.mark.parametrize("name", ["export", "plan", "verify"])
def test_a_function_whose_packages_are_missing_says_how_to_get_them(name):
    code = f"""
import sys
sys.modules["onnx_ir"] = sys.modules["onnx"] = None
import keras_trt
try:
    keras_trt.{name}
except keras_trt.errors.MissingDependencyError as e:
    print(e)
"""
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert re.match(rf"`keras_trt\.{name}` needs `onnx(_ir)?`, which is not installed\.", done.stdout)
    assert "pip install 'keras-trt[keras]'" in done.stdout
