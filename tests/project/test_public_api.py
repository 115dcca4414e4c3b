"""Every public name is listed, documented, typed, and has an example that runs."""

from __future__ import annotations

import ast
import doctest
import importlib
import inspect
import io
import re
import shutil
import typing
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import keras_trt

# Examples that are read and not run here, and where the call is run.
ELSEWHERE = {
    "mlflow.pyfunc": "tests/test_mlflow.py",
    "serve": "tests/serving",
    "ray.predict_dataset": "tests/test_ray.py",
    "TFTRTOptions": "tests/exporting/test_tftrt.py",
}


def public_names() -> dict[str, Any]:
    """Every object of the front door and of its modules' `__all__`, by its shortest name."""
    names: dict[str, Any] = {}
    for name in keras_trt.__all__:
        value = getattr(keras_trt, name)
        if inspect.ismodule(value):
            inner = {f"{name}.{key}": getattr(value, key) for key in value.__all__}
            names |= {key: each for key, each in inner.items() if not inspect.ismodule(each)}
        else:
            names[name] = value
    homes: dict[int, str] = {}
    for name, value in sorted(names.items(), key=lambda item: item[0].count(".")):
        homes.setdefault(id(value), name)
    return {name: names[name] for name in homes.values()}


NAMES = public_names()
CALLABLE = {name: value for name, value in NAMES.items() if not name.startswith("errors.")}


@pytest.mark.parametrize("name", [n for n in keras_trt.__all__ if inspect.ismodule(getattr(keras_trt, n))])
def test_a_public_module_lists_all_that_is_public_in_it(name):
    module = getattr(keras_trt, name)
    assert inspect.getdoc(module)
    own = {
        key
        for key, value in vars(module).items()
        if not key.startswith("_")
        and (inspect.isclass(value) or inspect.isfunction(value))
        and value.__module__ == module.__name__
    }
    assert own <= set(module.__all__), f"keras_trt.{name}.__all__ lacks {sorted(own - set(module.__all__))}"
    assert [key for key in module.__all__ if not hasattr(module, key)] == []


def sections(value: Any) -> dict[str, str]:
    """The sections of a Google docstring: {heading: text}; the text before them under ""."""
    pieces = re.split(
        r"^(Args|Attributes|Returns|Yields|Raises|Warns|Example):$", inspect.getdoc(value) or "", flags=re.M
    )
    return {"": pieces[0], **dict(zip(pieces[1::2], pieces[2::2], strict=True))}


def parameters(value: Any) -> dict[str, inspect.Parameter]:
    function = value.__init__ if inspect.isclass(value) else value
    if inspect.isclass(value) and function is object.__init__:
        return {}
    return {
        name: parameter
        for name, parameter in inspect.signature(function).parameters.items()
        if name != "self"
    }


@pytest.mark.parametrize("name", CALLABLE)
def test_the_docstring_names_each_argument_and_what_is_returned(name):
    value = CALLABLE[name]
    said = sections(value)
    assert said[""].strip().splitlines()[0].endswith("."), "a first line that is a sentence"
    documented = re.findall(r"^ {4}\*{0,2}(\w+)[ (:]", said.get("Args", said.get("Attributes", "")), re.M)
    missing = [each for each in parameters(value) if each not in documented and not each.startswith("_")]
    assert not missing, f"keras_trt.{name} says nothing of {missing}"
    if inspect.isfunction(value) and inspect.signature(value).return_annotation not in (None, "None"):
        assert "Returns" in said or value.__doc__.startswith("Returns"), (
            f"keras_trt.{name}: what does it return?"
        )


@pytest.mark.parametrize("name", CALLABLE)
def test_each_argument_and_result_is_typed(name):
    value = CALLABLE[name]
    untyped = [
        each
        for each, parameter in parameters(value).items()
        if parameter.annotation is inspect.Parameter.empty
    ]
    assert not untyped, f"keras_trt.{name}: {untyped} have no types"
    if inspect.isfunction(value):
        assert inspect.signature(value).return_annotation is not inspect.Signature.empty


def returned() -> dict[str, type]:
    """This library's classes that public functions return, by name."""
    hints = [
        typing.get_type_hints(value).get("return") for value in CALLABLE.values() if inspect.isfunction(value)
    ]
    classes = {each for hint in hints for each in (typing.get_args(hint) or (hint,)) if inspect.isclass(each)}
    ours = {each for each in classes if each.__module__.startswith("keras_trt")}
    return {each.__name__: each for each in ours if not getattr(each, "_is_protocol", False)}


