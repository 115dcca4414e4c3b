"""Traces a model of either Keras into one TensorFlow graph with its weights as constants."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_trt._base.nests import Nest
from keras_trt._base.tensors import BATCH_AXIS, TensorSpec
from keras_trt._keras.calls.functions import inlined
from keras_trt._keras.flavor import Flavor
from keras_trt._keras.flavor_of import check_model
from keras_trt._keras.types import Layer, Model
from keras_trt._machine.memory import free_graph
from keras_trt._machine.process import alone
from keras_trt.errors import ExportError
from keras_trt.trace.batch_axis import inferred_shapes, rows_are_the_batch
from keras_trt.trace.freezing import check_dense, freeze, gradients_forgotten, read_graph
from keras_trt.trace.layers.policies import is_mixed
from keras_trt.trace.layers.recurrent import RECURRENT
from keras_trt.trace.scopes import computing_layers
from keras_trt.trace.signature import Signature, signature_of
from keras_trt.trace.traced_call import Call, concrete_function, traced_call
from keras_trt.trace.weights import embed, holders

if TYPE_CHECKING:
    from tensorflow.compat.v1 import GraphDef


@dataclass(frozen=True)
class Trace:
    """A model as a frozen TensorFlow graph.

    Attributes:
        name: The model's name.
        flavor: `"keras3"` or `"legacy"`.
        graph_def: The graph; small variables and captured tensors are `Const` nodes.
        weights: The kernels of its layers, by the name of the `Placeholder` that stands for each.
        holders: The paths of the layers that hold the variables behind each of these kernels.
        inputs: In Keras's order.
        outputs: In Keras's order.
        input_tensors: The graph's tensor name of each input, e.g. `"input_0:0"`.
        output_tensors: The graph's tensor name of each output.
        input_structure: The nest of input names that the model is called with.
        output_structure: The nest of output names that the model returns.
        layers: The paths of all layers of the model, e.g. `"backbone/conv1"`; see `scopes.layer_of_scope`.
        computing: The paths of those of which something is computed when the graph runs.
        normalizations: The paths of layers that normalise over their own input, which needs float32.
        axis_sizes: (min, opt, max) of dynamic axes for which `input_shapes` gave them.
        notes: What to tell the user about the inputs.
        predicted_dtypes: What `predict` returns where that is not the graph's type, by output name.
        shapes: The shapes of tensors as the layers gave them, by the tensor's name; `graph_def` has none.
    """

    name: str
    flavor: str
    graph_def: GraphDef
    weights: dict[str, np.ndarray]
    holders: dict[str, tuple[str, ...]]
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    input_tensors: tuple[str, ...]
    output_tensors: tuple[str, ...]
    input_structure: Nest
    output_structure: Nest
    layers: tuple[str, ...]
    computing: frozenset[str]
    normalizations: tuple[str, ...]
    axis_sizes: dict[str, tuple[int, int, int]]
    notes: tuple[str, ...] = ()
    predicted_dtypes: Mapping[str, str] = field(default_factory=dict)
    shapes: Mapping[str, list[int | None]] = field(default_factory=dict)

    def whole_graph(self) -> GraphDef:
        """A copy of the graph with all weights in it."""
        graph_def = type(self.graph_def)()
        graph_def.CopyFrom(self.graph_def)
        embed(graph_def, self.weights)
        return graph_def


def trace(
    model: Model, input_shapes: object = None, data: object = None, *, recurrent: Sequence[str] = RECURRENT
) -> Trace:
    """Traces `model(inputs, training=False)`.

    Quantisers write exportable ops (see `exporting`), and the steps of `TimeDistributed` layers are computed
    at once (see `time_steps`). Layers of a mixed-precision policy are traced in
    float32: the precision of the exported graph is chosen at export, not inherited from training. Which types
    `predict` returns under such a policy is noted.

    Args:
        model: A built Keras 3 or tf_keras model. It is left as it was.
        input_shapes: See `signature.signature_of`.
        data: See `signature.signature_of`.
        recurrent: The kinds of recurrent layers to trace as the operators that ONNX has; TensorFlow itself
            cannot run these graphs.

    Raises:
        ModelError: Not a built model, or its inputs are unknown.
        InputError: `input_shapes` contradicts the model.
        ExportError: TensorFlow could not trace the model.

    Example:
        >>> trace(model).inputs  # doctest: +SKIP
        (TensorSpec(name='image', shape=('batch', 8, 8, 1), dtype='float32'),)
    """
    flavor = check_model(model)
    call, concrete = traced_call(flavor, model, signature_of(flavor, model, input_shapes, data), recurrent)
    signature = call.signature
    check_dense(flavor.tf, dict(zip(call.output_names, concrete.structured_outputs, strict=True)))
    named = zip(call.output_names, concrete.outputs, strict=True)
    tensors = [(name, tensor.shape, tensor.dtype.name) for name, tensor in named]
    graph = read_graph(flavor.tf, concrete, len(signature.inputs))
    operations = len(concrete.graph.get_operations())
    del named, concrete
    free_graph(operations)
    graph_def, weights, origins = freeze(graph)
    outputs = [_output_info(*spec) for spec in tensors]
    open_ = [info.shape[:1] == (_first_axis(info.name),) for info in outputs]
    in_graph = inferred_shapes(flavor.tf, graph_def, graph.inputs, graph.outputs)
    rows = rows_are_the_batch(
        open_, signature.inputs, [in_graph, partial(_traced_shapes, flavor, model, signature)]
    )
    outputs = [_batched(info) if is_batch else info for info, is_batch in zip(outputs, rows, strict=True)]
    return Trace(
        name=model.name,
        flavor=flavor.name,
        graph_def=graph_def,
        weights=weights,
        holders=holders(flavor, model, graph.variables, origins),
        inputs=signature.inputs,
        outputs=tuple(outputs),
        input_tensors=graph.inputs,
        output_tensors=graph.outputs,
        input_structure=signature.input_structure,
        output_structure=call.output_structure,
        layers=call.layers,
        computing=_with_cells(flavor, model, computing_layers(graph_def, call.layers)),
        normalizations=tuple(path for path, layer in flavor.walk(model) if _normalizes(layer)),
        axis_sizes=signature.axis_sizes,
        notes=signature.notes,
        predicted_dtypes=_predicted_dtypes(flavor, model, call, outputs),
        shapes=graph.shapes,
    )


_NORMALIZATIONS = ("LayerNormalization", "GroupNormalization", "RMSNormalization", "UnitNormalization")


def _with_cells(flavor: Flavor, model: Model, computing: frozenset[str]) -> frozenset[str]:
    """The layers that compute, with the cells of recurrent ones, which an operator may compute for them."""
    loops = [p for p, layer in flavor.walk(model) if isinstance(layer, flavor.keras.layers.RNN)]
    inside = tuple(f"{path}/" for path in loops if path in computing)
    return computing | {path for path, _ in flavor.walk(model) if path.startswith(inside)}


def _normalizes(layer: Layer) -> bool:
    return any(cls.__name__ in _NORMALIZATIONS for cls in type(layer).__mro__)


def _output_info(name: str, shape: Any, dtype: str) -> TensorSpec:
    """An output's axes; open ones are named."""
    if shape.rank is None:
        raise ExportError(f"Output {name!r} has no known rank; give `input_shapes` to fix it.")
    axes = [f"{name}_axis_{i}" if size is None else size for i, size in enumerate(shape)]
    return TensorSpec(name, tuple(axes), dtype)


