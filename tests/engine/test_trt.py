"""Every name this library uses of TensorRT exists in the bindings of every version it supports.

`tensorrt_api.json` holds members and signatures read out of NVIDIA's Python bindings.
"""

import ast
import inspect
import json
import re
from pathlib import Path
from types import SimpleNamespace

import pytest

from keras_trt.engine import EngineConfig, _trt, apply, audit, build, gpus, profile, progress, timing_cache
from keras_trt.engine import config as configs
from keras_trt.errors import EngineError
from keras_trt.runtime.runners.tensorrt import contexts, gpu_engine, open_output, slot, slots
from keras_trt.runtime.runners.tensorrt import runner as tensorrt

API = json.loads((Path(__file__).parent / "tensorrt_api.json").read_text())
FULL = [v for v in API if not v.startswith("tensorrt_lean")]

# Which class an object of this name is of, in our code.
CLASS_OF = {
    "builder": "Builder",
    "cache": "ITimingCache",
    "builder_config": "IBuilderConfig",
    "config": "IBuilderConfig",
    "context": "IExecutionContext",
    "_context": "IExecutionContext",
    "engine": "ICudaEngine",
    "_engine": "ICudaEngine",
    "error": "ParserError",
    "inspector": "EngineInspector",
    "layer": "ILayer",
    "maker": "ILayer",
    "network": "INetworkDefinition",
    "parser": "OnnxParser",
    "parser_refitter": "OnnxParserRefitter",
    "refitter": "Refitter",
    "serialization": "ISerializationConfig",
    "profile": "IOptimizationProfile",
    "runtime": "Runtime",
    "runtime_config": "IRuntimeConfig",
    "tensor": "ITensor",
}
# Asked for with `hasattr` first: not in every version.
GUARDED = {
    "trt.ComputeCapability",
    "IBuilderConfig.num_compute_capabilities",
    "IBuilderConfig.set_compute_capability",
    "trt.CudaGraphStrategy",
    "trt.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE",
    "ICudaEngine.create_runtime_config",
    "IRuntimeConfig.cuda_graph_strategy",
    "IRuntimeConfig.set_execution_context_allocation_strategy",
    "IExecutionContext.set_device_memory",
    "ICudaEngine.device_memory_size_v2",
}
# Our files that touch TensorRT.
OURS = (_trt, apply, audit, build, profile, progress, timing_cache)
# `config` is also what an `EngineConfig` is called.
OPTIONS = {name for name in dir(EngineConfig) if not name.startswith("_")}
# What Python adds to modules and enums.
PYTHONS = {"__name__", "__version__", "__members__", "name"}
# Functions of `_trt` that the lean runtime, which has no builder, must be able to run.
LEAN = (
    "version",
    "logger",
    "deserialize",
    "create_context",
    "tensor_dtypes",
    "takes_memory",
    "activation_bytes",
    "output_allocator",
    "profiles",
    "layer_profiler",
)
# Our files that run a plan.
RUNTIME = (tensorrt, gpu_engine, contexts, slot, open_output, slots)


def uses(tree):
    """(name, number of arguments or None) for every attribute on an object of TensorRT."""
    calls = {id(n.func): len(n.args) + len(n.keywords) for n in ast.walk(tree) if isinstance(n, ast.Call)}
    for node in ast.walk(tree):
        if not isinstance(node, ast.Attribute) or node.attr in PYTHONS:
            continue
        value, arguments = node.value, calls.get(id(node))
        if isinstance(value, ast.Name) and value.id == "trt":
            yield f"trt.{node.attr}", arguments
        elif (
            isinstance(value, ast.Attribute) and isinstance(value.value, ast.Name) and value.value.id == "trt"
        ):
            yield f"trt.{value.attr}.{node.attr}", arguments and arguments - 1  # called with `self`
        else:
            called = getattr(value, "id", getattr(value, "attr", None))
            if called in CLASS_OF:
                yield f"{CLASS_OF[called]}.{node.attr}", arguments


