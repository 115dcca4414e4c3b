"""Every error this library raises: one base class, and a builtin beside it so either can be caught."""

from __future__ import annotations

__all__ = [
    "KerasTRTError",
    "ModelError",
    "InputError",
    "MissingDependencyError",
    "ExportError",
    "BundleError",
    "BundleExistsError",
    "EngineError",
    "RunnerError",
]


class KerasTRTError(Exception):
    """Base of all errors raised on purpose by keras_trt."""


class ModelError(KerasTRTError, ValueError):
    """The Keras model cannot be used as asked (not built, wrong backend, nothing to quantise)."""


class InputError(KerasTRTError, ValueError):
    """An argument or a piece of data is wrong (shape, dtype, name, value)."""


class MissingDependencyError(KerasTRTError, ImportError):
    """An optional package is missing or too old; the message carries the pip line."""


class ExportError(KerasTRTError, RuntimeError):
    """The model could not be turned into an ONNX file that TensorRT takes."""


class BundleError(KerasTRTError, ValueError):
    """The folder at a path is not a readable bundle."""


class BundleExistsError(BundleError, FileExistsError):
    """Something is already at the path and `overwrite=True` was not given."""


class EngineError(KerasTRTError, RuntimeError):
    """TensorRT refused the network or the engine build failed."""


class RunnerError(KerasTRTError, RuntimeError):
    """No runner can run the bundle here, or running it failed."""
