"""What is quantised in a model, read off the model itself."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

from keras_trt._keras.flavor import Flavor
from keras_trt._keras.flavor_of import flavor_of
from keras_trt._keras.types import Model
from keras_trt.twins.twins import is_silent, is_twin
from keras_trt.twins.types import Quantizer, Twin

SWITCHED_OFF = "switched off: trained in float, before `start_epoch`; `quantize_model` switches it on"


@dataclass(frozen=True)
class QuantizedTensor:
    """One quantised tensor of a model.

    Attributes:
        layer: The layer's path, e.g. `"backbone/conv1"`.
        kind: `"weight"` or `"activation"`.
        name: The weight's attribute, or the quantiser's name.
        amax: The range of an activation, 0.0 while it has seen no data; None for a weight, whose
            scales follow its values.
        format: `"int8"`, `"fp8"` or `"int4"`.
        block: Input channels per weight scale; None for one scale per output channel.
        scheme: The scheme of its layer, e.g. `"int8-weights"`.
        stored: Whether a weight is written in its format; recurrent weights and tables stay float numbers on
            the grid, since TensorRT's recurrent and look-up layers take no other.
    """

    layer: str
    kind: str
    name: str
    amax: float | None = None
    format: str = "int8"
    block: int | None = None
    scheme: str = "int8"
    stored: bool = False


def inventory(model: Model) -> list[QuantizedTensor]:
    """Every quantised tensor of a model, in the order of its layers; none of those switched off."""
    flavor = flavor_of(model)
    tensors = []
    for path, layer in twins(flavor, model):
        if is_silent(layer):
            continue
        scheme, stored = layer.quantization.scheme, not flavor.keeps_floats(layer)
        for q in quantizers_of(layer):
            amax = float(flavor.array(q.amax))
            tensors.append(
                QuantizedTensor(path, "activation", q.name, amax, q.dtype_name, scheme=scheme.name)
            )
        for name in layer.quantization.kernels:
            weight = partial(QuantizedTensor, path, "weight", name, None, scheme.weights, scheme.block)
            tensors.append(weight(scheme.name, stored))
    return tensors


def twins(flavor: Flavor, model: Model) -> Iterator[tuple[str, Twin]]:
    """The quantised layers of a model with their paths."""
    return ((path, layer) for path, layer in flavor.walk(model) if is_twin(layer))


def silent_layers(flavor: Flavor, model: Model) -> list[str]:
    """Paths of the twins that are switched off."""
    return [path for path, layer in twins(flavor, model) if is_silent(layer)]


def quantizers_of(layer: Twin) -> list[Quantizer]:
    """The activation quantisers of a twin: of its inputs, then those inside."""
    return [*layer.input_quantizers, *layer.inner_quantizers]


def activation_quantizers(flavor: Flavor, model: Model) -> Iterator[tuple[str, Quantizer]]:
    """Every activation quantiser with the path of the layer it belongs to."""
    return ((path, q) for path, layer in twins(flavor, model) for q in quantizers_of(layer))
