"""For those who use TF-MOT: a scheme for its own `quantize_apply`, and a way out for models it has wrapped.

    import tensorflow_model_optimization as tfmot

    annotated = tfmot.quantization.keras.quantize_annotate_model(model)           # a tf_keras model
    model = tfmot.quantization.keras.quantize_apply(annotated, keras_trt.tfmot.TensorRTQuantizeScheme())
    model.compile(...); model.fit(...)
    keras_trt.export(model, "model.bundle")

Models made by TF-MOT's own `quantize_model` or `prune_low_magnitude` go into every function of this library
as they are: they are read as `from_tfmot` reads them, and `range_report` says what that costs.
"""

from __future__ import annotations

from keras_trt._keras.types import M
from keras_trt.tfmot import accept
from keras_trt.tfmot.range_loss import range_report
from keras_trt.tfmot.scheme import Layout, Registry

__all__ = ["TensorRTQuantizeScheme", "from_tfmot", "range_report"]


class TensorRTQuantizeScheme:
    """A scheme for TF-MOT's `quantize_apply` that quantises as TensorRT computes.

    Activations are int8 per tensor, symmetric, zero point 0, and start from the first training batch's range
    instead of TF-MOT's ±6; weights are int8 per output channel. Only what TensorRT runs in int8 is quantised:
    the inputs of weighted layers, of residual additions all but the convolution's branch, of average pooling.
    Layers that TF-MOT's default scheme refuses stay float instead. The trained model goes through
    `keras_trt.export`, and its stock tf2onnx export is taken by TensorRT's parser too.

    Save such a model with `keras_trt.save_model`, or as HDF5: TF-MOT's wrappers do not load from `.keras`.

    Example:
        >>> annotated = tfmot.quantization.keras.quantize_annotate_model(model)
        >>> scheme = keras_trt.tfmot.TensorRTQuantizeScheme()
        >>> quantized = tfmot.quantization.keras.quantize_apply(annotated, scheme)
    """

    def get_layout_transformer(self) -> Layout:
        """What TF-MOT calls to learn what each layer quantises."""
        return Layout()

    def get_quantize_registry(self) -> Registry:
        """What TF-MOT calls for layers that are not annotated but feed one that is."""
        return Registry()


def from_tfmot(model: M) -> M:
    """A model that TF-MOT has wrapped, as a model of this library.

    Wrappers go, layers get their own names back and float weights stay as trained. Layers that TF-MOT
    quantised become quantised twins whose activation ranges are TF-MOT's made symmetric, `max(|min|, |max|)`;
    weights that it pruned stay masked.

    Args:
        model: A built tf_keras model; it is not changed.

    Returns:
        A new tf_keras model, not compiled; the model itself when TF-MOT has not wrapped it.

    Raises:
        ModelError: The model is not built, is annotated only, or clustered.

    Example:
        >>> model = keras_trt.tfmot.from_tfmot(wrapped)
        >>> print(keras_trt.report(model))
    """
    return accept.accept(model).model
