"""Runs a model that has been traced in its own Keras, with the names of its trace."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from keras_trt._base.nests import Nest, map_nest, zip_nests
from keras_trt._keras.flavor_of import check_model
from keras_trt._keras.types import Model
from keras_trt.trace.layers.policies import in_float32


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
