"""What `predict` shows and tells while it runs: a bar, and Keras callbacks."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from itertools import chain, islice
from typing import Any

from keras_trt._base.arguments import check_verbose, wrong_argument
from keras_trt._base.say import say

_DRAWING = threading.Lock()  # one bar at a time


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
