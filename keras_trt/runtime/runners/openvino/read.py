"""Reads a bundle's graph for OpenVINO, its large weights left in the file that they are in."""

from __future__ import annotations

import mmap
from pathlib import Path
from typing import Any

import numpy as np

from keras_trt.runtime.runners.mapped import Place, weights_as_inputs

# By their numbers in ONNX: the types that NumPy has, too.
_DTYPES: dict[int, type[np.generic]] = {
    1: np.float32,
    2: np.uint8,
    3: np.int8,
    6: np.int32,
    7: np.int64,
    10: np.float16,
}


def read(core: Any, openvino: Any, file: Path) -> Any:
    """The model of an ONNX file.

    OpenVINO holds what it has read beside what it lays out for the processor, so a network took twice its
    weights. Pages of a mapped file are given up when memory is short. It maps only weights in files of their
    own; of this one it reads the graph with an input for each large weight, which then becomes a constant.
    """
    try:
        graph, places = weights_as_inputs(file, frozenset(_DTYPES))
        model = core.read_model(graph if places else str(file))
    except (ValueError, IndexError, RuntimeError):
        # An operator that must know a large weight to be read; or no ONNX file, of which OpenVINO tells.
        return core.read_model(str(file))
    inputs = {name: p for p in model.get_parameters() for name in p.output(0).get_names()}
    with file.open("rb") as opened:
        # As if it could be written to, which OpenVINO asks for; nothing does.
        data = np.frombuffer(mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_COPY), np.uint8)
    for place in places:
        if place.name not in inputs:  # nothing reads it
            continue
        constant = openvino.op.Constant(_weight(data, place), shared_memory=True)
        constant.set_friendly_name(place.name)
        inputs[place.name].output(0).replace(constant.output(0))
        model.remove_parameter(inputs[place.name])
    model.validate_nodes_and_infer_types()
    return model


def _weight(data: np.ndarray, place: Place) -> np.ndarray:
    return data[place.start : place.end].view(_DTYPES[place.data_type]).reshape(place.dims)
