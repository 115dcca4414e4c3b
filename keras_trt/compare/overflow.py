"""Finds the layers whose values leave float16's range, by running a float32 graph on data."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnx_ir as ir

from keras_trt._base.formats import FLOAT16_MAX
from keras_trt._base.tensors import TensorSpec
from keras_trt._machine.deps import available
from keras_trt.bundle import Bundle
from keras_trt.compare.numbers import without_rounding
from keras_trt.errors import RunnerError
from keras_trt.onnx_passes import _graph as g
from keras_trt.onnx_passes.naming import layer_of
from keras_trt.packing.manifest import manifest_of
from keras_trt.packing.write import write_onnx
from keras_trt.runtime.engine_model import EngineModel
from keras_trt.runtime.runners.cpu import CPU_RUNNERS, FAITHFUL_FIRST, INSTALL

if TYPE_CHECKING:
    from keras_trt.trace.trace import Trace

LIMIT = FLOAT16_MAX / 2
"""The largest magnitude that is left to float16; data yet to come may reach further than what was given."""

_OUTPUT = "largest_values"
_SHAPE_ONLY = ("Shape", "Size")

Batches = Callable[[], Iterable[Any]]


def find_overflow(
    graph: ir.Model, traced: Trace, batches: Batches, batch: tuple[int, int, int]
) -> dict[str, str]:
    """Which layers make or read values beyond half of float16's range.

    The graph runs once over the data with one number out for each tensor, its largest magnitude. int8
    activations are not rounded and not cut off on the way.

    Args:
        graph: A float32 graph whose nodes bear the layers' names; it is not changed.
        traced: Where it came from.
        batches: Gives the batches of inputs, from the first one at each call.
        batch: (min, opt, max) batch sizes.

    Returns:
        Why a layer must stay in float32, by its path; by the node's name for a node of no layer.

    Raises:
        RunnerError: No CPU runner can run the graph.
        InputError: The data does not fit the model.
    """
    tensors = {value.name: value for value in _floats(graph.graph) if value.name}  # no outputs left out
    proto, names = _measuring(graph, tensors)
    with tempfile.TemporaryDirectory() as folder:
        bundle = _bundle(Path(folder), proto, traced, batch, len(names))
        maxima = dict(zip(names, _largest(bundle, batches), strict=True))
    reasons: dict[str, str] = {}
    for name, reached in sorted(maxima.items(), key=lambda item: -np.nan_to_num(item[1])):
        if reached > LIMIT:
            for owner, reason in _owners(tensors[name], float(reached), traced.layers):
                reasons.setdefault(owner, reason)
    return reasons


def _floats(graph: ir.Graph) -> Iterator[ir.Value]:
    """The float32 tensors of the main graph but those that a quantiser makes; loops stay float32 anyway."""
    yield from (v for v in graph.inputs if v.dtype == ir.DataType.FLOAT)
    for node in graph:
        if node.op_type not in g.QUANTIZERS:
            yield from (v for v in node.outputs if v.dtype == ir.DataType.FLOAT)


def _measuring(graph: ir.Model, tensors: Iterable[str]) -> tuple[onnx.ModelProto, list[str]]:
    """The graph with one output, which holds `max|x|` of each tensor; and the tensors' names."""
    proto = without_rounding(ir.to_proto(graph))
    known = {name for node in proto.graph.node for name in node.output}
    known |= {value.name for value in proto.graph.input}
    names = [name for name in tensors if name in known]
    proto.graph.initializer.append(onnx.numpy_helper.from_array(np.array([1, 1]), f"{_OUTPUT}/shape"))
    maxima = []
    for i, name in enumerate(names):
        steps = [f"{_OUTPUT}/{op}_{i}" for op in ("Abs", "ReduceMax", "Reshape")]
        proto.graph.node.extend(
            [
                onnx.helper.make_node("Abs", [name], steps[:1]),
                onnx.helper.make_node("ReduceMax", steps[:1], steps[1:2], keepdims=0),
                onnx.helper.make_node("Reshape", [steps[1], f"{_OUTPUT}/shape"], steps[2:]),
            ]
        )
        maxima.append(steps[2])
    proto.graph.node.append(onnx.helper.make_node("Concat", maxima, [_OUTPUT], axis=1))
    del proto.graph.output[:]
    shape = [1, len(names)]
    proto.graph.output.append(onnx.helper.make_tensor_value_info(_OUTPUT, onnx.TensorProto.FLOAT, shape))
    return proto, names


def _bundle(
    folder: Path, proto: onnx.ModelProto, traced: Trace, batch: tuple[int, int, int], count: int
) -> Bundle:
    """A bundle for the runners, in a folder that does not last."""
    external = write_onnx(ir.from_proto(proto), folder)
    manifest = manifest_of(
        folder,
        traced,
        [],
        [],
        batch=batch,
        precision="float32",
        opset=proto.opset_import[0].version,
        external=external,
    )
    outputs = (TensorSpec(_OUTPUT, (1, count), "float32"),)
    return Bundle(folder, replace(manifest, outputs=outputs, output_structure=_OUTPUT))


def _largest(bundle: Bundle, batches: Batches) -> np.ndarray:
    """The largest magnitude of each tensor over all batches."""
    refusals = []
    for name in filter(available, FAITHFUL_FIRST):
        try:
            with EngineModel(bundle, CPU_RUNNERS[name](bundle)) as engine:
                return np.max([engine.predict_on_batch(x).max(axis=0) for x in batches()], axis=0)
        except RunnerError as e:
            refusals.append(f"{name}: {e}")
    raise RunnerError("; ".join(refusals) or f"no CPU runner is installed ({INSTALL})")


def _owners(value: ir.Value, reached: float, layers: Iterable[str]) -> Iterator[tuple[str, str]]:
    """(layer, reason) of the node that makes a tensor and of those that read it."""
    end = f"float16 ends at {FLOAT16_MAX:.0f}"
    maker = value.producer()
    source = f"input {value.name!r}"
    if maker is not None:
        owner, source = _owner(maker, layers)
        yield owner, f"{source} stays in float32: on the data it makes values of {reached:.3g}; {end}"
    for node in _readers(value):
        owner, named = _owner(node, layers)
        yield owner, f"{named} stays in float32: on the data it reads {reached:.3g} from {source}; {end}"


def _owner(node: ir.Node, layers: Iterable[str]) -> tuple[str, str]:
    layer = layer_of(node.name or "", layers)
    return (layer, f"layer {layer!r}") if layer else (node.name or "", f"node {node.name!r}")


def _readers(value: ir.Value) -> Iterator[ir.Node]:
    """The nodes that read a tensor's values, also through quantisers."""
    for node in value.consumers():
        if node.op_type not in _SHAPE_ONLY:
            yield node
        if node.op_type in g.QUANTIZERS:
            yield from _readers(node.outputs[0])
