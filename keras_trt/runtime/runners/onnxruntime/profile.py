"""Reads what ONNX Runtime's profiler writes."""

from __future__ import annotations

import re
import statistics
from collections.abc import Iterable, Mapping
from typing import Any

from keras_trt.runtime.runners.runner import Executed

_ADDED = re.compile(r"(_token_\d+|_quant|_nhwc|_kernel_time|_nchwc)+$")
"""What its optimisations and its profiler add to a node's name."""


def executed_nodes(events: Iterable[Mapping[str, Any]]) -> list[Executed]:
    """The nodes in the order of their first run; times are medians over the runs but the first."""
    by_name: dict[str, list[Mapping[str, Any]]] = {}
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith("kernel_time"):
            by_name.setdefault(event["name"], []).append(event)
    return [
        Executed(
            _ADDED.sub("", name.removeprefix("fused ")),
            runs[0]["args"]["op_name"],
            _type(runs[0]["args"]),
            statistics.median(run["dur"] for run in runs[1:] or runs) / 1e6,
        )
        for name, runs in by_name.items()
    ]


def _type(arguments: Mapping[str, Any]) -> str:
    """The type of the first input, which a product computes in; of the output where there is none."""
    shapes = [*arguments.get("input_type_shape", ()), *arguments.get("output_type_shape", ())]
    return next(iter(shapes[0]), "") if shapes else ""
