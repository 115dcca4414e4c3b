"""Says, while a model is traced for export, that quantisers should write exportable ops."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from keras_trt._keras.calls.functions import inlined

_EXPORTING: ContextVar[bool] = ContextVar("keras_trt_exporting", default=False)


def is_exporting() -> bool:
    """Whether the code runs inside `exporting()`."""
    return _EXPORTING.get()


@contextmanager
def exporting() -> Iterator[None]:
    """While open, quantisers emit `QuantizeAndDequantizeV2` with constant scalar ranges.

    tf2onnx turns that op into int8 QuantizeLinear/DequantizeLinear with zero point 0. In training
    they use plain ops instead, which XLA can fuse and which carry a straight-through gradient.
    A `tf.function` in the model is inlined: neither does it keep these ops, nor bring those of training.
    """
    token = _EXPORTING.set(True)
    try:
        with inlined():
            yield
    finally:
        _EXPORTING.reset(token)
