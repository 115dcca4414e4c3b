"""Arguments of the wrong kind: every public function names the argument, before it does any work."""

import re
from operator import attrgetter

import numpy as np
import pytest

import keras_trt
from keras_trt._base.arguments import check_boolean, check_count
from keras_trt.errors import InputError, KerasTRTError
from tests.small_onnx import conv_model, save_bundle

NOT_BOOLEAN = ("no", 1, None, 0.0, np.zeros(2))
NOT_COUNT = (1.5, "4", True, 0, -1, [3], np.zeros(2))
NOT_WHOLE = (1.5, "4", None, [3])
NOT_VERBOSE = ("loud", None, 1.5, 7, [1])
NOT_PATH = (None, 3, b"x", "", ["a"], "a\0b")
NOT_TEXT = (3, ["a"], b"x", True)
NOT_MAPPING = (3, "abc", [1], {1: 2})
NOT_LAYERS = (3, 1.5, [None])
NOT_MODEL = (None, "model", 3, np.zeros(2), object())

X = np.ones((4, 3), "float32")
CHANGING = (
    "quantize_model",
    "prune_model",
    "fuse_model",
    "calibrate",
    "strip",
    "report",
    "plan",
    "sensitivity",
)
TABLE = {
    "quantize_model": {
        "scheme": (3, "int9", ["int8"], object()),
        "method": (3, "median", None),
        "only": NOT_LAYERS,
        "skip": NOT_LAYERS,
        "ranges": NOT_MAPPING,
        "recover": (3, "bias_correction", ("brecq",), True),
        "verbose": NOT_VERBOSE,
        "calibration_data": (3, "data", object()),
    },
    "calibrate": {
        "data": (3, "data", object(), None),
        "method": (3, "median", None),
        "batch_size": NOT_COUNT,
        "steps": NOT_COUNT,
        "verbose": NOT_VERBOSE,
    },
    "prune_model": {
        "sparsity": ("half", True, [0.5], 2, -0.1, np.zeros(2)),
        "threshold": ("high", True, [0.5], -1),
        "pattern": (3, "3 of 4", [1.5, 2], None),
        "pooling": (3, "sum", None),
        "schedule": (3, "slow", object),
        "strategy": (3, "best", None),
        "only": NOT_LAYERS,
        "skip": NOT_LAYERS,
    },
    "merge_models": {
        "models": (3, None, []),
        "share_inputs": NOT_BOOLEAN,
        "share_layers": NOT_BOOLEAN,
        "combine": ("max", 1),
        "name": NOT_TEXT,
    },
    "plan": {
        "scheme": (3, "int9", object()),
        "only": NOT_LAYERS,
        "skip": NOT_LAYERS,
        "check_import": NOT_BOOLEAN,
    },
    "sensitivity": {
        "data": (3, "data", object(), None),
        "metric": ("accuracy", 3, ["a"]),
        "method": (3, "median", None),
        "batch_size": NOT_COUNT,
        "verbose": NOT_VERBOSE,
    },
    "prune.sensitivity": {
        "data": (3, "data", object(), None),
        "metric": ("accuracy", 3, ["a"]),
        "levels": (0.5, "x", [], [0.5, 0.3], [True]),
        "pattern": (3, "3 of 4"),
        "batch_size": NOT_COUNT,
        "verbose": NOT_VERBOSE,
    },
    "register_layer": {
        "cls": (3, "Dense", None),
        "kernels": (3, "kernel", [], [3], None),
        "channel_axis": NOT_WHOLE,
        "input_axis": (1.5, "4", [3]),
    },
    "save_model": {"path": (*NOT_PATH, "m.h5")},
    "load_model": {
        "path": (*NOT_PATH, "m.h5"),
        "custom_objects": NOT_MAPPING,
        "compile": NOT_BOOLEAN,
        "safe_mode": NOT_BOOLEAN,
    },
    "export": {
        "path": NOT_PATH,
        "precision": (3, "int9", True, ["int8"]),
        "batch": ("8", 1.5, None, True, (1, 2), [3, 2, 1], 0),
        "route": (3, "tensorrt", None),
        "engine": (3, "cuda", True, ["auto"]),
        "compute_capabilities": (3, "SM89", [89]),
        "config": (3, None, {"tf32": False}, "fast", keras_trt.EngineConfig),
        "calibration_data": (3, "data", object()),
        "overwrite": NOT_BOOLEAN,
        "opset": (19.0, "19", True, 5, [19]),
        "external_data": ("no", 1, 0.0),
        "strict": NOT_BOOLEAN,
        "probe": NOT_BOOLEAN,
        "verify": NOT_BOOLEAN,
        "verbose": NOT_VERBOSE,
    },
    "verify": {
        "path": NOT_PATH,
        "data": (3, "data", object(), None),
        "metric": (3, ["a"]),
        "batch_size": NOT_COUNT,
        "steps": NOT_COUNT,
        "verbose": NOT_VERBOSE,
    },
    "build": {
        "bundle": NOT_PATH,
        "engine": (3, "cuda", None, True, ["auto"]),
        "config": (3, None, {"tf32": False}, "fast", keras_trt.EngineConfig),
        "into": (3, b"x", "", ["a"], "a\0b"),
        "verbose": NOT_VERBOSE,
    },
    "load": {
        "path": NOT_PATH,
        "runner": (3, "cuda", None, True),
        "verbose": NOT_VERBOSE,
        "device": (-1, "0", None, True, 1.5, [0]),
        "cache": (True, 3, b"x", "", ["a"], "a\0b"),
        "check": NOT_BOOLEAN,
        "cuda_graph": NOT_BOOLEAN,
        "allow_host_code": NOT_BOOLEAN,
    },
}
CASES = [(function, name) for function, names in TABLE.items() for name in names]


