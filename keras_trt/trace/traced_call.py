"""A model's call as a concrete function of TensorFlow, with flat inputs and outputs."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from keras_trt._base.names import free
from keras_trt._base.nests import Nest, map_nest, zip_nests
from keras_trt._keras.calls.exporting import exporting
from keras_trt._keras.calls.time_steps import steps_at_once
from keras_trt._keras.flavor import Flavor
from keras_trt._keras.types import Model
from keras_trt._machine.process import alone
from keras_trt.errors import ExportError
from keras_trt.trace.freezing import gradients_forgotten
from keras_trt.trace.integer_inputs import guesses, is_position
from keras_trt.trace.layers.control_flow import loops_and_branches
from keras_trt.trace.layers.normalization import plain_normalization
from keras_trt.trace.layers.open_sizes import open_sizes
from keras_trt.trace.layers.policies import in_float32
from keras_trt.trace.layers.recurrent import recurrent_operators
from keras_trt.trace.scopes import layer_scopes
from keras_trt.trace.signature import Signature


class Call:
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
        """What the flat inputs are; open axes have no size."""
        tf = self.flavor.tf
        return [
            tf.TensorSpec([d if isinstance(d, int) else None for d in info.shape], info.dtype, f"input_{i}")
            for i, info in enumerate(self.signature.inputs)
        ]

    def __call__(self, *flat: object) -> list[Any]:
        """The flat outputs."""
        self.graphs.append(self.flavor.tf.compat.v1.get_default_graph())
        by_name = {info.name: x for info, x in zip(self.signature.inputs, flat, strict=True)}
        inputs = map_nest(lambda name, _: by_name[name], self.signature.input_structure)
        outputs = self.model(inputs, **self.flavor.inference_arguments(self.model))
        if self.signature.output_structure is None:
            self.output_structure = _named(outputs, by_name)
        named = dict(zip_nests(self.output_structure, outputs))  # one tensor may be returned twice
        self.output_names = self.signature.output_names or tuple(named)
        return [self.flavor.tf.identity(named[name]) for name in self.output_names]


def traced_call(
    flavor: Flavor, model: Model, signature: Signature, recurrent: Sequence[str]
) -> tuple[Call, Any]:
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


def concrete_function(flavor: Flavor, model: Model, call: Call) -> Any:
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


def _traced(
    flavor: Flavor, model: Model, signature: Signature, integers: Sequence[str], recurrent: Sequence[str]
) -> tuple[Call, Any]:
    inputs = [replace(i, dtype="int32") if i.name in integers else i for i in signature.inputs]
    call = Call(flavor, model, replace(signature, inputs=tuple(inputs)), recurrent)
    return call, concrete_function(flavor, model, call)


def _named(outputs: Nest, taken: Any) -> Nest:
    """A nest of fresh names for the outputs of a model without a layer graph."""
    names: list[str] = []

    def name(_: object, key: str | None) -> str:
        names.append(free(key or f"output_{len(names) + 1}", {*taken, *names}))
        return names[-1]

    return map_nest(name, outputs)


def _advice(signature: Signature) -> str:
    """What to try where layers may need to know sizes that the inputs leave open."""
    open_axes = [axis for info in signature.inputs for axis in info.shape[1:] if isinstance(axis, str)]
    if not open_axes:
        return ""
    return (
        f" The axes {list(dict.fromkeys(open_axes))} of its inputs are open, and a layer that loops over one "
        "in Python needs its size: pass `input_shapes` with numbers for them."
    )
