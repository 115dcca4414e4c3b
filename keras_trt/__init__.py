"""Prune, quantise and export Keras models to TensorRT engines, and get `predict` back.

Importing this package is cheap: TensorFlow, Keras, TF-MOT and TensorRT are loaded by the function that needs
them, when it is called. Every function takes a Keras 3 or a tf_keras model.

    import keras_trt

    model = keras_trt.quantize_model(model, calibration_data=x_train[:256])
    model.compile("adam", "sparse_categorical_crossentropy")
    model.fit(x_train, y_train)
    keras_trt.export(model, "digits.bundle")
    keras_trt.load("digits.bundle").predict(x_test)
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

from keras_trt._registering import register_when_imported

if TYPE_CHECKING:
    from keras_trt import callbacks as callbacks
    from keras_trt import errors as errors
    from keras_trt import fuse as fuse
    from keras_trt import generation as generation
    from keras_trt import keras as keras
    from keras_trt import prune as prune
    from keras_trt import quantize as quantize
    from keras_trt import schemes as schemes
    from keras_trt import tfmot as tfmot
    from keras_trt._keras.kernels import register_layer as register_layer
    from keras_trt.export import export as export  # type: ignore[no-redef]  # its room has the same name
    from keras_trt.export import plan as plan  # type: ignore[no-redef]
    from keras_trt.export import verify as verify  # type: ignore[no-redef]
    from keras_trt.fuse import fuse_model as fuse_model
    from keras_trt.fuse import merge_models as merge_models
    from keras_trt.models import load_model as load_model
    from keras_trt.models import report as report
    from keras_trt.models import save_model as save_model
    from keras_trt.models import strip as strip
    from keras_trt.prune import prune_model as prune_model
    from keras_trt.quantize import calibrate as calibrate
    from keras_trt.quantize import quantize_model as quantize_model
    from keras_trt.quantize import sensitivity as sensitivity
    from keras_trt.runtime import load as load

__all__ = [
    # Change a model
    "quantize_model",
    "prune_model",
    "fuse_model",
    "merge_models",
    "calibrate",
    "strip",
    "register_layer",
    # Look before and after
    "plan",
    "report",
    "sensitivity",
    # To disk and back, as Keras models
    "save_model",
    "load_model",
    # To an engine and back
    "export",
    "verify",
    "load",
    # Modules
    "callbacks",
    "errors",
    "fuse",
    "generation",
    "keras",
    "prune",
    "quantize",
    "schemes",
    "tfmot",
]

# Where each function lives; a public name that is not here is a module of its own.
_HOMES = {
    "quantize_model": "keras_trt.quantize",
    "prune_model": "keras_trt.prune",
    "fuse_model": "keras_trt.fuse",
    "merge_models": "keras_trt.fuse",
    "calibrate": "keras_trt.quantize",
    "strip": "keras_trt.models",
    "register_layer": "keras_trt._keras.kernels",
    "sensitivity": "keras_trt.quantize",
    "report": "keras_trt.models",
    "save_model": "keras_trt.models",
    "load_model": "keras_trt.models",
    "export": "keras_trt.export",
    "plan": "keras_trt.export",
    "verify": "keras_trt.export",
    "load": "keras_trt.runtime",
}


class _FrontDoor(ModuleType):
    """This module, whose functions `export` and `report` share their names with rooms.

    Python binds a subpackage to its name here whenever it is first imported, from anywhere. The room stays
    reachable by `from keras_trt.export import ...`; the name here stays the function's.
    """

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name in _HOMES and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _FrontDoor


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = importlib.import_module(_HOMES.get(name, f"{__name__}.{name}"))
    if name not in _HOMES:
        return home
    function, room = getattr(home, name), sys.modules.get(f"{__name__}.{name}")
    if room is not None:
        function.__dict__ = vars(room)  # `import keras_trt.export.passes as p` looks for `passes` here
    return function


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


register_when_imported()
