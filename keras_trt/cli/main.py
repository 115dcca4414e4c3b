"""The entry of `keras-trt`: parses, runs a subcommand, prints its result, and says errors in one line."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, redirect_stdout
from pathlib import Path
from typing import TextIO

from keras_trt.cli import INTERRUPTED
from keras_trt.cli.parser import command, make_parser
from keras_trt.cli.places import check_places
from keras_trt.cli.result import Result, UsageError
from keras_trt.cli.silence import silenced
from keras_trt.cli.usage import wrong_option
from keras_trt.errors import InputError, KerasTRTError

FAILED, USAGE = 1, 2

_IN_PYTHON = (  # what an error says, which option is not set, how that is typed
    ("overwrite=True", "overwrite", "--overwrite"),
    ("calibration_data", "calibrate", "--calibrate FILE"),
    ("safe_mode", "unsafe", "--unsafe, only for files you trust"),
    ("custom_objects", "custom_objects", "--custom-objects MODULE:NAMES"),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line.

    Args:
        arguments: Those of this process when None.

    Returns:
        The exit code: 0 done, 1 the work failed, 2 wrong usage, 130 interrupted by Ctrl-C.

    Example:
        >>> main(["inspect", "digits.bundle"])  # doctest: +SKIP
        0
    """
    _open_streams()
    try:
        with _interrupts():
            options = make_parser().parse_args(arguments)
    except SystemExit as e:  # argparse has said what is wrong, or has shown its help
        return _flushed(e.code if isinstance(e.code, int) else USAGE)
    except BrokenPipeError:
        return _unread()
    except KeyboardInterrupt:
        sys.stderr.write("keras-trt: interrupted before anything was done\n")
        return INTERRUPTED
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # TensorFlow would tell of the GPU that is not here
    with _interrupts() as interrupts:
        try:
            with _own_streams(options) as out:
                check_places(options)
                result = command(options.command).run(options)
                _show(result, options, out)
            return FAILED if result.failed else 0
        except (Exception, KeyboardInterrupt) as e:
            error = KeyboardInterrupt() if interrupts else _as_usage(e, options)
            if options.debug and not isinstance(error, KeyboardInterrupt | BrokenPipeError):
                raise
        code, text = _ending(error, options)
        if text:
            sys.stderr.write(f"keras-trt {options.command}: {_one_line(text)}\n")
        return code


def _open_streams() -> None:
    """Has somewhere to write to where a shell has closed stdout or stderr (`>&-`)."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115


def _flushed(code: int) -> int:
    """The exit code of what was written, now that it is really written."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        return _unread()
    return code


def _unread() -> int:
    """Of output whose reader has left, e.g. `head`: Python shall not write the rest to it when it ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    return FAILED


@contextmanager
def _interrupts() -> Iterator[list[int]]:
    """The Ctrl-C so far: what C++ code makes of one that it is called back with may be any error."""
    interrupts: list[int] = []

    def interrupt(number: int, _: object) -> None:
        interrupts.append(number)
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield interrupts
        return
    before = signal.signal(signal.SIGINT, interrupt)
    try:
        yield interrupts
    finally:
        signal.signal(signal.SIGINT, before)


def _as_usage(error: BaseException, options: argparse.Namespace) -> BaseException:
    """The error, as one of usage where it is about a value that was typed."""
    flag = wrong_option(error, options) if isinstance(error, InputError) else None
    return error if flag is None else UsageError(f"{flag}: {error}")


def _ending(error: BaseException, options: argparse.Namespace) -> tuple[int, str]:
    """The exit code, and what to say."""
    match error:
        case KeyboardInterrupt():
            return INTERRUPTED, "interrupted; nothing was left half-written"
        case BrokenPipeError():
            return _unread(), ""
        case UsageError():
            return USAGE, f"error: {str(error).rstrip('.')}. See: keras-trt {options.command} --help"
        case KerasTRTError():
            return FAILED, f"error: {error}{_hint(str(error), options)}"
        case MemoryError():
            return FAILED, "error: no memory is left for this"
    return FAILED, f"error: {type(error).__name__}: {error} (--debug shows where)"


def _hint(text: str, options: argparse.Namespace) -> str:
    """The options of the command line that an error speaks of in Python's words."""
    flags = [flag for words, name, flag in _IN_PYTHON if words in text and not getattr(options, name, True)]
    return f" On the command line: {', '.join(flags)}" if flags else ""


def _one_line(text: str) -> str:
    return " ".join(text.split())


@contextmanager
def _own_streams(options: argparse.Namespace) -> Iterator[TextIO]:
    """The stream for results; what else is printed meanwhile stays off it where it must be JSON alone."""
    out = sys.stdout
    options.verbose = int(not (options.json or options.quiet))
    with warnings.catch_warnings(), nullcontext() if options.debug else silenced():
        warnings.showwarning = _warn
        if options.verbose:
            yield out
        else:
            with redirect_stdout(sys.stderr):
                yield out


def _warn(message: Warning | str, category: type[Warning], *_: object, **__: object) -> None:
    """A warning in one line; those for developers of other packages are left out."""
    if not issubclass(category, DeprecationWarning | PendingDeprecationWarning | ImportWarning):
        sys.stderr.write(f"warning: {_one_line(str(message))}\n")


def _show(result: Result, options: argparse.Namespace, out: TextIO) -> None:
    if options.json:
        text = json.dumps({"text": result.text}) if result.report is None else result.report.to_json()
    elif options.quiet or (result.report is not None and result.told):
        return
    else:
        text = result.text if result.report is None else str(result.report)
    if text:
        out.write(f"{text}\n")
        out.flush()