def members(value: type) -> dict[str, Callable[..., Any]]:
    """The public methods and properties that a class has from this library."""
    got = {}
    for name in dir(value):
        owner = next((base for base in value.__mro__ if name in vars(base)), object)
        member = inspect.getattr_static(value, name)
        function = member.fget if isinstance(member, property) else getattr(member, "__func__", member)
        function = getattr(function, "func", function)  # of a cached property
        if (
            not name.startswith("_")
            and owner.__module__.startswith("keras_trt")
            and inspect.isfunction(function)
        ):
            got[name] = function
    return got


CLASSES = returned() | {name: value for name, value in CALLABLE.items() if inspect.isclass(value)}
MEMBERS = {f"{name}.{key}": each for name, value in CLASSES.items() for key, each in members(value).items()}


@pytest.mark.parametrize("name", sorted(MEMBERS))
def test_each_method_of_what_is_public_or_returned_is_documented_and_typed(name):
    function = MEMBERS[name]
    owner, _, key = name.rpartition(".")
    assert inspect.getdoc(getattr(CLASSES[owner], key)), f"{name} has no docstring"
    signature = inspect.signature(function)
    given = [each for each in list(signature.parameters.values())[1:] if each.annotation is each.empty]
    assert not given, f"{name}: {given} have no types"
    assert signature.return_annotation is not signature.empty, f"{name}: what does it return?"


def raised(function: Callable[..., Any]) -> set[str]:
    """The errors that a function's own body raises, by class."""
    nodes = ast.walk(ast.parse(inspect.getsource(function)))
    thrown = [
        node.exc.func for node in nodes if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call)
    ]
    return {each.id for each in thrown if isinstance(each, ast.Name) and each.id.endswith("Error")} - {
        "AssertionError"
    }


@pytest.mark.parametrize("name", [n for n, value in CALLABLE.items() if inspect.isfunction(value)])
def test_what_a_function_raises_is_in_its_docstring(name):
    value = CALLABLE[name]
    assert [error for error in raised(value) if error not in sections(value).get("Raises", "")] == []


# What a reader of the examples has: a model, data, bundles. Each is made only where an example names it.


class Stand:
    """A reader's model, data and files. `keras` is the Keras that the example is tried with."""

    def __init__(self, keras: ModuleType) -> None:
        self.keras = keras
        rng = np.random.default_rng(0)
        self.x = self.x_train = rng.random((640, 8, 8, 1)).astype("float32")
        self.y = self.y_train = (self.x.mean((1, 2, 3)) * 20).astype(int) % 10
        self.x_test = self.x_val = self.images = self.x[:320]
        self.y_test = self.y_val = self.y[:320]
        self.np, self.keras_trt = np, keras_trt

    def net(self, name: str) -> Any:
        layers = self.keras.layers
        image = self.keras.Input((8, 8, 1), name="image")
        x = layers.Conv2D(8, 3, use_bias=False, name="conv")(image)
        x = layers.ReLU(name="relu")(layers.BatchNormalization(name="norm")(x))
        x = layers.Dense(32, activation="relu", name="dense")(layers.Flatten(name="flat")(x))
        model = self.keras.Model(image, layers.Dense(10, activation="softmax", name="head")(x), name=name)
        model.compile("sgd", "sparse_categorical_crossentropy", metrics=["accuracy"])
        return model

    @property
    def model(self) -> Any:
        return self.net("model")

    another = detector = classifier = property(lambda self: self.net("classifier"))

    @property
    def quantized(self) -> Any:
        return keras_trt.quantize_model(self.net("model"), calibration_data=self.x[:64], verbose=0)

    @property
    def pruned(self) -> Any:
        return keras_trt.prune_model(self.net("model"), 0.5)

    @property
    def dataset(self) -> Any:
        import tensorflow as tf

        return tf.data.Dataset.from_tensor_slices((self.x[:64], self.y[:64])).batch(32)

    @property
    def train_step(self) -> Any:
        return lambda batch: None

    @property
    def accuracy(self) -> Any:
        return lambda targets, predictions: float((predictions.argmax(-1) == targets).mean())

    @property
    def tf(self) -> Any:
        import tensorflow as tf

        return tf

    @property
    def tfmot(self) -> Any:
        from keras_trt.tfmot.imported import import_tfmot

        return import_tfmot()

    @property
    def wrapped(self) -> Any:
        model = self.tfmot.quantization.keras.quantize_model(self.net("model"))
        model.compile("sgd", "sparse_categorical_crossentropy")
        model.fit(self.x[:64], self.y[:64], verbose=0)
        return model

    @property
    def lm(self) -> Any:
        import keras_hub

        backbone = keras_hub.models.GPT2Backbone(
            vocabulary_size=50,
            num_layers=1,
            num_heads=2,
            hidden_dim=16,
            intermediate_dim=32,
            max_sequence_length=128,
        )
        return keras_hub.models.GPT2CausalLM(backbone, preprocessor=None)

    @property
    def vae(self) -> Any:
        model = self.net("vae")
        model.encoder = self.keras.Model(model.input, model.layers[-2].output)
        return model

    @property
    def Gate(self) -> Any:
        return type("Gate", (self.keras.layers.Layer,), {})

    @property
    def MyProjection(self) -> Any:
        return type("MyProjection", (self.keras.layers.Layer,), {})


