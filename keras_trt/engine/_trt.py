"""The one place that knows how TensorRT 10, 11, lean and RTX differ: by `hasattr`, never by version."""

from __future__ import annotations

import functools
import platform
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from keras_trt._machine import deps
from keras_trt.errors import EngineError

if TYPE_CHECKING:
    from tensorrt import (
        Builder,
        DataType,
        IBuilderConfig,
        ICudaEngine,
        IExecutionContext,
        ILogger,
        INetworkDefinition,
        IOutputAllocator,
        IProfiler,
    )

_INSTALL = {
    "tensorrt": "keras-trt[tensorrt]",
    "tensorrt_rtx": "keras-trt[rtx]",
    "tensorrt_lean": "keras-trt[lean]",
}

_DTYPES = {
    "FLOAT": "float32",
    "HALF": "float16",
    "BF16": "bfloat16",
    "FP8": "float8_e4m3fn",
    "FP4": "float4_e2m1fn",
    "E8M0": "float8_e8m0fnu",
}  # the others are numpy's names in capitals

Allocate = Callable[[int], int]
"""Gives so many bytes: their address, or 0."""
Notify = Callable[[tuple[int, ...]], None]
"""Is told an output's shape."""
Report = Callable[[str, float], None]
"""Is told a layer's name and its milliseconds."""

_lock = threading.RLock()
_captures: list[list[tuple[str, str]]] = []


def load(module: str, why: str) -> ModuleType:
    """Imports `tensorrt`, `tensorrt_rtx` or `tensorrt_lean`.

    Raises:
        MissingDependencyError: It is not installed or cannot be imported; carries the pip line.
    """
    return deps.require(module, install=_INSTALL[module], why=why)


def install_line(kind: str) -> str:
    """The command that installs the builder of `kind`."""
    return f"pip install '{_INSTALL[kind]}'"


def version(trt: ModuleType) -> str:
    """The version that a plan is tied to, e.g. `"10.16.1.11"`."""
    return str(trt.__version__)


def system() -> str:
    """The operating system that a plan is tied to: `"linux"` or `"windows"`."""
    return platform.system().lower()


@functools.cache
def logger(trt: ModuleType) -> ILogger:
    """The logger of this process: TensorRT keeps the first one it is given, whatever comes later."""

    class Logger(trt.ILogger):  # type: ignore[name-defined, misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)

        def log(self, severity: Any, msg: str) -> None:
            for capture in _captures:
                capture.append((severity.name, msg))

    return Logger()


@contextmanager
def captured_log() -> Iterator[list[tuple[str, str]]]:
    """Collects what TensorRT logs meanwhile as (severity name, message)."""
    messages: list[tuple[str, str]] = []
    with _lock:
        _captures.append(messages)
    try:
        yield messages
    finally:
        with _lock:
            _captures[:] = [c for c in _captures if c is not messages]


def with_severity(messages: list[tuple[str, str]], *severities: str) -> tuple[str, ...]:
    """The texts of the given severities, each once, in order."""
    return tuple(dict.fromkeys(text.strip() for severity, text in messages if severity in severities))


def errors(messages: list[tuple[str, str]]) -> str:
    """The logged errors as indented lines for an error message."""
    return "".join(f"\n  {text}" for text in with_severity(messages, "ERROR", "INTERNAL_ERROR"))


def create_network(trt: ModuleType, builder: Builder) -> INetworkDefinition:
    """A strongly typed network: the only kind TensorRT 11 has, opt-in with TensorRT 10."""
    flag = trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED
    return builder.create_network(1 << int(flag))


def parse(trt: ModuleType, network: INetworkDefinition, onnx_path: Path) -> None:
    """Parses an ONNX file, weights beside it included, into `network`.

    Raises:
        EngineError: The parser refused it; the message holds every parser error with its ONNX node.
    """
    parser = trt.OnnxParser(network, logger(trt))
    if parser.parse_from_file(str(onnx_path)):
        return
    refused = [parser.get_error(i) for i in range(parser.num_errors)]
    lines = "".join(f"\n  {_parser_error(e)}" for e in refused)
    raise EngineError(f"TensorRT's ONNX parser refused `{onnx_path}`:{lines}")


def _parser_error(error: Any) -> str:
    node = f"node `{error.node_name()}` ({error.node_operator()}): " if error.node_operator() else ""
    return f"{node}{error.desc()} [{error.code().name}]"


def compute_capabilities(trt: ModuleType) -> tuple[str, ...]:
    """The GPU classes this builder can build for ahead of time; empty when it builds for its own GPU only."""
    if not hasattr(trt, "ComputeCapability"):
        return ()
    names = [n for n in trt.ComputeCapability.__members__ if n.startswith("SM")]
    return tuple(sorted(names, key=lambda n: int(n[2:])))