def _first_axis(name: str) -> str:
    return f"{name}_axis_0"


def _batched(info: TensorSpec) -> TensorSpec:
    return replace(info, shape=(BATCH_AXIS, *info.shape[1:]))


def _predicted_dtypes(
    flavor: Flavor, model: Model, call: Call, outputs: Sequence[TensorSpec]
) -> dict[str, str]:
    """What the model returns under its own mixed policies, where that is not what was traced."""
    if not is_mixed(flavor, model):
        return {}
    own = Call(flavor, model, call.signature)
    function = flavor.tf.function(own, autograph=flavor.runs_autograph)
    with alone(), gradients_forgotten() as own.graphs, inlined():
        concrete = function.get_concrete_function(*own.specs())
    dtypes = dict(zip(own.output_names, (t.dtype.name for t in concrete.outputs), strict=True))
    return {info.name: dtypes[info.name] for info in outputs if dtypes[info.name] != info.dtype}


def _traced_shapes(
    flavor: Flavor, model: Model, signature: Signature, inputs: Sequence[TensorSpec]
) -> list[list[int | None] | None]:
    """The shapes of the model's outputs for inputs of other sizes, as they are traced."""
    try:
        concrete = concrete_function(
            flavor, model, Call(flavor, model, replace(signature, inputs=tuple(inputs)))
        )
    except Exception:  # whatever the model's layers raise that take no batch of this size
        return []
    return [None if t.shape.rank is None else t.shape.as_list() for t in concrete.outputs]