def problem(api, name, arguments):
    """What is wrong with a use of `name` in one version; None when all is well."""
    parts = name.split(".")
    path = parts[1:] if parts[0] == "trt" else parts
    members = api.get(path[0])
    if members is None:
        return f"{name}: no {path[0]}"
    member = "__init__" if len(path) == 1 else path[1]
    if len(path) == 2 and member not in members:
        return f"{name}: {path[0]} has no {member}"
    signatures = [s for s in members.get(member, []) if s.startswith(f"{member}(")]
    if arguments is None or not signatures or any(takes(s, arguments) for s in signatures):
        return None
    return f"{name} does not take {arguments} arguments: {signatures}"


def problems(api, found):
    return [p for name, n in found if name not in GUARDED and (p := problem(api, name, n))]


def takes(signature, arguments):
    parameters = re.sub(
        r"<[^>]*>|\[[^\]]*\]", "", signature[signature.index("(") + 1 : signature.rindex(")")]
    )
    listed = [p for p in parameters.split(",") if p.strip() and not p.strip().startswith("self")]
    return len([p for p in listed if "=" not in p]) <= arguments <= len(listed)


def tree_of(thing):
    return ast.parse(inspect.getsource(thing))


def ours(*things):
    found = {use for thing in things for use in uses(tree_of(thing))}
    return sorted((use for use in found if use[0].removeprefix("IBuilderConfig.") not in OPTIONS), key=str)


@pytest.mark.parametrize("version", FULL)
def test_every_name_we_use_exists_in(version):
    found = ours(*OURS, *RUNTIME)
    assert len(found) > 40, "the walk lost the code"
    assert problems(API[version], found) == []


def test_the_lean_runtime_has_all_that_running_needs():
    found = ours(*RUNTIME, *(getattr(_trt, name) for name in LEAN))
    wrong = [
        p for name, n in found if name not in GUARDED and (p := problem(API["tensorrt_lean-11.4.0"], name, n))
    ]
    assert wrong == []


def test_guarded_names_exist_somewhere_and_need_their_guard():
    used = dict(ours(*OURS, *RUNTIME))
    assert set(used) >= GUARDED, "a guard for nothing"
    for name in GUARDED:
        results = [problem(API[v], name, used[name]) for v in API]
        assert None in results
        assert any(results), f"{name} is everywhere: no guard needed"


@pytest.mark.parametrize(
    ("code", "complaint"),
    [
        ("trt.BuilderFlag.FP16", "BuilderFlag has no FP16"),
        ("trt.IInt8Calibrator()", "no IInt8Calibrator"),
        ("config.max_workspace_size = 1", "IBuilderConfig has no max_workspace_size"),
        ("self._context.execute_async_v2(1)", "IExecutionContext has no execute_async_v2"),
        ("builder.build_serialized_network(network)", "does not take 1 arguments"),
        ("config.set_timing_cache(cache)", "does not take 1 arguments"),
    ],
)
def test_the_walk_finds_what_tensorrt_11_removed(code, complaint):
    found = [problem(API["tensorrt-11.4.0"], name, n) for name, n in uses(ast.parse(code))]
    assert any(complaint in text for text in found if text)


@pytest.mark.parametrize("version", FULL)
def test_names_we_hold_as_text_exist_in(version):
    api = API[version]
    assert {"SPARSE_WEIGHTS", "VERSION_COMPATIBLE"} <= set(api["BuilderFlag"])
    assert "STRONGLY_TYPED" in api["NetworkDefinitionCreationFlag"]
    assert {apply.FLAGS[name] for name in apply.FLAGS} | {"TF32"} <= set(api["BuilderFlag"])
    assert set(apply.ATTRIBUTES.values()) | {"default_device_type", "DLA_core"} <= set(api["IBuilderConfig"])
    assert "DLA" in api["DeviceType"]
    assert "WORKSPACE" in api["MemoryPoolType"]
    later = {"ATTENTION_INPUT"}
    assert {*audit.WEIGHTED, *audit._MOVES_DATA, "DEQUANTIZE", "CONSTANT"} - later <= set(api["LayerType"])
    assert {"FLOAT", "HALF", "BF16", "FP8", "INT8"} <= set(api["DataType"])