def set_compute_capabilities(trt: ModuleType, config: IBuilderConfig, names: tuple[str, ...]) -> None:
    """Tells the builder which GPU classes to build for, where it can build for others than its own."""
    if not hasattr(config, "set_compute_capability"):
        return
    config.num_compute_capabilities = len(names)
    for index, name in enumerate(names):
        config.set_compute_capability(getattr(trt.ComputeCapability, name), index)


def set_flag(trt: ModuleType, config: IBuilderConfig, name: str, *, on: bool = True) -> None:
    """Sets or clears a `BuilderFlag` by name.

    Raises:
        EngineError: This TensorRT has no such flag.
    """
    flag = member(trt, "BuilderFlag", name)
    (config.set_flag if on else config.clear_flag)(flag)


def member(trt: ModuleType, enum: str, name: str) -> Any:
    """A member of one of TensorRT's enumerations, by name.

    Raises:
        EngineError: This TensorRT has no such enumeration or member.
    """
    if not hasattr(trt, enum):
        raise EngineError(f"{trt.__name__} {version(trt)} has no {enum}")
    members = getattr(trt, enum).__members__
    if name not in members:
        raise EngineError(f"{trt.__name__} {version(trt)} has no {enum}.{name}. It has: {sorted(members)}")
    return members[name]


def set_option(trt: ModuleType, config: IBuilderConfig, name: str, value: object) -> None:
    """Sets an attribute of a builder's config and sees that it holds: TensorRT may drop it without an error.

    Raises:
        EngineError: This TensorRT has no such attribute, or does not take the value.
    """
    if not hasattr(config, name):
        raise EngineError(f"{trt.__name__} {version(trt)} has no IBuilderConfig.{name}")
    setattr(config, name, value)
    now_set = getattr(config, name)
    if now_set != value:
        raise EngineError(
            f"{trt.__name__} {version(trt)} does not take IBuilderConfig.{name} = {value}; it stays {now_set}"
        )


def refit(trt: ModuleType, engine: ICudaEngine, onnx_path: Path) -> bytes:
    """The plan of an engine with the weights of an ONNX file put in.

    Raises:
        EngineError: The weights are not those that the engine lacks.
    """
    if not hasattr(trt, "OnnxParserRefitter"):
        raise EngineError(f"{trt.__name__} {version(trt)} cannot put weights into a plan: it reads no ONNX")
    with captured_log() as messages:
        refitter = trt.Refitter(engine, logger(trt))
        parser_refitter = trt.OnnxParserRefitter(refitter, logger(trt))
        done = parser_refitter.refit_from_file(str(onnx_path)) and refitter.refit_cuda_engine()
        if done:
            serialization = engine.create_serialization_config()
            serialization.clear_flag(trt.SerializationFlag.EXCLUDE_WEIGHTS)
            return bytes(memoryview(engine.serialize_with_config(serialization)))
    raise EngineError(
        f"{trt.__name__} {version(trt)} cannot put the weights of `{onnx_path}` into the plan:"
        f"{errors(messages)}"
    )


def create_builder(trt: ModuleType) -> Builder:
    """A builder.

    Raises:
        EngineError: TensorRT could not start, e.g. the driver is too old for it.
    """
    with captured_log() as messages:
        try:
            return trt.Builder(logger(trt))
        except TypeError as e:  # pybind's way to say that the C++ factory returned null
            raise EngineError(
                f"{trt.__name__} {version(trt)} cannot start a builder here. Is the NVIDIA driver new enough?"
                f"{errors(messages)}"
            ) from e


def dtype_name(dtype: DataType) -> str:
    """A `DataType` under numpy's name."""
    name: str = dtype.name
    return _DTYPES.get(name, name.lower())


def deserialize(trt: ModuleType, plan: bytes, *, allow_host_code: bool) -> ICudaEngine:
    """An engine from a plan. Ask for a GPU first: without a driver TensorRT may end the process.

    Raises:
        EngineError: The plan does not run here; holds what TensorRT logged.
    """
    with captured_log() as messages:
        try:
            runtime = trt.Runtime(logger(trt))
        except TypeError as e:  # pybind's way to say that the C++ factory returned null
            raise EngineError(f"{trt.__name__} {version(trt)} cannot start here:{errors(messages)}") from e
        runtime.engine_host_code_allowed = allow_host_code
        engine = runtime.deserialize_cuda_engine(plan)
    if engine is None:
        raise EngineError(f"{trt.__name__} {version(trt)} cannot load the plan here:{errors(messages)}")
    return engine


