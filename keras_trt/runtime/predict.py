"""The predict loop: any number of rows through a runner that takes a limited range of batch sizes."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import closing
from typing import Any

import numpy as np

from keras_trt._base.arguments import check_count
from keras_trt._base.formats import dtype_of
from keras_trt._base.nests import Nest, map_nest
from keras_trt._base.tensors import BATCH_AXIS, TensorSpec
from keras_trt.data.source import batches_made, is_dataset, slices, unpacked
from keras_trt.errors import InputError
from keras_trt.runtime.feeds import Feeds, batch_of, cast
from keras_trt.runtime.progress import PredictCallbacks
from keras_trt.runtime.runners.runner import Runner

Specs = tuple[Any, ...]


def run_rows(runner: Runner, feeds: Feeds, inputs: Specs, outputs: Specs) -> Feeds:
    """Runs any number of rows: more than the runner takes are split, fewer are padded and cut off again.

    Args:
        runner: Takes `runner.batch_range` rows at a time.
        feeds: Checked arrays by input name, not cast yet.
        inputs: Their specs, the batch axis named.
        outputs: The outputs' specs, the batch axis named.

    Returns:
        One array per output, of its spec's dtype; those with a batch axis have as many rows as the feeds.

    Raises:
        InputError: The rows must be split or padded, and an output has an open axis of its own in the
            batch's place: which of its entries belong to which row is not known.
    """
    sizes = _split(runner, batch_of(feeds, inputs), outputs)
    pieces = _pieces(runner, feeds, inputs, sizes)
    if len(sizes) == 1:
        return _joined([runner.run(next(pieces))], sizes, outputs)
    with closing(runner.run_many(pieces)) as results:
        return _joined([*results], sizes, outputs)


def run_batches(
    runner: Runner, batches: Iterable[Feeds], inputs: Specs, outputs: Specs
) -> Generator[Feeds, None, None]:
    """The results of `run_rows` for batch after batch, in order; the runner may take a few batches ahead."""
    waiting: deque[list[int]] = deque()  # the rows of every piece of the batches under way

    def pieces() -> Iterator[Feeds]:
        for feeds in batches:
            waiting.append(_split(runner, batch_of(feeds, inputs), outputs))
            yield from _pieces(runner, feeds, inputs, waiting[-1])

    with closing(runner.run_many(pieces())) as results:
        done: list[Feeds] = []
        for result in results:
            done.append(result)
            if len(done) == len(waiting[0]):
                yield _joined(done, waiting.popleft(), outputs)
                done = []


def run_told(
    runner: Runner,
    batches: Iterable[Feeds],
    inputs: Specs,
    outputs: Specs,
    told: PredictCallbacks,
    filled: Callable[[Feeds], object],
) -> Feeds:
    """All rows of batch after batch, joined; callbacks are told of each, with its results `filled`.

    Raises:
        InputError: There is no batch, or the results of several cannot be joined.
    """
    done: list[Feeds] = []
    with closing(_results(runner, batches, inputs, outputs, told)) as results:
        for step, result in enumerate(results):
            done.append(result)
            told("batch_end", step, {"outputs": filled(result)})
    if not done:
        raise InputError("`x` holds no batch to predict. Received: an empty data set.")
    return {s.name: join([result[s.name] for result in done], s) for s in outputs}


def _results(
    runner: Runner, batches: Iterable[Feeds], inputs: Specs, outputs: Specs, told: PredictCallbacks
) -> Generator[Feeds, None, None]:
    if told.any:  # one after the other, as callbacks are told
        for step, feeds in enumerate(batches):
            told("batch_begin", step)
            yield run_rows(runner, feeds, inputs, outputs)
    else:
        with closing(run_batches(runner, batches, inputs, outputs)) as results:
            yield from results


def batches_of(
    x: object,
    named: Callable[[object], Feeds],
    inputs: Specs,
    batch_size: int | None,
    steps: int | None,
) -> tuple[Iterable[Feeds], int | None]:
    """The batches that data comes in or is cut into, each by its inputs' names, and how many if known.

    Raises:
        InputError: A wrong `batch_size` or `steps`, or what `named` raises.
    """
    for name, value in (("batch_size", batch_size), ("steps", steps)):
        check_count(value, name)
    if is_dataset(x):
        source = batches_made(x, steps)
        return (named(unpacked(item, len(inputs))[0]) for item in source.items), source.count
    feeds = named(x)
    rows = batch_of(feeds, inputs)
    size = batch_size or (-(-rows // steps) if steps else 32)  # Keras spreads the rows over the steps
    cuts = slices(rows, max(size, 1), steps)
    return (cut(feeds, inputs, rows) for rows in cuts), len(cuts)


def _pieces(runner: Runner, feeds: Feeds, inputs: Specs, sizes: list[int]) -> Iterator[Feeds]:
    start = 0
    for size in sizes:
        piece = cast(cut(feeds, inputs, slice(start, start + size)), inputs)
        wanted = runner.batch_for(size)
        yield _pad(piece, inputs, wanted) if wanted > size else piece
        start += size


def _joined(results: list[Feeds], sizes: list[int], outputs: Specs) -> Feeds:
    rows = [cut(result, outputs, slice(size)) for result, size in zip(results, sizes, strict=True)]
    joined = {s.name: join([result[s.name] for result in rows], s) for s in outputs}
    # A graph may be wider than what Keras returns, and so may a runner than the graph.
    return {s.name: joined[s.name].astype(dtype_of(s.dtype), copy=False) for s in outputs}


def run_on_device(runner: Runner, feeds: Feeds, inputs: Specs, outputs: Specs) -> Feeds:
    """Runs one batch and leaves its results on the GPU.

    Raises:
        InputError: The runner does not take so many rows at once: nothing is split, padded or cast there.
        RunnerError: The runner computes on the CPU.
    """
    rows = batch_of(feeds, inputs)
    low, high = runner.batch_range
    if runner.batch_for(rows) != rows or (high is not None and rows > high):
        raise InputError(
            f"Results stay on the GPU for whole batches only. Received: {rows} rows; the engine takes "
            f"{_range(low, high)}"
        )
    return runner.run_on_device(cast(feeds, inputs))


def _split(runner: Runner, rows: int, outputs: Specs) -> list[int]:
    """How many rows go into each piece."""
    if not rows:
        raise InputError("`x` holds no row to predict. Received: a batch of 0 rows.")
    low, high = runner.batch_range
    size = rows if high is None else high
    sizes = [min(size, rows - start) for start in range(0, rows, size)]
    if len(sizes) > 1 or runner.batch_for(sizes[-1]) > sizes[-1]:
        _check_rows(rows, low, high, outputs)
    return sizes


def join(batches: list[np.ndarray], spec: TensorSpec) -> np.ndarray:
    """Concatenates batches of one output along the first axis, as Keras does; one batch is not copied.

    Raises:
        InputError: They do not fit together, as where the batch is not the first axis.
    """
    if len(batches) == 1:
        return batches[0]
    if len({batch.shape[1:] for batch in batches}) == 1 and batches[0].ndim:
        return np.concatenate(batches)
    shapes = ", ".join(str(shape) for shape in dict.fromkeys(batch.shape for batch in batches))
    raise InputError(
        f"Output `{spec.name}` {spec.shape} cannot be joined over several batches along its first axis. "
        f"Received: {len(batches)} batches with results of shape {shapes}. Predict in one batch: pass a "
        "`batch_size` of all rows, or use `predict_on_batch`."
    )


def fill(structure: Nest, arrays: Mapping[str, np.ndarray]) -> Any:
    """A nest of tensor names with the arrays in the names' places."""
    return map_nest(lambda name, _: arrays[name], structure)


