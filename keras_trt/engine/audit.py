"""What TensorRT's parsed network really holds: these types it computes in, whatever was asked for."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from keras_trt.engine._trt import dtype_name

if TYPE_CHECKING:
    from tensorrt import ILayer, INetworkDefinition, ITensor

WEIGHTED = ("CONVOLUTION", "DECONVOLUTION", "MATRIX_MULTIPLY", "EINSUM", "ATTENTION_INPUT")
_MOVES_DATA = ("SHUFFLE", "SLICE", "PADDING", "IDENTITY", "RESIZE", "CONCATENATION")


@dataclass(frozen=True)
class LayerRecord:
    """One layer of the parsed network.

    Attributes:
        name: The ONNX node's name, which carries the Keras layer's path.
        type: TensorRT's layer type, e.g. `"CONVOLUTION"`.
        inputs: Element types of the inputs.
        outputs: Element types of the outputs.
        computes: For a weighted layer the type it computes in, e.g. `"int8"` when all its data comes out of
            int8 dequantizers; else the type of its first output.
    """

    name: str
    type: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    computes: str


@dataclass(frozen=True)
class Audit:
    """The layers of a parsed network, constants left out."""

    layers: tuple[LayerRecord, ...]

    @property
    def weighted(self) -> tuple[LayerRecord, ...]:
        """Convolutions and matrix products."""
        return tuple(r for r in self.layers if r.type in WEIGHTED)

    @property
    def precisions(self) -> dict[str, int]:
        """How many weighted layers compute in which type.

        Example:
            >>> audit.precisions  # doctest: +SKIP
            {'int8': 53, 'float32': 1}
        """
        return dict(Counter(r.computes for r in self.weighted))


def audit_network(network: INetworkDefinition) -> Audit:
    """Records every layer of a parsed `INetworkDefinition`."""
    layers = [network.get_layer(i) for i in range(network.num_layers)]
    makers = {_name(t): layer for layer in layers for t in _outputs(layer)}
    return Audit(tuple(_record(layer, makers) for layer in layers if layer.type.name != "CONSTANT"))


def _record(layer: ILayer, makers: dict[str, object]) -> LayerRecord:
    inputs, outputs = _inputs(layer), _outputs(layer)
    types = tuple(_dtype(t) for t in outputs)
    computes = types[0] if types else ""
    if layer.type.name in WEIGHTED:
        quantised = {_quantised_as(t, makers) for t in inputs}
        if len(inputs) > 1 and len(quantised) == 1 and None not in quantised:
            computes = str(quantised.pop())
    return LayerRecord(layer.name, layer.type.name, tuple(_dtype(t) for t in inputs), types, computes)


def _quantised_as(tensor: ITensor, makers: dict[str, Any]) -> str | None:
    """The quantized type a tensor was dequantized from, looking through layers that only move data."""
    maker = makers.get(_name(tensor))
    while maker is not None and maker.type.name in _MOVES_DATA:
        tensor = maker.get_input(0)
        maker = makers.get(_name(tensor))
    if maker is None or maker.type.name != "DEQUANTIZE":
        return None
    return _dtype(maker.get_input(0))


def _inputs(layer: ILayer) -> list[Any]:
    tensors = [layer.get_input(i) for i in range(layer.num_inputs)]
    return [t for t in tensors if t is not None]


def _outputs(layer: ILayer) -> list[Any]:
    return [layer.get_output(i) for i in range(layer.num_outputs)]


def _name(tensor: ITensor) -> str:
    return str(tensor.name)


def _dtype(tensor: ITensor) -> str:
    return dtype_name(tensor.dtype)