def create_context(trt: ModuleType, engine: ICudaEngine, *, cuda_graph: bool) -> IExecutionContext:
    """An execution context without memory for activations of its own, where this TensorRT lets it be given.

    It records CUDA graphs where TensorRT does that itself.

    Raises:
        EngineError: Usually too little GPU memory is free.
    """
    with captured_log() as messages:
        if cuda_graph and records_graphs_itself(trt):
            runtime_config = engine.create_runtime_config()
            runtime_config.cuda_graph_strategy = trt.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
            if takes_memory(trt):
                strategy = trt.ExecutionContextAllocationStrategy.USER_MANAGED
                runtime_config.set_execution_context_allocation_strategy(strategy)
            context = engine.create_execution_context(runtime_config)
        elif takes_memory(trt):
            strategy = trt.ExecutionContextAllocationStrategy.USER_MANAGED
            context = engine.create_execution_context(strategy)
        else:
            context = engine.create_execution_context()
    if context is None:
        raise EngineError(
            f"{trt.__name__} {version(trt)} cannot create an execution context:{errors(messages)}"
        )
    return context


def takes_memory(trt: ModuleType) -> bool:
    """Whether contexts can be given memory for activations, which they then share (not in 10.0)."""
    return hasattr(trt.IExecutionContext, "set_device_memory")


def activation_bytes(trt: ModuleType, engine: ICudaEngine) -> int:
    """The memory for activations that contexts of an engine must be given; 0 where they have their own."""
    return int(engine.device_memory_size_v2) if takes_memory(trt) else 0


@functools.cache
def output_allocator(trt: ModuleType) -> Callable[[Allocate, Notify], IOutputAllocator]:
    """The class of objects that give memory to outputs whose size depends on the data.

    They are made of two functions: `allocate(bytes)` returns an address, or 0 where there is no memory, and
    `notify(shape)` is told the shape.
    """

    class OutputAllocator(trt.IOutputAllocator):  # type: ignore[name-defined, misc]
        def __init__(self, allocate: Allocate, notify: Notify) -> None:
            trt.IOutputAllocator.__init__(self)
            self._allocate, self._notify = allocate, notify

        def reallocate_output(self, tensor_name: str, memory: object, size: int, alignment: int) -> int:
            return self._allocate(size)

        def reallocate_output_async(
            self, tensor_name: str, memory: object, size: int, alignment: int, stream: object
        ) -> int:
            return self._allocate(size)

        def notify_shape(self, tensor_name: str, shape: Any) -> None:
            self._notify(tuple(shape))

    return OutputAllocator


@functools.cache
def layer_profiler(trt: ModuleType) -> Callable[[Report], IProfiler]:
    """The class of objects that an execution context tells the time of every layer, in milliseconds."""

    class LayerProfiler(trt.IProfiler):  # type: ignore[name-defined, misc]
        def __init__(self, report: Report) -> None:
            trt.IProfiler.__init__(self)
            self._report = report

        def report_layer_time(self, layer_name: str, ms: float) -> None:
            self._report(layer_name, ms)

    return LayerProfiler


def layer_information(trt: ModuleType, engine: ICudaEngine, context: IExecutionContext | None) -> str:
    """What an engine tells of its layers, as JSON: as much as its profiling verbosity lets it.

    Nothing where this TensorRT has no inspector, as the lean runtime.

    Args:
        trt: The module.
        engine: An engine.
        context: A context with shapes set, which then count; None leaves open sizes open.
    """
    if not hasattr(trt, "EngineInspector"):
        return ""
    inspector = engine.create_engine_inspector()
    if context is not None:
        inspector.execution_context = context
    return str(inspector.get_engine_information(trt.LayerInformationFormat.JSON))


def records_graphs_itself(trt: ModuleType) -> bool:
    """Whether this TensorRT captures CUDA graphs on its own (RTX, which compiles kernels at run time)."""
    return hasattr(trt, "CudaGraphStrategy")


def tensor_dtypes(engine: ICudaEngine) -> dict[str, str]:
    """The element types of an engine's inputs and outputs, by name."""
    names = [engine.get_tensor_name(i) for i in range(engine.num_io_tensors)]
    return {name: dtype_name(engine.get_tensor_dtype(name)) for name in names}


def profiles(engine: ICudaEngine, names: Sequence[str]) -> list[dict[str, Any]]:
    """Smallest, usual and largest shape of every input, for each optimisation profile."""
    return [
        {
            name: tuple(tuple(shape) for shape in engine.get_tensor_profile_shape(name, number))
            for name in names
        }
        for number in range(engine.num_optimization_profiles)
    ]
