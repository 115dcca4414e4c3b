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
from typing import TYPE_CHECKING, Any

from keras_trt._registering import register_when_imported

if TYPE_CHECKING:
    from keras_trt import callbacks as callbacks
    from keras_trt import errors as errors
    from keras_trt import fuse as fuse
    from keras_trt import generation as generation
    from keras_trt import keras as keras
    from keras_trt import mlflow as mlflow
    from keras_trt import prune as prune
    from keras_trt import quantize as quantize
    from keras_trt import ray as ray
    from keras_trt import schemes as schemes
    from keras_trt import tfmot as tfmot
    from keras_trt._keras.kernels import register_layer as register_layer
    from keras_trt.building.build import build as build
    from keras_trt.compare.verify import verify as verify
    from keras_trt.diagnosis.doctor import doctor as doctor
    from keras_trt.engine import EngineConfig as EngineConfig
    from keras_trt.exporting.export import export as export
    from keras_trt.exporting.plan import plan as plan
    from keras_trt.exporting.tftrt import TFTRTOptions as TFTRTOptions
    from keras_trt.fuse import fuse_model as fuse_model
    from keras_trt.fuse import merge_models as merge_models
    from keras_trt.inspection.inspect import inspect as inspect
    from keras_trt.measuring.benchmark import benchmark as benchmark
    from keras_trt.models.load_model import load_model as load_model
    from keras_trt.models.report import report as report
    from keras_trt.models.save_model import save_model as save_model
    from keras_trt.models.strip import strip as strip
    from keras_trt.prune import prune_model as prune_model
    from keras_trt.quantize import calibrate as calibrate
    from keras_trt.quantize import quantize_model as quantize_model
    from keras_trt.quantize import sensitivity as sensitivity
    from keras_trt.quantize.recipes.recipe import Recipe as Recipe
    from keras_trt.runtime import load as load
    from keras_trt.serving.repository import triton as triton
    from keras_trt.serving.serve import serve as serve

__all__ = [
    # Change a model
    "quantize_model",
    "prune_model",
    "fuse_model",
    "merge_models",
    "calibrate",
    "strip",
    "register_layer",
    "Recipe",
    # Look before and after
    "plan",
    "report",
    "sensitivity",
    # To disk and back, as Keras models
    "save_model",
    "load_model",
    # To an engine and back
    "export",
    "build",
    "EngineConfig",
    "TFTRTOptions",
    "verify",
    "load",
    "benchmark",
    "inspect",
    "doctor",
    # To those who ask for predictions
    "serve",
    "triton",
    # Modules
    "callbacks",
    "errors",
    "fuse",
    "generation",
    "keras",
    "mlflow",
    "prune",
    "quantize",
    "ray",
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
    "strip": "keras_trt.models.strip",
    "register_layer": "keras_trt._keras.kernels",
    "sensitivity": "keras_trt.quantize",
    "Recipe": "keras_trt.quantize.recipes.recipe",
    "report": "keras_trt.models.report",
    "save_model": "keras_trt.models.save_model",
    "load_model": "keras_trt.models.load_model",
    "export": "keras_trt.exporting.export",
    "build": "keras_trt.building.build",
    "EngineConfig": "keras_trt.engine",
    "plan": "keras_trt.exporting.plan",
    "TFTRTOptions": "keras_trt.exporting.tftrt",
    "verify": "keras_trt.compare.verify",
    "load": "keras_trt.runtime",
    "benchmark": "keras_trt.measuring.benchmark",
    "inspect": "keras_trt.inspection.inspect",
    "doctor": "keras_trt.diagnosis.doctor",
    "serve": "keras_trt.serving.serve",
    "triton": "keras_trt.serving.repository",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        home = importlib.import_module(_HOMES.get(name, f"{__name__}.{name}"))
    except ModuleNotFoundError as e:
        if e.name is None or e.name.partition(".")[0] == __name__:
            raise
        from keras_trt.errors import MissingDependencyError

        raise MissingDependencyError(
            f"`keras_trt.{name}` needs `{e.name}`, which is not installed. Training and export need more "
            "packages than prediction: pip install 'keras-trt[keras]'"
        ) from e
    return getattr(home, name) if name in _HOMES else home


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


register_when_imported()
