"""The predict loop: any number of rows through a runner that takes a limited range of batch sizes."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import closing
from itertools import chain, islice
from typing import Any

import numpy as np

from keras_trt._arguments import check_verbose, wrong_argument
from keras_trt._formats import dtype_of
from keras_trt._nests import Nest
from keras_trt._say import say
from keras_trt._tensors import BATCH_AXIS, TensorSpec
from keras_trt.errors import InputError
from keras_trt.runtime.feeds import Feeds, batch_of, cast
from keras_trt.runtime.runners.runner import Runner

Specs = tuple[Any, ...]
_DRAWING = threading.Lock()  # one bar at a time


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
    if isinstance(structure, str):
        return arrays[structure]
    if isinstance(structure, dict):
        return {key: fill(child, arrays) for key, child in structure.items()}
    filled = [fill(child, arrays) for child in structure]
    return tuple(filled) if isinstance(structure, tuple) else filled


def progress(items: Iterable[object], count: int | None, verbose: int | str) -> Generator[Any, None, None]:
    """Passes the batches on and draws a bar, as Keras does; `verbose=0` draws none.

    A single batch gets none, which would take longer than the batch, nor does a thread beside one that draws.
    """
    check_verbose(verbose)
    if verbose == 2:
        yield from _counted(items)
    elif verbose == 0 or count == 1 or not _DRAWING.acquire(blocking=False):
        yield from items
    else:
        try:
            yield from _drawn(items, count)
        finally:
            _DRAWING.release()


def _counted(items: Iterable[object]) -> Iterator[Any]:
    done = 0
    for item in items:
        yield item
        done += 1
    say(f"{done}/{done}", verbose=2)


def _drawn(items: Iterable[object], count: int | None) -> Iterator[Any]:
    items = iter(items)
    held = list(islice(items, 1))
    yield from held
    held += islice(items, 1)
    if len(held) < 2:
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeElapsedColumn

    # A console of its own: the shared one may show something of the user's, and takes one display at a time.
    with Progress(MofNCompleteColumn(), BarColumn(), TimeElapsedColumn(), console=Console()) as bar:
        task = bar.add_task("predict", total=count)
        done = 1
        for item in chain(held[1:], items):
            yield item
            done += 1
            bar.update(task, completed=done)
        bar.update(task, total=done)


class PredictCallbacks:
    """Calls Keras callbacks at the points where `Model.predict` calls them."""

    def __init__(self, callbacks: Any, model: object, count: int | None, verbose: int | str) -> None:
        flat = getattr(callbacks, "callbacks", callbacks)  # a CallbackList holds them so
        self._all = list(flat) if isinstance(flat, list | tuple) else [] if flat is None else [flat]
        if not all(hasattr(callback, "on_predict_begin") for callback in self._all):
            raise wrong_argument("callbacks", "Keras callbacks", callbacks)
        self.any = bool(self._all)
        for callback in self._all:
            callback.set_params({"verbose": verbose, "epochs": 1, "steps": count})
            callback.set_model(model)

    def __call__(self, event: str, *arguments: object) -> None:
        """Tells every callback, e.g. `"batch_end"` with the step and the logs."""
        for callback in self._all:
            hook: Callable[..., None] = getattr(callback, f"on_predict_{event}")
            hook(*arguments)


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
