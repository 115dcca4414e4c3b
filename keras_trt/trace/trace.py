"""Traces a model of either Keras into one TensorFlow graph with its weights as constants."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from keras_trt._base.names import free
from keras_trt._base.nests import Nest, map_nest, zip_nests
from keras_trt._base.tensors import BATCH_AXIS, TensorSpec
from keras_trt._keras.calls.exporting import exporting
from keras_trt._keras.calls.functions import inlined
from keras_trt._keras.calls.time_steps import steps_at_once
from keras_trt._keras.flavor import Flavor
from keras_trt._keras.flavor_of import check_model
from keras_trt._keras.types import Layer, Model
from keras_trt._machine.memory import free_graph
from keras_trt._machine.process import alone
from keras_trt.errors import ExportError
from keras_trt.trace.batch_axis import inferred_shapes, rows_are_the_batch
from keras_trt.trace.freezing import check_dense, freeze, gradients_forgotten, read_graph
from keras_trt.trace.integer_inputs import guesses, is_position
from keras_trt.trace.layers.control_flow import loops_and_branches
from keras_trt.trace.layers.normalization import plain_normalization
from keras_trt.trace.layers.open_sizes import open_sizes
from keras_trt.trace.layers.policies import in_float32, is_mixed
from keras_trt.trace.layers.recurrent import RECURRENT, recurrent_operators
from keras_trt.trace.scopes import computing_layers, layer_scopes
from keras_trt.trace.signature import Signature, signature_of
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
    call, concrete = _typed(flavor, model, signature_of(flavor, model, input_shapes, data), recurrent)
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


class Endpoints(Protocol):
    """The inputs and outputs of a traced model by name; a `Trace` and a bundle's manifest have them."""

    @property
    def inputs(self) -> Sequence[Any]:
        """Each input: its name, shape and dtype."""

    @property
    def outputs(self) -> Sequence[Any]:
        """Each output: its name, shape and dtype."""

    @property
    def input_structure(self) -> Nest:
        """Names of inputs, in the structure that the model takes."""

    @property
    def output_structure(self) -> Nest:
        """Names of outputs, in the structure that the model returns."""


def run(
    model: Model, trace: Endpoints, feeds: Mapping[str, object], *, compiled: bool = False
) -> dict[str, Any]:
    """What Keras itself computes at inference, in float32 as in the trace.

    Args:
        model: The model that was traced.
        trace: Its trace, or the manifest of its bundle.
        feeds: One array per input name.
        compiled: Run in a `tf.function` as `predict` does, which takes twice as long. Some layers compute
            something else eagerly (Keras 3's Resizing rounds images of integers).

    Returns:
        One numpy array per output name.
    """
    flavor = check_model(model)
    tensors = {info.name: flavor.tf.convert_to_tensor(feeds[info.name]) for info in trace.inputs}
    inputs = map_nest(lambda name, _: tensors[name], trace.input_structure)

    def call(inputs: object) -> Any:
        return model(inputs, **flavor.inference_arguments(model))

    with in_float32(flavor, model):
        if compiled:  # the graph itself: while quantisers are observed, a `tf.function` runs as Python
            graph = flavor.tf.function(call, autograph=False).get_concrete_function(inputs)
        outputs = (graph if compiled else call)(inputs)
    by_name = dict(zip_nests(trace.output_structure, outputs))
    return {info.name: by_name[info.name].numpy() for info in trace.outputs}


class _Call:
    """The function that is traced: flat inputs in, flat outputs out; notes the structure of the outputs."""

    def __init__(
        self, flavor: Flavor, model: Model, signature: Signature, recurrent: Sequence[str] = ()
    ) -> None:
        self.flavor = flavor
        self.model = model
        self.signature = signature
        self.recurrent = recurrent
        self.layers: tuple[str, ...] = ()
        self.output_structure = signature.output_structure
        self.output_names: tuple[str, ...] = ()  # in the order of the traced outputs
        self.graphs: list[Any] = []  # those that a call has built, also one that failed

    def specs(self) -> list[Any]:
        tf = self.flavor.tf
        return [
            tf.TensorSpec([d if isinstance(d, int) else None for d in info.shape], info.dtype, f"input_{i}")
            for i, info in enumerate(self.signature.inputs)
        ]

    def __call__(self, *flat: object) -> list[Any]:
        self.graphs.append(self.flavor.tf.compat.v1.get_default_graph())
        by_name = {info.name: x for info, x in zip(self.signature.inputs, flat, strict=True)}
        inputs = map_nest(lambda name, _: by_name[name], self.signature.input_structure)
        outputs = self.model(inputs, **self.flavor.inference_arguments(self.model))
        if self.signature.output_structure is None:
            self.output_structure = _named(outputs, by_name)
        named = dict(zip_nests(self.output_structure, outputs))  # one tensor may be returned twice
        self.output_names = self.signature.output_names or tuple(named)
        return [self.flavor.tf.identity(named[name]) for name in self.output_names]


