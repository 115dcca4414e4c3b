"""What the library tells its user while it works: logged always, printed where `verbose` asks for it."""

from __future__ import annotations

import logging

LOGGER = logging.getLogger("keras_trt")
LOGGER.addHandler(logging.NullHandler())


def say(text: object, verbose: int | bool | str, level: int = logging.INFO) -> None:
    """Logs a text with the logger `keras_trt`, and prints it unless `verbose` is 0, as Keras does."""
    LOGGER.log(level, "%s", text)
    if verbose:
        print(text, flush=True)


def say_begun(what: str, verbose: int | bool | str) -> None:
    """Prints a line that `say_done` completes."""
    LOGGER.debug("%s ...", what.strip())
    if verbose:
        print(f"{what} ...", end="", flush=True)


def say_done(what: str, result: str, verbose: int | bool | str) -> None:
    """Writes the result over the line that `say_begun` began."""
    LOGGER.info("%s: %s", what.strip(), result.strip())
    if verbose:
        print(f"\r{what} {result}", flush=True)
