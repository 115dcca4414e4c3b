"""What `benchmark` measured, as tables, plain data and a plot."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from keras_trt.measuring.machine import Machine
from keras_trt.reports import Table
from keras_trt.reports.plot import Drawable, Figure, new_figure


@dataclass(frozen=True)
class Contender:
    """One of those that were measured.

    Attributes:
        name: Its label and what runs it.
        label: What the user calls it.
        runner: What runs it, e.g. `"keras"`.
        reason: Why that runner was chosen.
        precision: What it computes in, e.g. `"int8+fp16"`.
        bytes: Of the plan, or of the graph with its weights; of the weights of a Keras model.
        memory: By how much loading it and the first call on the largest batch have raised the largest
            resident size of the process, in bytes; memory of a GPU is not in it. None where that cannot be
            told: for what was loaded before, and outside Linux.
        metric: Of all rows of the data; None without one.
    """

    name: str
    label: str
    runner: str
    reason: str
    precision: str
    bytes: int
    memory: int | None
    metric: float | None


@dataclass(frozen=True)
class Timing:
    """The time of one contender's calls on one batch size.

    Attributes:
        name: The contender's.
        batch: Rows of a call.
        threads: How many threads called at once.
        p50: The median time of a call, in milliseconds.
        p90: Nine of ten calls took at most this, in milliseconds.
        p99: 99 of 100 calls took at most this, in milliseconds; of fewer calls about the longest.
        rows_per_second: Of all threads together.
        times_faster: Than the reference; the median over the turns.
        calls: How many were timed.
    """

    name: str
    batch: int
    threads: int
    p50: float
    p90: float
    p99: float
    rows_per_second: float
    times_faster: float
    calls: int


@dataclass(frozen=True)
class BenchmarkReport(Drawable):
    """How fast, how large and how right the contenders are on one machine. Prints as tables.

    `plot` draws latency and throughput over the batch size, a curve a contender and number of threads.

    Attributes:
        name: The model's.
        contenders: What was measured.
        timings: Each contender, batch size and number of threads.
        reference: The contender that `times_faster` compares with: Keras where it was measured, else the
            last one.
        rows: What the calls were made on.
        machine: Where.
        notes: Sentences worth reading.
    """

    name: str
    contenders: tuple[Contender, ...]
    timings: tuple[Timing, ...]
    reference: str
    rows: str
    machine: Machine
    notes: tuple[str, ...] = ()

    def timing(self, name: str, batch: int, threads: int = 1) -> Timing:
        """One of the timings.

        Raises:
            KeyError: It was not measured.
        """
        for one in self.timings:
            if (one.name, one.batch, one.threads) == (name, batch, threads):
                return one
        raise KeyError((name, batch, threads))

    def tables(self) -> Iterable[Table]:
        """What was measured, each batch size, and the machine."""
        metric = any(c.metric is not None for c in self.contenders)
        columns = ["", "precision", "MB", "memory MB", *(["metric"] if metric else [])]
        rows: list[list[Any]] = [
            [
                c.name,
                c.precision,
                c.bytes / 1e6,
                None if c.memory is None else c.memory / 1e6,
                *([c.metric] if metric else []),
            ]
            for c in self.contenders
        ]
        yield Table(f"{self.name}, measured on {self.rows}", columns, rows)
        for batch, threads in dict.fromkeys((t.batch, t.threads) for t in self.timings):
            yield self._table(batch, threads)
        for sentence in self.machine.sentences():
            yield Table(sentence, (), ())

    def _table(self, batch: int, threads: int) -> Table:
        title = f"Batches of {batch}" + (f" from {threads} threads at once" if threads > 1 else "")
        columns = ["", "p50 ms", "p90 ms", "p99 ms", "rows/s", "times faster"]
        rows = [
            [t.name, t.p50, t.p90, t.p99, round(t.rows_per_second), t.times_faster]
            for t in self.timings
            if (t.batch, t.threads) == (batch, threads)
        ]
        return Table(title, columns, rows)

    def _figure(self) -> Figure:
        """Latency and throughput over the batch size, a curve a contender and number of threads."""
        figure = new_figure("BenchmarkReport.plot", figsize=(9.6, 4.8))
        latency, rate = figure.subplots(1, 2)
        for name, threads in dict.fromkeys((t.name, t.threads) for t in self.timings):
            curve = [t for t in self.timings if (t.name, t.threads) == (name, threads)]
            batches = [t.batch for t in curve]
            label = name if threads == 1 else f"{name}, {threads} threads"
            latency.plot(batches, [t.p50 for t in curve], marker=".", label=label)
            rate.plot(batches, [t.rows_per_second for t in curve], marker=".")
        latency.set(xlabel="rows of a batch", ylabel="milliseconds of a call (median)", yscale="log")
        rate.set(xlabel="rows of a batch", ylabel="rows a second", yscale="log")
        figure.suptitle(self.name)
        figure.legend(loc="outside lower center", fontsize="small", ncols=2)
        return figure