_NORMALIZATIONS = ("LayerNormalization", "GroupNormalization", "RMSNormalization", "UnitNormalization")


def _with_cells(flavor: Flavor, model: Model, computing: frozenset[str]) -> frozenset[str]:
    """The layers that compute, with the cells of recurrent ones, which an operator may compute for them."""
    loops = [p for p, layer in flavor.walk(model) if isinstance(layer, flavor.keras.layers.RNN)]
    inside = tuple(f"{path}/" for path in loops if path in computing)
    return computing | {path for path, _ in flavor.walk(model) if path.startswith(inside)}


def _normalizes(layer: Layer) -> bool:
    return any(cls.__name__ in _NORMALIZATIONS for cls in type(layer).__mro__)


def _named(outputs: Nest, taken: Any) -> Nest:
    """A nest of fresh names for the outputs of a model without a layer graph."""
    names: list[str] = []

    def name(_: object, key: str | None) -> str:
        names.append(free(key or f"output_{len(names) + 1}", {*taken, *names}))
        return names[-1]

    return map_nest(name, outputs)


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


def _typed(flavor: Flavor, model: Model, signature: Signature, recurrent: Sequence[str]) -> tuple[_Call, Any]:
    """The model's call, traced; inputs of unknown type are integers where they must or may as well be.

    Keras 3 does not remember the types a subclassed model was called on. Positions in a table are integers:
    as floats they are refused (`tf.gather`), or cast (Embedding).
    """
    try:
        traced = _traced(flavor, model, signature, (), recurrent)
    except ExportError:
        for names in guesses(signature.guessed):
            with suppress(ExportError):
                return _traced(flavor, model, signature, names, recurrent)
        raise
    tensors = zip(signature.inputs, traced[1].inputs, strict=False)  # captured ones come after them
    names = tuple(i.name for i, tensor in tensors if i.name in signature.guessed and is_position(tensor))
    return _traced(flavor, model, signature, names, recurrent) if names else traced


def _traced(
    flavor: Flavor, model: Model, signature: Signature, integers: Sequence[str], recurrent: Sequence[str]
) -> tuple[_Call, Any]:
    inputs = [replace(i, dtype="int32") if i.name in integers else i for i in signature.inputs]
    call = _Call(flavor, model, replace(signature, inputs=tuple(inputs)), recurrent)
    return call, _concrete(flavor, model, call)


def _concrete(flavor: Flavor, model: Model, call: _Call) -> Any:
    """The model's call as a concrete function of TensorFlow."""
    function = flavor.tf.function(call, autograph=flavor.runs_autograph)
    with (
        alone(),
        gradients_forgotten() as call.graphs,
        exporting(),
        in_float32(flavor, model),
        plain_normalization(flavor, model),
        steps_at_once(flavor, model),
        open_sizes(flavor, model),
        loops_and_branches(flavor),
        recurrent_operators(flavor, model, call.recurrent),
        layer_scopes(flavor, model) as call.layers,  # around what the others have put in the place of calls
    ):
        try:
            return function.get_concrete_function(*call.specs())
        except (TypeError, ValueError, NotImplementedError) as e:
            raise ExportError(
                f"Model {model.name!r} could not be traced by TensorFlow: {e}{_advice(call.signature)}"
            ) from e


def _advice(signature: Signature) -> str:
    """What to try where layers may need to know sizes that the inputs leave open."""
    open_axes = [axis for info in signature.inputs for axis in info.shape[1:] if isinstance(axis, str)]
    if not open_axes:
        return ""
    return (
        f" The axes {list(dict.fromkeys(open_axes))} of its inputs are open, and a layer that loops over one "
        "in Python needs its size: pass `input_shapes` with numbers for them."
    )


def _predicted_dtypes(
    flavor: Flavor, model: Model, call: _Call, outputs: Sequence[TensorSpec]
) -> dict[str, str]:
    """What the model returns under its own mixed policies, where that is not what was traced."""
    if not is_mixed(flavor, model):
        return {}
    own = _Call(flavor, model, call.signature)
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
        concrete = _concrete(flavor, model, _Call(flavor, model, replace(signature, inputs=tuple(inputs))))
    except Exception:  # whatever the model's layers raise that take no batch of this size
        return []
    return [None if t.shape.rank is None else t.shape.as_list() for t in concrete.outputs]
