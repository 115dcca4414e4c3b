"""What reaches the builder, against stand-ins: one takes everything, one is an old TensorRT, one ignores."""

import re
from pathlib import Path
from types import SimpleNamespace

import pytest

from keras_trt.engine import EngineConfig
from keras_trt.engine.apply import ATTRIBUTES, CHOICES, FLAGS, apply_config
from keras_trt.errors import EngineError
from tests.engine.test_config import ALL


def enum(*names):
    return SimpleNamespace(__members__={name: name for name in names})


def new_tensorrt():
    return SimpleNamespace(
        __name__="tensorrt",
        __version__="11.4.0",
        BuilderFlag=enum(*FLAGS.values(), "TF32"),
        TilingOptimizationLevel=enum("NONE", "FAST"),
        HardwareCompatibilityLevel=enum("NONE", "AMPERE_PLUS"),
        ProfilingVerbosity=enum("NONE", "DETAILED"),
        MemoryPoolType=enum("WORKSPACE"),
        DeviceType=enum("DLA"),
    )


class Config:
    builder_optimization_level = max_aux_streams = tiling_optimization_level = None
    hardware_compatibility_level = profiling_verbosity = default_device_type = DLA_core = None

    def __init__(self):
        self.flags, self.pools = {"TF32"}, {}

    def set_flag(self, flag):
        self.flags.add(flag)

    def clear_flag(self, flag):
        self.flags.discard(flag)

    def set_memory_pool_limit(self, pool, size):
        self.pools[pool] = size


BUILDER = SimpleNamespace(num_DLA_cores=2)


def test_every_option_reaches_the_builder():
    apply_config(new_tensorrt(), BUILDER, config := Config(), EngineConfig(**ALL | {"dla_core": 1}))
    assert config.flags == {"VERSION_COMPATIBLE", "WEIGHT_STREAMING", "GPU_FALLBACK"}
    assert config.pools == {"WORKSPACE": 1 << 30}
    assert (config.builder_optimization_level, config.max_aux_streams) == (5, 0)
    assert (config.tiling_optimization_level, config.profiling_verbosity) == ("FAST", "DETAILED")
    assert config.hardware_compatibility_level == "AMPERE_PLUS"
    assert (config.default_device_type, config.DLA_core) == ("DLA", 1)


def test_the_default_leaves_the_builder_as_it_is():
    apply_config(new_tensorrt(), BUILDER, config := Config(), EngineConfig())
    assert config.flags == {"TF32"}
    assert config.pools == {}
    assert vars(config).keys() == {"flags", "pools"}


@pytest.mark.parametrize("option", ["refit", "strip_weights", "sparse_weights"])
def test_a_flag_is_set(option):
    apply_config(new_tensorrt(), BUILDER, config := Config(), EngineConfig(**{option: True}))
    assert config.flags == {"TF32", FLAGS[option]}


@pytest.mark.parametrize(
    ("options", "lacks"),
    [
        ({"tiling": "fast"}, "TilingOptimizationLevel"),
        ({"hardware_compatibility": "same_compute_capability"}, "HardwareCompatibilityLevel"),
        ({"weight_streaming": True}, "BuilderFlag.WEIGHT_STREAMING. It has: "),
        ({"aux_streams": 1}, "IBuilderConfig.max_aux_streams"),
    ],
)
def test_an_option_that_the_installed_tensorrt_lacks_is_named_with_its_version(options, lacks):
    trt = new_tensorrt()
    trt.__version__ = "10.0.1"
    del trt.TilingOptimizationLevel
    trt.BuilderFlag = enum("TF32")
    old = SimpleNamespace(hardware_compatibility_level=None)
    name = next(iter(options))
    with pytest.raises(
        EngineError, match=rf"`EngineConfig\({name}=.*\)` cannot be had: tensorrt 10\.0\.1 has no {lacks}"
    ):
        apply_config(trt, BUILDER, old, EngineConfig(**options))


def test_a_value_that_tensorrt_drops_without_an_error_is_one():
    class Deaf(Config):
        @property
        def max_aux_streams(self):
            return -1

        @max_aux_streams.setter
        def max_aux_streams(self, value):
            """As TensorRT does with a value it has no use for."""

    with pytest.raises(EngineError, match=r"does not take IBuilderConfig.max_aux_streams = 7; it stays -1"):
        apply_config(new_tensorrt(), BUILDER, Deaf(), EngineConfig(aux_streams=7))


def test_a_dla_core_that_is_not_there_is_an_error():
    with pytest.raises(EngineError, match="this machine has 2 DLA cores"):
        apply_config(new_tensorrt(), BUILDER, Config(), EngineConfig(dla_core=2))


def test_the_documents_table_has_every_option_and_its_name_in_tensorrt():
    text = (Path(__file__).parents[2] / "docs" / "building.md").read_text()
    table = dict(re.findall(r"^\| `(\w+)` \| ([^|]*) \|", text, re.MULTILINE))
    assert list(table) == list(EngineConfig.__dataclass_fields__)
    names = FLAGS | ATTRIBUTES | {option: attribute for option, (attribute, _) in CHOICES.items()}
    assert all(f"`{name}`" in table[option] for option, name in names.items())


def test_every_option_is_applied_or_taken_elsewhere():
    elsewhere = {"profiles", "timing_cache", "compute_capabilities"}
    applied = {*FLAGS, *CHOICES, "tf32", "workspace", "dla_core", "optimization_level", "aux_streams"}
    assert applied | elsewhere == set(EngineConfig.__dataclass_fields__)