def cut(arrays: Mapping[str, np.ndarray], specs: Specs, rows: slice) -> Feeds:
    """Some rows of every array that has a batch axis; views, not copies."""
    return {s.name: arrays[s.name][rows] if _has_batch(s) else arrays[s.name] for s in specs}


def _pad(feeds: Feeds, specs: Specs, size: int) -> Feeds:
    """Repeats the last row, so that no row overflows that did not before; GPU arrays come to the host."""
    return {
        s.name: _padded(np.asarray(feeds[s.name]), size) if _has_batch(s) else feeds[s.name] for s in specs
    }


def _padded(array: np.ndarray, size: int) -> np.ndarray:
    return np.concatenate([array, np.repeat(array[-1:], size - len(array), axis=0)])


def _check_rows(rows: int, low: int, high: int | None, outputs: Specs) -> None:
    for spec in outputs:
        if spec.shape and isinstance(spec.shape[0], str) and not _has_batch(spec):
            raise InputError(
                f"The first axis of output `{spec.name}` {spec.shape} is not the batch: which entries belong "
                "to which row is not known, so batches are neither split nor padded. "
                f"Received: {rows} rows; the engine takes {_range(low, high)}. "
                f"Use `predict(x, batch_size={high or low})`, or export again with another `batch`."
            )


def _range(low: int, high: int | None) -> str:
    if high is None:
        return f"{low} or more"
    return str(low) if low == high else f"{low} to {high}"


def _has_batch(spec: Any) -> bool:
    return bool(spec.shape[:1] == (BATCH_AXIS,))
