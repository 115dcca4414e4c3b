"""Bundles in MLflow, by its `pyfunc` flavour: logged, registered, loaded and served as any other model."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from keras_trt._base.arguments import check_path
from keras_trt._base.nests import map_nest
from keras_trt._base.tensors import TensorSpec
from keras_trt._machine.deps import require
from keras_trt.bundle import read_bundle
from keras_trt.errors import InputError
from keras_trt.runtime import load
from keras_trt.runtime.engine_model import EngineModel

__all__ = ["pyfunc"]


def pyfunc(bundle: str | os.PathLike[str]) -> dict[str, Any]:
    """The arguments of `mlflow.pyfunc.log_model` and `save_model` for a bundle.

    MLflow keeps a copy of the bundle as it is, nothing is pickled, and `mlflow.pyfunc.load_model` loads it as
    `keras_trt.load` does; `model_config={"runner": "openvino"}` says what is to compute. The signature is the
    bundle's: a model of one input takes an array, one of several a dict of arrays by name.

    Args:
        bundle: The folder that `export` wrote.

    Returns:
        `loader_module`, `data_path`, `signature`, `pip_requirements` and `metadata`.

    Raises:
        BundleError: No whole bundle there.
        MissingDependencyError: MLflow is not installed.

    Example:
        >>> mlflow.pyfunc.log_model(name="digits", **keras_trt.mlflow.pyfunc("digits.bundle"))
        >>> mlflow.pyfunc.load_model("models:/digits/1").predict(x)
    """
    models = require("mlflow.models", install="mlflow", why="`keras_trt.mlflow`")
    types = require("mlflow.types", install="mlflow", why="`keras_trt.mlflow`")
    whole = read_bundle(check_path(bundle, "bundle"))
    manifest = whole.manifest

    def schema(specs: tuple[TensorSpec, ...]) -> Any:
        return types.Schema(
            [
                types.TensorSpec(
                    np.dtype("float32" if spec.dtype == "bfloat16" else spec.dtype),
                    tuple(size if isinstance(size, int) else -1 for size in spec.shape),
                    spec.name if len(specs) > 1 else None,
                )
                for spec in specs
            ]
        )

    return {
        "loader_module": __name__,
        "data_path": str(whole.path),
        "signature": models.ModelSignature(schema(manifest.inputs), schema(manifest.outputs)),
        "pip_requirements": [f"keras-trt[openvino,onnxruntime]=={manifest.keras_trt_version}"],
        "metadata": {"precision": manifest.precision, "onnx_sha256": manifest.onnx_sha256},
    }


class _BundleModel:
    """What MLflow calls: an engine that predicts.

    Args:
        engine: A loaded bundle.
    """

    def __init__(self, engine: EngineModel) -> None:
        self.engine = engine

    def predict(self, data: object, params: object = None) -> Any:
        """What `EngineModel.predict` gives.

        Args:
            data: An array or a table of numbers for one input, else a dict of arrays by input name.
            params: Of no effect; MLflow passes it.

        Raises:
            InputError: Inputs are missing.
        """
        manifest = self.engine.bundle.manifest
        names = [spec.name for spec in manifest.inputs]
        arrays = dict(data) if isinstance(data, Mapping) else {names[0]: np.asarray(data)}
        if missing := sorted(set(names) - set(arrays)):
            raise InputError(f"The bundle has the inputs {names}. Missing: {missing}")
        x = map_nest(lambda name, _: np.asarray(arrays[name]), manifest.input_structure)
        return self.engine.predict(x, verbose=0)


def _load_pyfunc(path: str, model_config: Mapping[str, Any] | None = None) -> _BundleModel:
    """What MLflow's loader asks a `loader_module` for."""
    return _BundleModel(load(path, (model_config or {}).get("runner", "auto"), verbose=0))