@pytest.fixture(scope="session")
def files(tmp_path_factory) -> Path:
    """What the examples read: bundles and Keras files."""
    import keras

    stand, folder = Stand(keras), tmp_path_factory.mktemp("files")
    for name, model in (("digits", stand.quantized), ("net_int8", stand.quantized), ("net", stand.model)):
        keras_trt.export(model, folder / f"{name}.bundle", engine=None, verbose=0)
    keras_trt.save_model(stand.quantized, folder / "quantized.keras")
    stand.pruned.save_weights(folder / "pruned.weights.h5")
    return folder


class WhereGiven(doctest.OutputChecker):
    """Compares output where the example shows some; other lines may return what they like."""

    def check_output(self, want: str, got: str, optionflags: int) -> bool:
        return not want or super().check_output(want, got, optionflags)


def run_example(name: str, examples: list[doctest.Example], stand: Stand) -> None:
    named = {
        node.id for e in examples for node in ast.walk(ast.parse(e.source)) if isinstance(node, ast.Name)
    }
    names = {
        each: getattr(stand, each) for each in sorted(named) if hasattr(Stand, each) or each in vars(stand)
    }
    test = doctest.DocTest(examples, names, name, None, None, None)
    runner = doctest.DocTestRunner(WhereGiven(), verbose=False, optionflags=doctest.NORMALIZE_WHITESPACE)
    printed = io.StringIO()
    result = runner.run(test, out=printed.write, clear_globs=False)
    assert result.failed == 0, printed.getvalue()


def with_examples() -> list[Any]:
    cases = []
    for name, value in CALLABLE.items():
        examples = doctest.DocTestParser().get_examples(inspect.getdoc(value) or "")
        cases.append(pytest.param(name, examples, id=name))
    return cases


@pytest.mark.parametrize("name,examples", with_examples())
def test_every_public_name_has_an_example_that_runs(name, examples, files, tmp_path, monkeypatch):
    assert examples, f"keras_trt.{name} has no example in its docstring"
    if name in ELSEWHERE:
        assert (Path(__file__).parents[2] / ELSEWHERE[name]).exists()
        return
    assert not any(doctest.SKIP in e.options for e in examples), "an example that is skipped proves nothing"
    shutil.copytree(files, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    keras = importlib.import_module("tf_keras" if name.startswith("tfmot.") else "keras")
    keras.utils.set_random_seed(0)
    run_example(name, examples, Stand(keras))


def test_an_example_that_is_wrong_is_seen():
    import keras

    (wrong,) = doctest.DocTestParser().get_examples(">>> keras_trt.schemes.Int8().weights\n'int4'\n")
    with pytest.raises(AssertionError, match=r"Expected:[\s\S]*'int4'[\s\S]*Got:[\s\S]*'int8'"):
        run_example("x", [wrong], Stand(keras))


@pytest.mark.parametrize("name", keras_trt.errors.__all__)
def test_an_error_is_documented_and_also_a_builtin(name):
    error = getattr(keras_trt.errors, name)
    assert inspect.getdoc(error)
    assert issubclass(error, keras_trt.errors.KerasTRTError)
    builtins = [base for base in error.__mro__ if base.__module__ == "builtins"]
    assert name == "KerasTRTError" or builtins[0] not in (Exception, BaseException)
