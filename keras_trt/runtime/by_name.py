"""Predicting with arrays by name, for those who have tensors of a protocol or columns of a table."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from keras_trt._base.nests import map_nest, zip_nests
from keras_trt.runtime.engine_model import EngineModel


def predict_by_name(engine: EngineModel, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What the engine makes of one batch, by output name.

    Args:
        engine: A loaded bundle.
        arrays: One by input name.

    Returns:
        Arrays in the types of the graph: bfloat16, which `predict` may return, is none of NumPy's.
    """
    manifest = engine.bundle.manifest
    results = engine.predict_on_batch(map_nest(lambda name, _: arrays[name], manifest.input_structure))
    by_name = dict(zip_nests(manifest.output_structure, results))
    return {spec.name: np.asarray(by_name[spec.name], spec.dtype) for spec in manifest.outputs}
