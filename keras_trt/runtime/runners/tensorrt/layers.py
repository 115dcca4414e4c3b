"""What an engine's layers are and how long each takes: of TensorRT's profiler and inspector."""

from __future__ import annotations

import json
import re
import statistics
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from keras_trt.errors import RunnerError
from keras_trt.runtime.runners.runner import Executed
from keras_trt.runtime.runners.tensorrt.gpu_engine import GpuEngine
from keras_trt.runtime.runners.tensorrt.slot import Slot

_ONNX_NODE = re.compile(r"\[ONNX Layer: (.*?)\](?=[\s\[\x1e\x1f]|$)")
_COPY = re.compile(r"^Reformatting CopyNode for (?:Input|Output) Tensor \d+ to ")
_BETWEEN = re.compile(r"\s\+\s|\s\|\|\s|,\s|\.\.\.|PWN\(|\)|\{ForeignNode\[|\]\}|\s")
_TYPES = {
    "float": "float32",
    "fp32": "float32",
    "half": "float16",
    "fp16": "float16",
    "bfloat16": "bfloat16",
    "bf16": "bfloat16",
    "fp8": "float8_e4m3fn",
    "fp4": "float4_e2m1fn",
    **{name: name for name in ("int4", "int8", "uint8", "int32", "int64", "bool")},
}


def executed_layers(
    gpu: GpuEngine,
    inputs: tuple[str, ...],
    outputs: tuple[str, ...],
    feeds: Mapping[str, np.ndarray],
    calls: int,
) -> list[Executed]:
    """The layers that an engine runs for a batch, in order, in a slot of their own.

    Args:
        gpu: The engine; its device is current.
        inputs: Names.
        outputs: Names.
        feeds: One batch.
        calls: How many to take the median of, after a first one.

    Raises:
        RunnerError: The engine failed, or told its profiler nothing.
    """
    times: list[tuple[str, float]] = []
    slot = Slot(gpu, inputs, outputs, gpu.profiler(lambda name, ms: times.append((name, ms / 1e3))))
    try:
        for call in range(calls + 1):
            slot.start(feeds)
            slot.finish()
            if not call:
                first = len(times)
        told = _layers(gpu, slot.contexts.last())
    finally:
        slot.drain()
        slot.close()
    if not times:
        raise RunnerError("TensorRT's profiler told nothing of the engine's layers.")
    by_name: dict[str, list[float]] = {}
    for name, seconds in times[first:] or times:
        by_name.setdefault(name, []).append(seconds)
    return [_executed(name, told.get(name, {}), seconds) for name, seconds in by_name.items()]


def _layers(gpu: GpuEngine, context: object) -> dict[str, Mapping[str, Any]]:
    """What the inspector tells, by the layer's name; of a plan without details nothing.

    Some TensorRTs tell nothing, or text that is no JSON, of a context.
    """
    for inspected in (context, None):
        try:
            layers = json.loads(gpu.layer_information(inspected))["Layers"]
        except (ValueError, KeyError, TypeError):
            continue
        if layers:
            return {one["Name"]: one for one in layers if isinstance(one, dict) and "Name" in one}
    return {}


def _executed(name: str, layer: Mapping[str, Any], seconds: list[float]) -> Executed:
    types = [_type(tensor) for end in ("Inputs", "Outputs") for tensor in layer.get(end) or ()]
    nodes = _ONNX_NODE.findall(str(layer.get("Metadata", ""))) or nodes_in(name)
    return Executed(
        ",".join(_computing(nodes)), _operator(name, layer), next(iter(types), ""), statistics.median(seconds)
    )


def _operator(name: str, layer: Mapping[str, Any]) -> str:
    """TensorRT's word; of quantisers that run by themselves, ONNX's."""
    kind = str(layer.get("LayerType") or ("Reformat" if _COPY.match(name) else name))
    if layer.get("Origin") == "QDQ" or kind in ("Quantize", "Dequantize"):
        outputs = [_type(tensor) for tensor in layer.get("Outputs") or ()]
        return "QuantizeLinear" if outputs[:1] in (["int8"], ["float8_e4m3fn"]) else "DequantizeLinear"
    return kind


def _type(tensor: Mapping[str, object]) -> str:
    """The number type in the inspector's words: `Half`, or `Channel major FP16 format where ...`.

    Example:
        >>> _type({"Format/Datatype": "Channel major INT8 format where channel % 32 == 0"})
        'int8'
    """
    text = str(tensor.get("Format/Datatype") or tensor.get("Datatype") or "")
    return next((_TYPES[word] for word in re.findall(r"\w+", text.lower()) if word in _TYPES), "")


def nodes_in(name: str) -> list[str]:
    """The graph's nodes that a layer's name tells of; of names that TensorRT made itself none.

    Example:
        >>> nodes_in("Reformatting CopyNode for Input Tensor 0 to a/conv/Conv + PWN(a/s/Sigmoid, a/s/Mul)")
        ['a/conv/Conv', 'a/s/Sigmoid', 'a/s/Mul']
    """
    return [node for node in _BETWEEN.split(_COPY.sub("", name)) if node and "/" in node]


def _computing(nodes: Iterable[str]) -> list[str]:
    """Without quantisers, where there is anything else."""
    all_nodes = list(dict.fromkeys(nodes))
    others = [node for node in all_nodes if "QuantizeLinear" not in node and "DequantizeLinear" not in node]
    return others or all_nodes
