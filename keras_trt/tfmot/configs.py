"""TF-MOT's extension classes in this library's terms: quantisers, the config of a layer, the input transform.

Each is made when TF-MOT is first needed, and registered with tf_keras so that saved models load.
"""

from __future__ import annotations

import functools
from typing import Any

from keras_trt._keras.flavor_of import legacy
from keras_trt._keras.kernels import kernel_of
from keras_trt._keras.types import Layer
from keras_trt.tfmot.imported import import_tfmot
from keras_trt.twins.fake_quant import TINY, fake_quantize, fake_quantize_weights
from keras_trt.twins.quantizer import moved_range


def _register(cls: type) -> type:
    registered: type = legacy().keras.saving.register_keras_serializable(package="keras_trt")(cls)
    return registered


@functools.cache
def activation_quantizer() -> type:
    """The `TensorRTActivationQuantizer` class."""
    flavor = legacy()
    tf = flavor.tf

    class TensorRTActivationQuantizer(import_tfmot().quantization.keras.quantizers.Quantizer):  # type: ignore[misc]
        """One symmetric int8 range per tensor: the first batch's, then a moving average.

        Before the first training batch it is the range of what comes in.

        Args:
            momentum: Weight of the old range in the moving average.
        """

        def __init__(self, momentum: float = 0.99) -> None:
            self.momentum = momentum

        def build(self, tensor_shape: object, name: str, layer: Layer) -> dict[str, Any]:
            return {"amax": flavor.add_state(layer, f"{name}_amax", 0.0)}

        def __call__(self, inputs: Any, training: bool, weights: dict[str, Any], **kwargs: object) -> Any:
            amax = tf.convert_to_tensor(flavor.raw(weights["amax"]))
            if training:
                amax = moved_range(flavor.ops, inputs, amax, tf.ones(()), self.momentum)
                weights["amax"].assign(amax)
            # No `tf.cond`: ranges must fold to constants in a converter that knows nothing of this class.
            own = tf.reduce_max(tf.abs(tf.cast(inputs, tf.float32)))
            return fake_quantize(flavor.ops, inputs, tf.where(amax > 0, amax, tf.maximum(own, TINY)))

        def get_config(self) -> dict[str, Any]:
            return {"momentum": self.momentum}

    return _register(TensorRTActivationQuantizer)


@functools.cache
def weight_quantizer() -> type:
    """The `TensorRTWeightQuantizer` class."""
    tf = legacy().tf

    class TensorRTWeightQuantizer(import_tfmot().quantization.keras.quantizers.Quantizer):  # type: ignore[misc]
        """One symmetric int8 range per output channel, `max|w|`.

        Args:
            channel_axes: The axes of the output channels.
        """

        def __init__(self, channel_axes: tuple[int, ...]) -> None:
            self.channel_axes = tuple(channel_axes)

        def build(self, tensor_shape: object, name: str, layer: Layer) -> dict[str, Any]:
            return {}

        def __call__(
            self, inputs: object, training: bool, weights: dict[str, object], **kwargs: object
        ) -> Any:
            return fake_quantize_weights(legacy().ops, tf.convert_to_tensor(inputs), self.channel_axes)

        def get_config(self) -> dict[str, Any]:
            return {"channel_axes": list(self.channel_axes)}

    return _register(TensorRTWeightQuantizer)


@functools.cache
def quantize_config() -> type:
    """The `TensorRTQuantizeConfig` class."""

    class TensorRTQuantizeConfig(import_tfmot().quantization.keras.QuantizeConfig):  # type: ignore[misc]
        """What one layer quantises.

        Args:
            kernels: Names of its weight attributes.
            quantize_output: Whether its output is quantised, behind its activation.
        """

        def __init__(self, kernels: Any = (), quantize_output: bool = False) -> None:
            self.kernels, self.quantize_output = tuple(kernels), quantize_output

        def get_weights_and_quantizers(self, layer: Layer) -> list[Any]:
            rows = [kernel_of(layer, name) for name in self.kernels]
            return [(getattr(layer, row.name), weight_quantizer()(row.channel_axes)) for row in rows]

        def set_quantize_weights(self, layer: Layer, quantize_weights: list[object]) -> None:
            for name, weight in zip(self.kernels, quantize_weights, strict=True):
                setattr(layer, name, weight)

        def get_activations_and_quantizers(self, layer: Layer) -> list[Any]:
            return []

        def set_quantize_activations(self, layer: Layer, quantize_activations: list[object]) -> None:
            """Activation functions stay as they are."""
            return  # autograph cannot read a body of nothing but a docstring

        def get_output_quantizers(self, layer: Layer) -> list[Any]:
            return [activation_quantizer()()] if self.quantize_output else []

        def get_config(self) -> dict[str, Any]:
            return {"kernels": list(self.kernels), "quantize_output": self.quantize_output}

    return _register(TensorRTQuantizeConfig)


@functools.cache
def input_transform() -> type:
    """TF-MOT's transform that puts a `QuantizeLayer` behind each input, with our quantiser in the layer."""
    transforms = import_tfmot().quantization.keras.default_8bit.default_8bit_transforms
    serialize = legacy().keras.utils.legacy.serialize_keras_object

    class InputQuantize(transforms.InputLayerQuantize):  # type: ignore[name-defined]
        def replacement(self, match_layer: object) -> Layer:
            node = super().replacement(match_layer)
            node.layer["config"]["quantizer"] = serialize(activation_quantizer()())
            return node

    return InputQuantize
