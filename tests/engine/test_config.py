import dataclasses
import json
import pickle

import numpy as np
import onnx
import pytest

from keras_trt._machine import deps
from keras_trt.engine import EngineConfig, build_plan
from keras_trt.engine.config import config_of
from keras_trt.errors import EngineError, InputError
from tests.small_onnx import conv_model, sequence_model

rtx = pytest.mark.skipif(not deps.available("tensorrt_rtx"), reason="needs tensorrt_rtx")

ALL = {
    "profiles": [{"batch": 1}, {"batch": (2, 4, 8), "time": (1, 2, 3)}],
    "workspace": 1 << 30,
    "optimization_level": 5,
    "tiling": "fast",
    "aux_streams": 0,
    "timing_cache": True,
    "sparse_weights": False,
    "tf32": False,
    "version_compatible": True,
    "hardware_compatibility": "ampere_plus",
    "weight_streaming": True,
    "dla_core": 0,
    "gpu_fallback": True,
    "profiling_verbosity": "detailed",
    "compute_capabilities": ["SM86", "SM89"],
}


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"profiles": {"batch": 1}}, r"`profiles` must be None or a list of dicts.*Received: \{'batch': 1\}"),
        ({"profiles": []}, r"`profiles` .*Received: \[\]"),
        ({"profiles": [{}]}, r"`profiles\[0\]` must be a dict"),
        ({"profiles": [{"batch": (8, 1, 2)}]}, r"`profiles\[0\]\['batch'\]` .*min <= opt <= max"),
        ({"profiles": [{"batch": 1}, {"time": "long"}]}, r"`profiles\[1\]\['time'\]`.*Received: 'long'"),
        ({"profiles": [{1: 1}]}, r"`profiles\[0\]` must be a dict with names as keys"),
        ({"profiles": [{"x": None}]}, r"`profiles\[0\]\['x'\]`"),
        ({"workspace": -1}, r"`workspace` must be None or a whole number of bytes >= 1. Received: -1"),
        ({"workspace": 1e9}, "`workspace`"),
        ({"workspace": 2**70}, "`workspace`"),
        ({"optimization_level": 6}, "`optimization_level` must be None or a whole number from 0 to 5"),
        ({"optimization_level": True}, "`optimization_level`"),
        ({"tiling": "FAST"}, r"`tiling` must be one of \['none', 'fast', 'moderate', 'full'\]"),
        ({"aux_streams": -1}, "`aux_streams`"),
        ({"timing_cache": 1}, "`timing_cache` must be True, False, or the path of a folder"),
        ({"timing_cache": ""}, "`timing_cache`"),
        ({"timing_cache": __file__}, "`timing_cache` must be the path of a folder.*which is a file"),
        ({"sparse_weights": "auto"}, "`sparse_weights` must be True or False"),
        ({"tf32": None}, "`tf32` must be True or False. Received: None"),
        ({"hardware_compatibility": True}, "`hardware_compatibility` must be one of"),
        ({"dla_core": "0"}, "`dla_core`"),
        ({"gpu_fallback": True}, "`gpu_fallback` is for networks on a DLA core"),
        ({"refit": True, "profiles": [{"batch": 1}, {"batch": 2}]}, "`profiles`.*refit=True with 2 profiles"),
        ({"profiling_verbosity": "verbose"}, "`profiling_verbosity`"),
        ({"compute_capabilities": []}, "`compute_capabilities`"),
        ({"compute_capabilities": ["8.9"]}, r"`compute_capabilities` .*'SM86'.*Received: \['8.9'\]"),
        ({"compute_capabilities": [89]}, "`compute_capabilities`"),
    ],
)
def test_a_wrong_option_is_named_when_the_config_is_made(options, text):
    with pytest.raises(InputError, match=text):
        EngineConfig(**options)


def test_an_unknown_option_is_a_type_error():
    with pytest.raises(TypeError, match="max_workspace_size"):
        EngineConfig(max_workspace_size=1)


def test_the_default_differs_in_nothing():
    assert EngineConfig().differences() == {}


