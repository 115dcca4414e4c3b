"""Reads OpenVINO's counters of a compiled model."""

from __future__ import annotations

import re
import statistics
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_trt.runtime.runners.runner import Executed

if TYPE_CHECKING:
    from openvino import CompiledModel

_ADDED = re.compile(r"(/WithoutBiases|/DequantizationMultiply|_a[a-z]+_a[a-zA-Z0-9]+_.*)$")
"""What its transformations add to a node's name: "conv/Conv/WithoutBiases", "x/Mul_abcd_acdb_y/Conv"."""


def executed_nodes(compiled: CompiledModel, feeds: Mapping[str, np.ndarray], calls: int) -> list[Executed]:
    """The nodes that are executed, in order; times are medians over the calls but the first.

    Args:
        compiled: A model compiled with `PERF_COUNT`.
        feeds: One batch.
        calls: How many to measure.
    """
    facts = {node.get_friendly_name(): node.get_rt_info() for node in compiled.get_runtime_model().get_ops()}
    request = compiled.create_infer_request()
    request.infer(dict(feeds))
    kinds: dict[str, tuple[str, str]] = {}
    seconds: dict[str, list[float]] = {}
    for _ in range(calls):
        request.infer(dict(feeds))
        for node in request.get_profiling_info():
            if node.status.name == "EXECUTED":
                kinds[node.node_name] = node.node_type, node.exec_type
                seconds.setdefault(node.node_name, []).append(node.real_time.total_seconds())
    return [
        Executed(
            nodes_in(_entry(facts.get(name), "originalLayersNames") or name),
            kind,
            _entry(facts.get(name), "runtimePrecision") or executable.rpartition("_")[2],
            statistics.median(seconds[name]),
        )
        for name, (kind, executable) in kinds.items()
    ]


def nodes_in(names: str) -> str:
    """The graph's nodes that one executed node was made of, in front of a quantiser that it also does.

    Example:
        >>> nodes_in("conv/Conv/WithoutBiases,Multiply_3,conv/Conv,relu/Relu,next/DequantizeLinear")
        'conv/Conv,relu/Relu'
    """
    nodes = list(dict.fromkeys(_ADDED.sub("", name) for name in names.split(",") if "/" in name))
    others = [node for node in nodes if "QuantizeLinear" not in node and "DequantizeLinear" not in node]
    return ",".join(others or nodes)


def _entry(info: Any, key: str) -> str:
    if info is None or key not in info:
        return ""
    return str(getattr(info[key], "value", info[key]))
