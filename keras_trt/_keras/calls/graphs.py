"""Python functions as graphs of TensorFlow."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from keras_trt._keras.flavor import Flavor
from keras_trt.errors import KerasTRTError


def as_graphs(flavor: Flavor, function: Callable[..., object]) -> Callable[..., Any]:
    """A function of tensors as graphs, one for each kind of arguments.

    Each is called itself: of a `tf.function` that is made anew for each model, TensorFlow warns that it is
    traced too often. An error of this library is raised as it is, without what Keras and AutoGraph wrap
    around it. On a backend without graphs the function runs as it is.
    """
    if not flavor.has_graphs:
        return function
    traced = flavor.tf.function(function, reduce_retracing=True)

    def run(*arguments: object) -> Any:
        with _own_errors():
            return traced.get_concrete_function(*arguments)(*arguments)

    return run


def as_graph(flavor: Flavor, function: Callable[..., object], *arguments: object) -> Any:
    """The graph that TensorFlow makes of a function for some arguments; errors as of `as_graphs`."""
    with _own_errors():
        return flavor.tf.function(function).get_concrete_function(*arguments).graph


@contextmanager
def _own_errors() -> Iterator[None]:
    try:
        yield
    except Exception as e:
        own = [error for error in _behind(e) if isinstance(error, KerasTRTError)]
        if not own:
            raise
        raise own[-1] from None


def _behind(error: BaseException | None) -> Iterator[BaseException]:
    """The error, and those in whose handling it was raised, the first last."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
