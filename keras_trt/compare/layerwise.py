"""Compares a graph with Keras layer by layer, and finds where they first differ.

Node names carry layer paths, so the tensors that leave a layer's nodes are that layer's output. Passes fold
layers into each other (batch normalisation into a convolution): a tensor is then the output of the last
layer folded in, so it is compared with those too, and the best fit counts.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx_ir as ir
from onnx_ir.passes import common

from keras_trt._base.formats import float_type, is_quantized
from keras_trt._base.tensors import TensorSpec
from keras_trt._keras.calls.record import Call, recorded
from keras_trt._keras.flavor import Flavor
from keras_trt._keras.types import Model
from keras_trt.bundle import Bundle
from keras_trt.compare.numbers import without_rounding
from keras_trt.compare.verify_report import LayerDifference
from keras_trt.onnx_passes.naming import layer_of
from keras_trt.packing.write import write_onnx
from keras_trt.runtime.choosing.trial import float_error
from keras_trt.runtime.distance import distance
from keras_trt.runtime.runners.cpu import CPU_RUNNERS, REFERENCE
from keras_trt.runtime.runners.runner import Runner
from keras_trt.trace.run import run
from keras_trt.twins.quantizer import observing

_FADED = 0.1
"""By how much a difference may shrink in the layer behind (a softmax flattens what it is given)."""

Arrays = Mapping[str, np.ndarray]

_PASSED = ("QuantizeLinear", "DequantizeLinear", "Cast")
"""Operators behind which a tensor is still the same, but for its type."""

_LAYOUT = (*_PASSED, "Reshape", "Transpose", "Squeeze", "Unsqueeze", "Flatten")
"""A layer of these alone computes nothing, and channels may come first in what it makes."""


def compare_layers(
    flavor: Flavor,
    model: Model,
    bundle: Bundle,
    name: str,
    feeds: Arrays,
    *,
    rounded: bool = True,
) -> tuple[list[LayerDifference], str | None]:
    """Runs Keras and a bundle's graph with all layers' outputs shown.

    Args:
        flavor: The model's Keras.
        model: What the bundle was exported from.
        bundle: The bundle.
        name: The CPU runner's name.
        feeds: One batch, by input name.
        rounded: Whether int8 activations are rounded, in the graph and in Keras.

    Returns:
        The layers in the order of computation, and the first that diverges.

    Raises:
        RunnerError: The runner cannot run the graph.
    """
    precision = bundle.manifest.precision
    graph = ir.external_data.load_to_model(ir.load(bundle.onnx_path))
    if not rounded:
        graph = ir.from_proto(without_rounding(ir.to_proto(graph)))
        precision = float_type(precision)
    common.ShapeInferencePass()(graph)
    shown = _Shown(graph, tuple(path for path, _ in flavor.walk(model)))
    actual = shown.run(bundle, REFERENCE.make if name == REFERENCE.name else CPU_RUNNERS[name], feeds)
    calls, outputs = _called(flavor, model, bundle, feeds, rounded)
    unrounded = None
    if is_quantized(precision):
        unrounded, _ = _called(flavor, model, bundle, feeds, False)
    tolerance = float_error(precision)
    compared = {
        layer: fit
        for layer, values in shown.leaving.items()
        if (fit := _fit(layer, [actual[v.name or ""] for v in values], calls, unrounded, shown.layers))
    }
    differences = [
        LayerDifference(name, layer, f.relative, f.largest, tolerance + 2 * f.rounding)
        for layer, f in compared.items()
    ]
    goes_on = {d.layer for d in differences if not d.relative <= d.allowed * _FADED}
    wrong = {o for o, y in outputs.items() if not distance(y, actual[o])[0] <= tolerance * _FADED}
    suspects = [d.layer for d in differences if d.diverges and wrong]
    first = next((layer for layer in suspects if shown.reaches(layer, goes_on | wrong)), None)
    return differences, first


class _Shown:
    """A graph with the tensors that leave each layer as further outputs."""

    def __init__(self, model: ir.Model, paths: tuple[str, ...]) -> None:
        self.model = model
        self.owner = {node: layer_of(node.name or "", paths) for node in model.graph}
        self.layers = {layer for layer in self.owner.values() if layer}
        making = {layer for node, layer in self.owner.items() if layer and node.op_type not in _LAYOUT}
        self.leaving: dict[str, list[ir.Value]] = {}
        for node, layer in self.owner.items():
            if layer not in making or node.op_type in _PASSED:
                continue
            values = [v for v in node.outputs if _is_float(v) and self._leaves(v, layer)]
            if values:
                self.leaving.setdefault(layer, []).extend(values)
        self.outputs = [v for v in model.graph.outputs]
        named = {v for v in self.outputs}
        self.added = [v for values in self.leaving.values() for v in values if v not in named]

    def run(self, bundle: Bundle, make: Callable[[Bundle], Runner], feeds: Arrays) -> dict[str, np.ndarray]:
        """All outputs and layers' tensors by name."""
        self.model.graph.outputs.extend(self.added)
        try:
            with tempfile.TemporaryDirectory() as folder:
                write_onnx(self.model, Path(folder))
                with make(replace(bundle, path=Path(folder))) as runner:
                    specs = [TensorSpec(v.name or "", (), "float32") for v in self.added]
                    runner.outputs = (*runner.outputs, *specs)
                    return runner.run(feeds)
        finally:
            del self.model.graph.outputs[len(self.outputs) :]

    def reaches(self, layer: str, names: set[str]) -> bool:
        """Whether what a layer makes is next seen in one of these layers or outputs.

        A node that a pass has given to the wrong layer makes that layer alone look different.
        """
        todo, seen = list(self.leaving[layer]), set(self.leaving[layer])
        while todo:
            value = todo.pop()
            if value in self.outputs and value.name in names:
                return True
            for node in value.consumers():
                reader = self.owner.get(node)
                if reader in self.leaving and reader != layer:
                    if reader in names:
                        return True
                    continue
                fresh = [v for v in node.outputs if v not in seen]
                seen.update(fresh)
                todo.extend(fresh)
        return False

    def _leaves(self, value: ir.Value, layer: str) -> bool:
        return value.is_graph_output() or any(
            reader is None or not f"{reader}/".startswith(f"{layer}/") for reader in self._readers(value)
        )

    def _readers(self, value: ir.Value) -> Iterator[str | None]:
        for node in value.consumers():
            if node.op_type in _PASSED:
                yield from self._readers(node.outputs[0])
            else:
                yield self.owner.get(node)


