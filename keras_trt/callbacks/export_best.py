"""`ExportBest`: the best bundle of a training, as Keras's `ModelCheckpoint` keeps the best model."""

from __future__ import annotations

import glob
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from string import Formatter
from typing import Any

from keras_trt._base.arguments import check_count, check_path, check_verbose
from keras_trt._base.say import say
from keras_trt.bundle import read_bundle
from keras_trt.callbacks.base import Callback
from keras_trt.callbacks.exported import check_options, exported, warn_of_failure
from keras_trt.callbacks.monitored import Monitored
from keras_trt.errors import BundleError, InputError
from keras_trt.exporting.labels import check_metadata

NOTE = "export_best"
"""The entry of a bundle's metadata that says of which epoch it is and how good."""
MARK = "export_failed"


class ExportBest(Callback):
    """Exports the model whenever a metric is the best so far, over the bundle of before.

    The model, its optimizer and what Keras has compiled of it stay as they are: a training with this callback
    gives the numbers of one without. The bundle at `path` is replaced in one step, and only by a whole one.
    An export that fails is a warning with the reason, and training goes on; `history["export_failed"]` has 1
    for an epoch in which that happened, to any of these callbacks, and 0 for all others.

    The bundle's `metadata["export_best"]` holds the metric, its value and the epoch (from 1). A training that
    begins with a later epoch than the first (`BackupAndRestore`, or `initial_epoch`) reads the best value
    from there and goes on with it.

    Args:
        path: The folder to write. It may have `{epoch}` (from 1), `{batch}` and entries of the logs, such as
            `"digits-{epoch:02d}-{val_loss:.3f}.bundle"`; then bundles of earlier epochs stay.
        monitor: The entry of the logs that decides.
        mode: `"min"`, `"max"`, or `"auto"`, which goes by the entry's name.
        save_freq: `"epoch"`, or after how many batches to look; the logs then have what the batches so far
            of the epoch gave, and no `val_` metric.
        initial_value_threshold: Nothing is exported that is not better than this.
        verbose: 1 says when a bundle was written, and when it was not.
        **options: Options of `export`, such as `precision`, `calibration_data`, `engine` or `labels`.

    Raises:
        InputError: A wrong argument, or an entry of `path` that the logs do not have.

    Warns:
        UserWarning: The logs lack `monitor`, or an export failed.

    Example:
        >>> best = keras_trt.callbacks.ExportBest("digits.bundle", monitor="val_accuracy")
        >>> model.fit(x, y, validation_data=(x_val, y_val), epochs=5, callbacks=[best])
        >>> keras_trt.load("digits.bundle").predict(x_test)
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        monitor: str = "val_loss",
        mode: str = "auto",
        save_freq: str | int = "epoch",
        initial_value_threshold: float | None = None,
        verbose: int = 0,
        **options: object,
    ) -> None:
        super().__init__()
        self.path = _template(str(check_path(path)))
        self._monitored = Monitored(monitor, mode, initial_value_threshold)
        if save_freq != "epoch":
            if save_freq is None or isinstance(save_freq, str):
                raise InputError(
                    f'`save_freq` must be "epoch" or a number of batches. Received: {save_freq!r}'
                )
            check_count(save_freq, "save_freq")
            self.on_train_batch_end = self._look_at_batch  # type: ignore[method-assign]
        check_verbose(verbose)
        self.monitor, self.save_freq, self.verbose = monitor, save_freq, verbose
        self.options = check_options(options, "ExportBest")
        self._metadata = check_metadata(self.options.pop("metadata", None))
        self._epoch, self._batches, self._last_batch = 0, 0, -1
        self._begun = self._failed = False

    @property
    def best(self) -> float | None:
        """The best value so far; None before there is one."""
        return self._monitored.best

    def on_train_begin(self, logs: object = None) -> None:
        """A training of its own begins."""
        self._begun, self._batches, self._last_batch = False, 0, -1

    def on_epoch_begin(self, epoch: int, logs: object = None) -> None:
        """Takes over the best value of a training that goes on."""
        self._epoch, self._failed = epoch, False
        if not self._begun and epoch > 0 and self.best == self._monitored.threshold:
            self._resume()
        self._begun = True

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Exports the model if it is the best so far."""
        logs = {} if logs is None else logs
        if self.save_freq == "epoch":
            self._look(logs, epoch=epoch + 1)
        logs[MARK] = max(logs.get(MARK, 0.0), float(self._failed))  # there may be another of these

    def _look_at_batch(self, batch: int, logs: Any = None) -> None:
        self._batches += batch - self._last_batch if batch > self._last_batch else batch + 1
        self._last_batch = batch
        if self._batches >= int(self.save_freq):
            self._batches = 0
            self._look(dict(logs or {}), epoch=self._epoch + 1, batch=batch + 1)

    def _implements_train_batch_hooks(self) -> bool:
        return "on_train_batch_end" in vars(self) or super()._implements_train_batch_hooks()

    def _look(self, logs: Mapping[str, object], **now: int) -> None:
        value = self._monitored.value_in(logs)
        if value is None:
            return
        what = f"ExportBest: epoch {now['epoch']}: {self.monitor} {value:.5f}"
        before = "" if self.best is None else f", best so far {self.best:.5f}"
        if not self._monitored.is_better(value):
            say(f"{what} is no improvement{before}", self.verbose)
            return
        path = self._path(logs, now)
        if self._export(path, {"monitor": self.monitor, "value": value, **now}):
            self._monitored.best = value
            say(f"{what}{before}: exported to {path}", self.verbose)

    def _export(self, path: Path, note: dict[str, object]) -> bool:
        """Whether the model was exported; if not, its user was told."""
        try:
            exported(self.model, path, {**self.options, "metadata": {**self._metadata, NOTE: note}})
        except Exception as e:  # whatever it is, hours of training are worth more
            self._failed = True
            warn_of_failure("ExportBest", self._epoch, e, MARK)
            return False
        return True

    def _path(self, logs: Mapping[str, object], now: Mapping[str, int]) -> Path:
        entries = {**logs, **now}
        try:
            return Path(self.path.format(**entries))
        except (KeyError, IndexError, ValueError) as e:
            raise InputError(
                f"`path` cannot be filled in: {type(e).__name__}: {e}. Available: {', '.join(entries)}. "
                f"Received: path={self.path!r}"
            ) from e

    def _resume(self) -> None:
        better: Callable[..., float] = max if self._monitored.rising else min
        values = [value for value in _noted(self.path, self.monitor) if self._monitored.is_better(value)]
        if values:
            self._monitored.best = better(values)
            say(f"ExportBest: goes on from {self.monitor} {self.best:.5f}", self.verbose)


def _template(path: str) -> str:
    """The path, if it can be filled in at all.

    Raises:
        InputError: Its braces do not name entries.
    """
    try:
        fields = [name for _, name, *_ in Formatter().parse(path) if name is not None]
    except ValueError as e:
        raise InputError(
            f"`path` cannot be filled in: {e}. A brace of its own is doubled. Received: {path!r}"
        ) from e
    if any(not name or name[0].isdecimal() for name in fields):
        raise InputError(
            f"`path` must name what it is filled in with, e.g. {{epoch:02d}}. Received: {path!r}"
        )
    return path


def _noted(path: str, monitor: str) -> Iterator[float]:
    """The values that bundles of this path were exported at."""
    parsed = Formatter().parse(path)
    pattern = "".join(glob.escape(text) + ("" if name is None else "*") for text, name, *_ in parsed)
    for folder in glob.iglob(pattern):  # noqa: PTH207 - a path may be absolute
        try:
            note = read_bundle(folder, verify=False, plans=False).manifest.metadata.get(NOTE)
        except BundleError:
            continue
        value = note.get("value") if isinstance(note, dict) and note.get("monitor") == monitor else None
        if isinstance(value, int | float):
            yield float(value)