@pytest.fixture(scope="module")
def model():
    import keras

    return keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])


@pytest.fixture
def given(model, tmp_path):
    """Arguments with which each function would do its work."""
    data = {"data": X}
    return {
        "quantize_model": {"model": model},
        "calibrate": {"model": model, **data},
        "prune_model": {"model": model},
        "merge_models": {"models": [model, model]},
        "plan": {"model": model},
        "sensitivity": {"model": model, **data},
        "prune.sensitivity": {"model": model, **data},
        "register_layer": {"cls": type("Layer", (), {}), "kernels": ["w"]},
        "save_model": {"model": model},
        "load_model": {"path": tmp_path / "none.keras"},
        "export": {"model": model, "path": tmp_path / "bundle", "engine": None, "verbose": 0},
        "verify": {"model": model, "path": tmp_path / "none", **data},
        "build": {"bundle": tmp_path / "none"},
        "load": {"path": tmp_path / "none"},
    }


def refuses(function, name, options):
    with pytest.raises(KerasTRTError) as caught:
        function(**options)
    assert re.search(rf"\b{name}\b", str(caught.value)), f"{name!r} is not named: {caught.value}"


@pytest.mark.parametrize(("function", "name"), CASES, ids=[f"{f}-{n}" for f, n in CASES])
def test_an_argument_of_the_wrong_kind_is_named(given, function, name):
    for value in TABLE[function][name]:
        amount = {"sparsity": 0.5} if function == "prune_model" and name in ("only", "skip") else {}
        refuses(attrgetter(function)(keras_trt), name, {**given[function], **amount, name: value})


@pytest.mark.parametrize("function", [*CHANGING, "save_model", "export", "verify"])
def test_what_is_no_model_is_named(function, model, tmp_path):
    options = {
        "calibrate": {"data": X},
        "sensitivity": {"data": X},
        "save_model": {"path": tmp_path / "m.keras"},
    }
    options |= {"export": {"path": tmp_path / "b"}, "verify": {"path": tmp_path / "b", "data": X}}
    for value in (*NOT_MODEL, type(model), type(model.layers[0]), model.layers[0]):
        with pytest.raises(KerasTRTError, match="model"):
            getattr(keras_trt, function)(value, **options.get(function, {}))


ENGINE = {
    "predict": {
        "batch_size": NOT_COUNT,
        "steps": NOT_COUNT,
        "verbose": NOT_VERBOSE,
        "callbacks": (3, "log", [3]),
    },
    "as_layer": {"name": NOT_TEXT, "keras": (3, "keras2")},
    "__call__": {"training": ("yes", 2, 0.5)},
    "summary": {"print_fn": (3, "print")},
}
ENGINE_CASES = [(method, name) for method, names in ENGINE.items() for name in names]


@pytest.mark.parametrize(("method", "name"), ENGINE_CASES, ids=[f"{m}-{n}" for m, n in ENGINE_CASES])
def test_a_loaded_model_names_the_argument(method, name, tmp_path):
    engine = keras_trt.load(save_bundle(tmp_path / "b", conv_model()), verbose=0)
    x = {} if method in ("as_layer", "summary") else {"x": np.zeros((2, 4, 8, 8))}
    for value in ENGINE[method][name]:
        refuses(getattr(engine, method), name, x | {name: value})


CALLBACKS = {
    "Quantize": {
        "start_epoch": NOT_WHOLE,
        "freeze_ranges_epoch": (1.5, "4", -1),
        "freeze_batchnorm_epoch": (1.5, "4", -1),
        "ranges": NOT_MAPPING,
        "scheme": (3, "int9"),
    },
    "Prune": {
        "schedule": ("slow", [0.5], True),
        "begin_step": (1.5, "4"),
        "end_step": (1.5, "4"),
        "frequency": NOT_COUNT,
        "pattern": (3, "3 of 4"),
        "pooling": (3, "sum"),
        "strategy": (3, "best"),
        "monitor": NOT_TEXT,
        "max_drop": ("much", -1, [1]),
        "patience": NOT_COUNT,
        "mode": (3, "best"),
        "verbose": NOT_VERBOSE,
    },
    "SparsityLog": {"log_dir": (3, b"x"), "per_layer": NOT_BOOLEAN},
}
CALLBACK_CASES = [(callback, name) for callback, names in CALLBACKS.items() for name in names]


@pytest.mark.parametrize(("callback", "name"), CALLBACK_CASES, ids=[f"{c}-{n}" for c, n in CALLBACK_CASES])
def test_a_callback_names_the_argument_when_it_is_made(callback, name):
    given = {"schedule": 0.5, "end_step": 10} if callback == "Prune" else {}
    if name in ("max_drop", "patience", "mode"):
        given = {"schedule": 0.5, "monitor": "loss"}
    for value in CALLBACKS[callback][name]:
        refuses(getattr(keras_trt.callbacks, callback), name, given | {name: value})


@pytest.mark.parametrize("value", [True, False, np.bool_(True)])
def test_truth_values_of_numpy_are_taken(value):
    assert check_boolean(value, "overwrite") is bool(value)


@pytest.mark.parametrize("value", [8, np.int64(8), np.array(8)])
def test_whole_numbers_of_numpy_are_taken(value):
    check_count(value, "batch_size")


def test_the_error_says_the_rule_and_what_was_received():
    with pytest.raises(InputError, match=r"`overwrite` must be True or False\. Received: 'no'"):
        check_boolean("no", "overwrite")
    with pytest.raises(InputError, match=r"`steps` must be None or a whole number >= 1\. Received: 2\.5"):
        check_count(2.5, "steps")