@dataclass(frozen=True)
class _Fit:
    """The Keras tensor that a layer's tensors fit best."""

    relative: float
    largest: float
    rounding: float


def _called(
    flavor: Flavor, model: Model, bundle: Bundle, feeds: Arrays, rounded: bool
) -> tuple[list[Call], dict[str, np.ndarray]]:
    with ExitStack() as stack:
        calls = stack.enter_context(recorded(flavor, model))
        if not rounded:
            stack.enter_context(observing(lambda quantizer, tensor: None))
        outputs = run(model, bundle.manifest, feeds)
    return calls, outputs


def _fit(
    layer: str, tensors: list[np.ndarray], calls: list[Call], unrounded: list[Call] | None, named: set[str]
) -> _Fit | None:
    """The worst over a layer's calls of the best fit; None when nothing has the shape."""
    if sum(call.path == layer for call in calls) > len(tensors):
        return None  # called on its own output, which does not leave its nodes
    fits = []
    for start, call in enumerate(calls):
        if call.path != layer:
            continue
        candidates = [
            _Fit(*_closest(expected, tensors), _rounding(expected, unrounded, i, j))
            for i, j in _same_tensor(start, calls, named)
            if (expected := calls[i].outputs[j].numpy()).size
        ]
        visible = [fit for fit in candidates if fit.relative < np.inf or not np.isnan(fit.largest)]
        if visible:
            fits.append(min(visible, key=lambda fit: fit.relative))
    return max(fits, key=lambda fit: fit.relative, default=None)


def _same_tensor(start: int, calls: list[Call], named: set[str]) -> Iterator[tuple[int, int]]:
    """(call, output) of a call and of the calls behind it whose layers have no nodes of their own."""
    held: set[int] = set()
    for i in range(start, len(calls)):
        call = calls[i]
        own = any(f"{path}/".startswith(f"{call.path}/") for path in named)
        if i == start or (not own and any(id(x) in held for x in call.inputs)):
            held.update(map(id, call.outputs))
            yield from ((i, j) for j in range(len(call.outputs)))


def _closest(expected: np.ndarray, tensors: Iterable[np.ndarray]) -> tuple[float, float]:
    """The smallest difference to any tensor of the same shape, in Keras's axis order or channels first."""
    distances = [
        distance(expected, seen.reshape(expected.shape))
        for tensor in tensors
        for seen in ([tensor, np.moveaxis(tensor, 1, -1)] if tensor.ndim > 2 else [tensor])
        if _squeezed(seen.shape) == _squeezed(expected.shape)
    ]
    return min(distances, default=(np.inf, np.nan))


def _rounding(expected: np.ndarray, unrounded: list[Call] | None, call: int, output: int) -> float:
    """How much int8 activations change a layer's output in Keras itself."""
    if unrounded is None:
        return 0.0
    return distance(expected, unrounded[call].outputs[output].numpy())[0]


def _squeezed(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(size for size in shape if size != 1)


def _is_float(value: ir.Value) -> bool:
    return value.dtype is not None and value.dtype.is_floating_point()
