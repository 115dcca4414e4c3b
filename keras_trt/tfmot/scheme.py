"""How TF-MOT's `quantize_apply` quantises for TensorRT: which layer gets which config.

Placement follows this library's rules, not TF-MOT's default transforms. Those are made for TensorFlow Lite
and quantise every layer's output, so that TensorRT could not fuse an addition into the convolution before
it. TF-MOT's wrappers know outputs only, so a tensor that some layer wants in int8 is quantised where it is
made.
"""

from __future__ import annotations

from typing import Any

from keras_trt._keras.flavor_of import legacy
from keras_trt._keras.graph import layer_graph
from keras_trt._keras.types import Layer, Model
from keras_trt.errors import ModelError
from keras_trt.placement.placement import place
from keras_trt.tfmot.configs import input_transform, quantize_config
from keras_trt.tfmot.imported import import_tfmot


class Layout:
    """TF-MOT's layout transformer: decides what each annotated layer quantises."""

    def apply(self, model: Any, layer_quantize_map: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        """Returns the model, with separable convolutions split, and what each layer quantises.

        Args:
            model: The user's tf_keras model without annotations.
            layer_quantize_map: For each annotated layer's name `{"quantize_config": the user's own or None}`.
        """
        wanted, _ = _wanted(model, layer_quantize_map)
        unwanted = set(model.input_names) - wanted
        annotated = {name: value for name, value in layer_quantize_map.items() if name not in unwanted}
        model, annotated = _transformed(model, annotated)
        wanted, kernels = _wanted(model, annotated)
        configs: dict[str, Any] = {}
        for layer in model.layers:
            own = annotated.get(layer.name, {})
            config = quantize_config()(kernels.get(layer.name, ()), layer.name in wanted)
            if own.get("quantize_config") is not None:
                configs[layer.name] = own
            elif layer.name in annotated and (config.kernels or config.quantize_output):
                configs[layer.name] = {"quantize_config": config}
        return model, configs  # TF-MOT leaves layers alone that are not in the map


class Registry:
    """TF-MOT's registry: asked for layers that are not annotated but feed one that is."""

    def supports(self, layer: Any) -> bool:
        """Whether the output of `layer` can be quantised."""
        return not isinstance(layer.get_output_shape_at(0), list)

    def get_quantize_config(self, layer: Layer) -> Any:
        """A config that quantises the layer's output."""
        return quantize_config()((), True)


def _transformed(model: Model, annotated: dict[str, object]) -> tuple[Any, dict[str, Any]]:
    """TF-MOT's rewriting: inputs get a `QuantizeLayer`, separable convolutions become two layers."""
    keras_api = import_tfmot().quantization.keras
    split = keras_api.default_8bit.default_8bit_transforms
    transforms = [input_transform()(), split.SeparableConv1DQuantize(), split.SeparableConvQuantize()]
    transformer = keras_api.graph_transformations.model_transformer.ModelTransformer
    result: tuple[Any, dict[str, Any]] = transformer(model, transforms, set(annotated), annotated).transform()
    return result


def _wanted(model: Any, annotated: dict[str, Any]) -> tuple[set[str], dict[str, tuple[str, ...]]]:
    """Names of the layers whose outputs annotated layers want in int8, and kernels to quantise by layer."""
    graph = layer_graph(legacy(), model)
    if graph is None:
        raise ModelError(f"TF-MOT quantises Functional and Sequential models only. Received: {model.name!r}")
    decisions = place(graph)
    inputs = dict(zip(graph.inputs, model.input_names, strict=True))
    wanted: set[str] = set()
    for node in graph.nodes:
        for position in decisions[node.path].inputs if node.path in annotated else ():
            producer = graph.producer(node.inputs[position])
            if producer is None:
                wanted.add(inputs[node.inputs[position]])
            elif len(producer.outputs) == 1:  # TF-MOT quantises single outputs only
                wanted.add(producer.path)
    return wanted, {path: d.kernels for path, d in decisions.items() if path in annotated}