def test_every_option_goes_through_json_and_back():
    config = EngineConfig(**ALL)
    stamped = json.loads(json.dumps(config.stamped()))
    again = config_of(stamped)
    own = dataclasses.replace(again, timing_cache=True, compute_capabilities=("SM86", "SM89"))
    assert own == config
    assert hash(own) == hash(config)
    assert set(config.differences()) == set(ALL)
    assert set(config.differences()) - set(stamped) == {"timing_cache", "compute_capabilities"}


def test_a_config_cannot_be_changed_afterwards():
    profile = {"batch": 1}
    config = EngineConfig(profiles=[profile], workspace=np.int64(5))
    profile["batch"] = 9
    assert config.profiles[0] == {"batch": 1}
    assert type(config.workspace) is int
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.workspace = 1
    assert pickle.loads(pickle.dumps(config)) == config


def test_options_of_a_later_version_are_named():
    with pytest.raises(InputError, match=r"does not know: \['an_option_of_later'\]"):
        config_of({"an_option_of_later": 1, "tf32": False})


@pytest.fixture
def built(tmp_path):
    def built(model=None, **options):
        onnx.save(model or conv_model(), tmp_path / "model.onnx")
        config = EngineConfig(compute_capabilities="SM89", **options)
        return build_plan(
            tmp_path / "model.onnx", kind="tensorrt_rtx", config=config, batch=(1, 2, 4), verbose=0
        )

    return built


@rtx
@pytest.mark.parametrize(
    "options",
    [
        {"workspace": 1 << 30},
        {"optimization_level": 0},
        {"tiling": "full"},
        {"aux_streams": 0},
        {"timing_cache": True},
        {"sparse_weights": True},
        {"tf32": False},
        {"weight_streaming": True},
        {"profiling_verbosity": "detailed"},
    ],
    ids=lambda options: next(iter(options)),
)
def test_the_builder_of_rtx_takes(built, options):
    plan = built(**options)
    assert len(plan.data) > 10_000
    assert plan.stamp.config == {name: v for name, v in options.items() if name != "timing_cache"}


@rtx
def test_each_profile_has_kernels_of_its_own(built):
    one = built(profiles=[{"batch": 1}])
    two = built(profiles=[{"batch": 1}, {"batch": (2, 4, 8)}])
    assert len(two.data) > 1.5 * len(one.data)
    assert two.stamp.config == {"profiles": [{"batch": 1}, {"batch": [2, 4, 8]}]}


@rtx
def test_a_profile_takes_axes_by_name_and_by_input(built):
    assert built(sequence_model(), profiles=[{"time": (1, 8, 16)}, {"x": (None, (1, 2, 3), 4)}]).data


@rtx
@pytest.mark.parametrize(
    ("model", "profile", "text"),
    [
        (conv_model(batch=4), {"batch": 2}, "`profiles`: no input has a batch of open size"),
        (conv_model(), {"time": 2}, "must name an input or a dynamic axis. Received: 'time'"),
        (conv_model(), {"x": (1, 4)}, "must have 4 axes"),
        (conv_model(), {"x": (1, 4, 8, 9)}, "cannot change a fixed axis"),
        (sequence_model(), {"batch": 2}, r"The dynamic axes \['time'\]"),
    ],
)
def test_a_profile_that_does_not_fit_the_graph_is_refused(built, model, profile, text):
    with pytest.raises(InputError, match=text):
        built(model, profiles=[profile])


@rtx
@pytest.mark.parametrize(
    ("options", "text"),
    [
        (
            {"hardware_compatibility": "ampere_plus"},
            r"`EngineConfig\(hardware_compatibility='ampere_plus'\)` cannot be had: tensorrt_rtx .* does not",
        ),
        ({"dla_core": 0}, r"`EngineConfig\(dla_core=0\)` cannot be had: this machine has 0 DLA cores"),
        ({"workspace": 1}, r"It was asked for with \{'workspace': 1\}; without these it may build"),
    ],
)
def test_an_option_that_does_nothing_here_is_an_error(built, options, text):
    with pytest.raises(EngineError, match=text):
        built(**options)
