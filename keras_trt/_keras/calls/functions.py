"""Runs a user's `tf.function`s inline, where a trace would keep what was true when it was made.

A `tf.function` inside a model (a layer's `call`, a method that `call` uses, a function beside it) is traced
at its first call and runs that trace from then on. What our layers read while they are traced would be frozen
in it: whether ranges are being measured, whether the model is being exported, which kernels are rounded.
"""

from __future__ import annotations

import functools
import sys
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from types import ModuleType
from typing import Any

import numpy as np

from keras_trt._machine.process import alone

_INLINE: ContextVar[bool] = ContextVar("keras_trt_inline_functions", default=False)


@contextmanager
def inlined() -> Iterator[None]:
    """While open (in this thread), `tf.function`s run as the Python that they were made from.

    Inside another graph Python's `if` and `for` over tensors become graph ops, as in the functions
    themselves. Functions that TensorFlow and Keras make for themselves run as they are.
    """
    if "tensorflow" in sys.modules:  # else there is no such function
        _let_inline()
    token = _INLINE.set(True)
    try:
        yield
    finally:
        _INLINE.reset(token)


def forget_traces(owner: object) -> None:
    """Makes the `tf.function`s among an object's methods and attributes trace anew at their next call."""
    if "tensorflow" not in sys.modules:
        return
    function_class = _let_inline()
    methods = {k: v for cls in reversed(type(owner).__mro__) for k, v in vars(cls).items()}
    for method in methods.values():
        if isinstance(method, function_class):
            method._descriptor_cache.pop(owner, None)  # the method bound to this object, with its traces
    for name, value in list(vars(owner).items()):
        if isinstance(value, function_class) and _is_of_a_user(value.python_function):
            object.__setattr__(owner, name, value._clone(None))


@functools.cache
def _let_inline() -> Any:
    """Teaches TensorFlow's class of functions to ask, once per process; without `inlined` nothing changes."""
    import tensorflow as tf

    function_class = type(tf.function(lambda: None))
    with alone():
        if not hasattr(function_class.__call__, "asks"):  # another thread may have been here
            function_class.__call__ = _asking(tf, function_class.__call__)
    return function_class


def _asking(tf: ModuleType, original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def call(self: Any, *args: object, **kwargs: object) -> Any:
        if not (_INLINE.get() and _is_of_a_user(self.python_function)):
            return original(self, *args, **kwargs)
        args, kwargs = tf.nest.map_structure(
            lambda x: tf.convert_to_tensor(x) if isinstance(x, np.ndarray) else x, (args, kwargs)
        )
        return _in_place(tf, self.python_function)(*args, **kwargs)

    call.asks = True  # type: ignore[attr-defined]
    return call


def _is_of_a_user(function: object) -> bool:
    """Whether it may reach a model's layers: all but functions that TensorFlow or Keras define."""
    root = str(getattr(function, "__module__", "")).split(".")[0]
    return not isinstance(function, types.FunctionType) or root not in ("tensorflow", "keras", "tf_keras")


def _in_place(tf: ModuleType, function: object) -> Any:
    """The Python function, its control flow over tensors converted where a graph is built."""
    if tf.executing_eagerly():
        return function
    autograph = tf.__internal__.autograph
    status = autograph.control_status_ctx()
    return autograph.tf_convert(function, type(status)(type(status.status).ENABLED))
