"""Measures bundles and models on this machine: how fast, how large, how right."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Any

from keras_trt._base.arguments import check_names, check_verbose, is_number, wrong_argument
from keras_trt._base.say import say
from keras_trt._machine import deps
from keras_trt.data.scores import Score, score_of
from keras_trt.errors import InputError
from keras_trt.measuring.benchmark_report import BenchmarkReport, Contender, Timing
from keras_trt.measuring.contenders import KERAS, Running, is_keras, keras_running, labelled, running
from keras_trt.measuring.machine import machine
from keras_trt.measuring.memory import growth
from keras_trt.measuring.rows import Rows, rows_for
from keras_trt.runtime.choosing.select import GPU_RUNNERS
from keras_trt.runtime.engine_model import EngineModel
from keras_trt.runtime.runners.cpu import ONNX_RUNNERS
from keras_trt.runtime.turns import take_turns, times_faster

RUNNERS = (*GPU_RUNNERS, *ONNX_RUNNERS)
_MOST_THREADS = 1024  # more take minutes to start
_NO_KERAS = "Keras was not measured: pass `model`, the Keras model or the path of its `.keras` file."


def benchmark(
    bundle: object,
    data: object = None,
    *,
    batch_sizes: Sequence[int] = (1, 8, 32),
    threads: Sequence[int] = (1,),
    against: Sequence[str] = (KERAS,),
    model: object = None,
    metric: object = None,
    runner: str = "auto",
    device: int = 0,
    seconds: float = 1.0,
    steps: int | None = None,
    verbose: int = 1,
) -> BenchmarkReport:
    """Measures bundles on this machine, beside each other, beside Keras and on several runners.

    All contenders take turns in this process, and who goes first changes from turn to turn; ratios are
    medians over the turns. Calls are `predict_on_batch`, from NumPy arrays to NumPy arrays. Bundles need no
    TensorFlow; a Keras model is exported first, as it is, to a temporary folder.

    Args:
        bundle: The folder that `export` wrote, a Keras 3 or tf_keras model, or what `load` returned. Several
            in a list, or in a dict by what to call them: their inputs must be the same.
        data: Inputs, or (inputs, targets), as arrays, or a data set of batches, which is read whole; None
            takes the rows that the bundle carries. Only `metric` needs more rows than the largest batch.
        batch_sizes: Rows of one call.
        threads: From how many threads one engine is called at once. How many threads a runner itself uses is
            left as it is.
        against: What else to measure: `"keras"`, and names of runners (see `load`) on which each bundle is
            measured, too.
        model: The Keras model, or the path of its `.keras` file, where `bundle` is none.
        metric: As in `verify`, of all rows of the data.
        runner: What runs the bundles; as in `load`.
        device: As in `load`.
        seconds: For how long to measure each contender, batch size and number of threads, about.
        steps: The most batches to take of a data set.
        verbose: 1 shows what is measured and the result, 0 nothing.

    Returns:
        Latencies (milliseconds), throughput (rows per second), memory, sizes and the metric; prints as a
        table. `to_json` and `plot` write it.

    Raises:
        BundleError: No whole bundle at a path.
        InputError: A wrong argument, data that does not fit, or bundles with different inputs.
        RunnerError: No runner can run a bundle here.
        MissingDependencyError: The runner asked for is not installed.

    Example:
        >>> bundles = {"float32": "net.bundle", "int8": "net_int8.bundle"}
        >>> found = keras_trt.benchmark(bundles, model=model)
        >>> found.plot("latency.png")
    """
    against = _checked(batch_sizes, threads, against, seconds, runner, verbose)
    score = None if metric is None else score_of(metric)
    with ExitStack() as stack:
        subjects, keras_model = _exported(labelled(bundle), _keras_model(model), stack)
        runners = (runner, *(name for name in against if name != KERAS))
        contenders = [
            one
            for label, subject in subjects.items()
            for one in running(label, subject, runners, {"device": device}, stack)
        ]
        notes = [note for one in contenders for note in one.notes]
        rows = rows_for(contenders[0].model, data, steps)
        rows.check(batch_sizes)
        _check_alike(contenders)
        if score is not None and rows.targets is None:
            raise wrong_argument("data", "(inputs, targets) for a `metric`", data)
        if KERAS in against:
            contenders += [] if keras_model is None else [keras_running(keras_model)]
            notes += [_NO_KERAS] if keras_model is None else []
        facts = [_facts(one, rows, max(batch_sizes), score) for one in contenders]
        timings = list(_timings(contenders, rows, batch_sizes, threads, seconds, verbose))
        report = BenchmarkReport(
            name=contenders[0].model.name,
            contenders=tuple(facts),
            timings=tuple(timings),
            reference=contenders[-1].name,
            rows=rows.origin,
            machine=machine(_modules(contenders)),
            notes=(*notes, *_split(contenders, batch_sizes)),
        )
    say(report, verbose)
    return report


def _checked(
    batch_sizes: object,
    threads: object,
    against: Any,
    seconds: object,
    runner: str,
    verbose: object,
) -> tuple[str, ...]:
    for name, values in (("batch_sizes", batch_sizes), ("threads", threads)):
        listed = isinstance(values, list | tuple) and len(values) > 0
        if not listed or not all(type(n) is int and n >= 1 for n in values):  # type: ignore[attr-defined]
            raise wrong_argument(name, "a tuple of whole numbers >= 1", values)
        if name == "threads" and max(values) > _MOST_THREADS:  # type: ignore[call-overload]
            raise wrong_argument(name, f"numbers up to {_MOST_THREADS}", values)
    if not (is_number(seconds) and 0 < seconds < float("inf")):
        raise wrong_argument("seconds", "a number > 0", seconds)
    if runner not in ("auto", *RUNNERS):
        raise InputError(f"`runner` must be one of {['auto', *RUNNERS]}. Received: {runner!r}")
    check_verbose(verbose)
    return () if against == () else check_names(against, (KERAS, *RUNNERS), "against")


def _keras_model(model: object) -> Any:
    """The Keras model itself, loaded where its path was given."""
    if isinstance(model, str | PathLike):
        from keras_trt.models.load_model import load_model

        return load_model(model, compile=False)
    if model is not None and not is_keras(model):
        raise wrong_argument("model", "a Keras model or the path of a `.keras` file", model)
    return model


def _exported(
    subjects: Mapping[str, Any], model: object, stack: ExitStack
) -> tuple[dict[str, str | PathLike[str] | EngineModel], Any]:
    """Bundles in place of Keras models, and the model that Keras is measured with."""
    bundles = {}
    for label, subject in subjects.items():
        bundles[label] = subject
        if is_keras(subject):
            from keras_trt.exporting.export import export

            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            export(subject, folder / "bundle", engine=None, verbose=0)
            bundles[label], model = folder / "bundle", subject if model is None else model
    return bundles, model


def _check_alike(contenders: Sequence[Running]) -> None:
    first = contenders[0]
    wanted = [(s.name, s.shape) for s in first.model.inputs]
    for other in contenders[1:]:
        given = [(s.name, s.shape) for s in other.model.inputs]
        if given != wanted:
            raise InputError(
                f"What is compared must take the same inputs. Received: {first.label!r} takes {wanted}, "
                f"{other.label!r} takes {given}"
            )


def _facts(one: Running, rows: Rows, batch: int, score: Score | None) -> Contender:
    """What holds for all batch sizes; runs the largest one."""
    with growth() as grown:
        one.model.predict_on_batch(rows.batch(batch))
    measured = None
    if score is not None:
        predictions = one.model.predict(rows.all(), batch_size=batch, verbose=0)
        measured = score.of(rows.targets, predictions)
    known = one.grown is not None and grown.bytes is not None
    memory = (one.grown or 0) + (grown.bytes or 0) if known else None
    return Contender(one.name, one.label, one.runner, one.reason, one.precision, one.bytes, memory, measured)


def _timings(
    contenders: Sequence[Running],
    rows: Rows,
    batch_sizes: Sequence[int],
    threads: Sequence[int],
    seconds: float,
    verbose: int,
) -> Iterator[Timing]:
    import numpy as np

    for batch in batch_sizes:
        x = rows.batch(batch)
        calls = {one.name: partial(one.model.predict_on_batch, x) for one in contenders}
        for count in threads:
            say(f"measuring batches of {batch} from {count} threads ...", verbose)
            with _quiet_switches():
                turns = take_turns(calls, threads=count, seconds=seconds)
            for one in contenders:
                taken, reference = turns[one.name], turns[contenders[-1].name]
                p50, p90, p99 = (float(p) for p in 1e3 * np.percentile(taken.seconds, (50, 90, 99)))
                rate = batch * taken.per_second
                faster = times_faster(taken, reference)
                yield Timing(one.name, batch, count, p50, p90, p99, rate, faster, len(taken.seconds))


@contextmanager
def _quiet_switches() -> Iterator[None]:
    """Without Python's collection of garbage, which would fall upon whoever is measured at that moment."""
    import gc

    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _split(contenders: Sequence[Running], batch_sizes: Sequence[int]) -> list[str]:
    """Which batches an engine does not take as they are."""
    notes = []
    for one in (c for c in contenders if isinstance(c.model, EngineModel)):
        low, high = one.model.runner.batch_range
        odd = [n for n in batch_sizes if n < low or (high is not None and n > high)]
        if odd:
            ends = f"{low} to {high}" if high is not None else f"{low} or more"
            notes.append(f"{one.name} takes batches of {ends}: those of {odd} were padded or split.")
    return notes


def _modules(contenders: Sequence[Running]) -> list[str]:
    """The modules that computed something."""
    names = []
    for one in contenders:
        if isinstance(one.model, EngineModel):
            names.append(one.runner.partition("-")[0])
        else:
            names += [type(one.model).__module__.partition(".")[0], "tensorflow"]
    return [name for name in dict.fromkeys(names) if deps.available(name)]