VALUES = {
    "tiling": configs.TILINGS,
    "hardware_compatibility": configs.HARDWARE,
    "profiling_verbosity": configs.VERBOSITIES,
}


@pytest.mark.parametrize("version", FULL)
def test_only_these_choices_came_later(version):
    api = API[version]
    missing = set()
    for option, (attribute, enum) in apply.CHOICES.items():
        held = api.get(enum, {}) if attribute in api["IBuilderConfig"] else {}
        missing |= {(option, value) for value in VALUES[option] if value.upper() not in held}
    came_later = {("tiling", value) for value in configs.TILINGS}
    came_later |= {("hardware_compatibility", "same_compute_capability")}
    assert missing == (came_later if version == "tensorrt-10.0.1" else set())


def test_no_other_file_touches_tensorrt():
    """One private file knows how the versions differ; nobody else may ask `hasattr` of TensorRT."""
    for module in (*OURS[1:], *RUNTIME):
        assert "hasattr(" not in inspect.getsource(module)


def test_the_rtx_builder_says_which_gpus_it_builds_for():
    trt = pytest.importorskip("tensorrt_rtx")
    assert {"SM86", "SM89", "SM120"} <= set(_trt.compute_capabilities(trt))


def test_a_flag_that_this_tensorrt_lacks_is_named():
    trt = pytest.importorskip("tensorrt_rtx")
    with pytest.raises(EngineError, match=r"tensorrt_rtx .* has no BuilderFlag\.FP16. It has: \["):
        _trt.set_flag(trt, None, "FP16")


def test_what_is_logged_during_one_build_stays_there():
    with _trt.captured_log() as outer, _trt.captured_log() as inner:
        for capture in _trt._captures:
            capture.append(("ERROR", "bad"))
    assert outer == inner == [("ERROR", "bad")]
    assert _trt.errors(outer) == "\n  bad"
    assert not _trt._captures


def test_asking_for_gpus_never_crashes():
    assert all(g.compute_capability.startswith("SM") for g in gpus())


class Refitter:
    """Stands in for TensorRT's, which needs a GPU; notes what is asked of it."""

    takes = True

    def __init__(self, engine, logger):
        self.engine = engine

    def refit_cuda_engine(self):
        self.engine.done.append("refit")
        return self.takes


def refitting(takes):
    class ParserRefitter:
        def __init__(self, refitter, logger):
            self.done = refitter.engine.done

        def refit_from_file(self, path):
            self.done.append(Path(path).name)
            return takes

    class Engine:
        def __init__(self):
            self.done = []

        def create_serialization_config(self):
            return SimpleNamespace(clear_flag=self.done.append)

        def serialize_with_config(self, serialization):
            return b"with weights"

    trt = SimpleNamespace(
        __name__="tensorrt",
        __version__="11.4.0",
        ILogger=type("ILogger", (), {}),
        Refitter=Refitter,
        OnnxParserRefitter=ParserRefitter,
        SerializationFlag=SimpleNamespace(EXCLUDE_WEIGHTS="exclude"),
    )
    return type("Module", (), {**vars(trt), "__hash__": object.__hash__})(), Engine()


def test_the_weights_of_the_onnx_file_are_put_into_a_plan():
    trt, engine = refitting(takes=True)
    assert _trt.refit(trt, engine, Path("folder/model.onnx")) == b"with weights"
    assert engine.done == ["model.onnx", "refit", "exclude"]


def test_weights_that_do_not_fit_are_an_error():
    trt, engine = refitting(takes=False)
    with pytest.raises(EngineError, match=r"tensorrt 11.4.0 cannot put the weights of `model.onnx` into"):
        _trt.refit(trt, engine, Path("model.onnx"))
    with pytest.raises(EngineError, match="it reads no ONNX"):
        _trt.refit(SimpleNamespace(__name__="tensorrt_lean", __version__="11"), engine, Path("model.onnx"))
