"""What the page says that was measured later: by `benchmark`, `verify`, `sensitivity` and `observe`."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from os import PathLike
from typing import Any

from keras_trt._base.arguments import check_path
from keras_trt.errors import InputError
from keras_trt.inspection.page import elements as e
from keras_trt.reports import Findings

Source = Findings | Mapping[str, Any] | str | PathLike[str]
"""A report, what its `to_dict` gives, or the file that its `to_json` wrote."""


def benchmark(source: Source) -> str:
    """Size, memory, metric and latency of each contender."""
    return _shown(source, "benchmark", _benchmark)


def verification(source: Source) -> str:
    """How far each runner is from Keras on data."""
    return _shown(source, "verification", _verification)


def sensitivity(source: Source) -> str:
    """What quantising or pruning each layer alone costs."""
    return _shown(source, "sensitivity", _sensitivity)


def activations(source: Source) -> str:
    """How the magnitudes of each quantised tensor were spread in data."""
    return _shown(source, "activations", _activations)


def _shown(source: Source, name: str, section: Callable[[Mapping[str, Any]], str]) -> str:
    try:
        return section(_plain(source, name))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"`{name}` must be the report of keras_trt.{_FUNCTIONS[name]}, or the JSON file of one. "
            f"Received: {source if isinstance(source, str | PathLike) else type(source).__name__!r} "
            f"({type(error).__name__}: {error})"
        ) from error


_FUNCTIONS = {
    "benchmark": "benchmark",
    "verification": "verify",
    "sensitivity": "sensitivity",
    "activations": "quantize.observe",
}


def _plain(source: Source, name: str) -> Mapping[str, Any]:
    if isinstance(source, Findings):
        return source.to_dict()
    if isinstance(source, Mapping):
        return source
    path = check_path(source, name)
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"`{name}`: the file '{path}' cannot be read: {error}") from error


def _benchmark(report: Mapping[str, Any]) -> str:
    timings, reference = report["timings"], report["reference"]
    rows = [
        [
            c["name"],
            c["precision"],
            f"{c['bytes'] / 1e6:.3g}",
            "" if c["memory"] is None else f"{c['memory'] / 1e6:.3g}",
            *([c["metric"]] if any(one["metric"] is not None for one in report["contenders"]) else []),
        ]
        for c in report["contenders"]
    ]
    columns = ["", "precision", "MB", "memory, MB", *(["metric"] if rows and len(rows[0]) == 5 else [])]
    body = e.table(columns, rows)
    for batch, threads in dict.fromkeys((t["batch"], t["threads"]) for t in timings):
        some = [t for t in timings if (t["batch"], t["threads"]) == (batch, threads)]
        body += (
            f"<h3>Batches of {batch}{f' from {threads} threads' if threads > 1 else ''}: milliseconds</h3>"
        )
        body += e.bars([(t["name"], float(t["p50"])) for t in some])
        body += e.table(
            ["", "p50 ms", "p90 ms", "p99 ms", "rows/s", "times faster"],
            [
                [t["name"], t["p50"], t["p90"], t["p99"], round(t["rows_per_second"]), t["times_faster"]]
                for t in some
            ],
        )
    machine = report["machine"]
    note = f"On {machine['processor']}, {machine['cores']} cores; {', '.join(machine['gpus']) or 'no GPU'}. "
    return e.heading(
        "Size and speed", body, f"{note}Times faster than {reference}. {' '.join(report['notes'])}"
    )


def _verification(report: Mapping[str, Any]) -> str:
    rows = []
    for d in report["differences"]:
        good = float(d["relative"]) <= float(d["allowed"])
        same = "" if d["agreement"] is None else f"{d['agreement']:.2%}"
        mark = e.verdict(good, "equal" if good else "off")
        rows.append([d["runner"], d["output"], float(d["relative"]), float(d["allowed"]), same, mark])
    body = e.table(["runner", "output", "difference", "allowed", "same class", ""], rows)
    if report["metrics"]:
        body += "<h3>Metric</h3>" + e.table(["runner", "metric"], list(report["metrics"].items()))
    first = report["first_divergence"]
    note = f"{report['rows']} rows. " + (f"First layer that differs: {first}. " if first else "")
    return e.heading("Verified on data", body, note + " ".join(report["notes"]))


def _sensitivity(report: Mapping[str, Any]) -> str:
    losses = report["losses"]
    if "levels" in report:
        curves = "".join(e.curve(report["levels"], values, name) for name, values in losses.items())
        note = f"The loss by the share of zeros ({report['pattern']}) of each layer alone."
        return e.heading("Sensitivity", f'<div class="grid">{curves}</div>' if curves else "", note)
    note = f"The loss with each layer alone quantised ({report['scheme']}), worst first."
    return e.heading("Sensitivity", e.bars([(name, float(loss)) for name, loss in losses.items()]), note)


def _activations(report: Mapping[str, Any]) -> str:
    """Numbers as logarithms: what lies far out, where a range has to end, is rare."""
    shown = "".join(
        e.histogram(
            [math.log2(1 + int(n)) for n in one["counts"]],
            f"{one['tensor']} ({one['format']}, at most {float(one['largest']):.3g}, "
            f"{float(one['zeros']):.0%} zeros)",
            float(one["limit"]),
            lowest=0.0,
        )
        for one in report["activations"]
    )
    note = "Magnitudes of quantised activations in data; the numbers of values are logarithmic."
    return e.heading("Activations", f'<div class="grid">{shown}</div>' if shown else "", note)
