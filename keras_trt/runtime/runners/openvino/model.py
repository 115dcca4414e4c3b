"""Rewrites what OpenVINO reads from an ONNX file where its plugin would go wrong (docs/runners.md).

Every rewrite keeps the numbers: it only changes which of OpenVINO's own optimisations find their pattern.
"""

from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from openvino import Model, Node

_PRODUCTS = (
    "Convolution",
    "GroupConvolution",
    "ConvolutionBackpropData",
    "GroupConvolutionBackpropData",
    "MatMul",
)
_TINY = np.finfo(np.float32).tiny
"""A bias that no sum notices, and that OpenVINO does not drop as it drops a zero."""


def repair(model: Model, openvino: ModuleType) -> None:
    """Makes OpenVINO compute what the file says, in place; call it before `compile_model`.

    Args:
        model: An `openvino.Model` read from ONNX.
        openvino: The module.
    """
    widen_floats(model, openvino)
    batch_first(model, openvino)
    if join_pairs(model, openvino):
        shield_products(model, openvino)
        separate_extremes(model, openvino)
        shield_normalizations(model, openvino)
        shield_averages(model, openvino)


def widen_floats(model: Model, openvino: ModuleType) -> None:
    """Makes float32 of narrow floats: inputs, constants, casts. The CPU plugin computes in float32 anyway.

    An input is cast behind itself. Between narrow floats and the float32 of the quantisers' own nodes, pairs
    could not be joined; and an int8 convolution with a bfloat16 bias gives garbage.
    """
    narrow, single = (openvino.Type.f16, openvino.Type.bf16), openvino.Type.f32
    opset, changed = openvino.opset13, False
    for parameter in model.get_parameters():
        if parameter.get_element_type() in narrow:
            _insert_behind(parameter.output(0), lambda x: opset.convert(x, single))
            changed = True
    for node in model.get_ordered_ops():
        if node.get_output_size() != 1 or node.get_output_element_type(0) not in narrow:
            continue
        if node.get_type_name() == "Constant":
            wide = opset.constant(node.get_data(dtype=np.float32))
        elif node.get_type_name() == "Convert":
            wide = opset.convert(node.input_value(0), single)
        else:
            continue
        _replace(node.output(0), wide)
        changed = True
    if changed:
        model.validate_nodes_and_infer_types()


def join_pairs(model: Model, openvino: ModuleType) -> int:
    """Makes one FakeQuantize of each activation's Q/DQ pair.

    OpenVINO reads a pair as FakeQuantize -> Convert -> Convert -> Subtract -> Multiply. Left so, an int8
    layer behind a Concat loses its input's scale, without an error (seen with OpenVINO 2026.1 to 2026.4). One
    FakeQuantize is what OpenVINO's own quantisation tools write.

    Returns:
        How many pairs were joined.
    """
    opset, joined = openvino.opset13, 0
    for quantize in model.get_ordered_ops():
        if quantize.get_type_name() != "FakeQuantize":
            continue
        for dequantized, scale in list(_dequantized(quantize)):
            x, low, high, *levels = (quantize.input_value(i) for i in range(5))
            ends = [opset.constant(level.get_node().get_data() * scale) for level in levels]
            both = opset.fake_quantize(x, low, high, *ends, quantize.get_attributes()["levels"])
            _replace(dequantized.output(0), both)
            joined += 1
    return joined


def shield_products(model: Model, openvino: ModuleType) -> None:
    """Gives a tiny bias to quantised products that have none, or one of zeros.

    Without a bias the product's scale is handed to each of its readers, and the plugin then fuses one
    reader's into the product for all; or the scale is moved past a Reshape and meets another axis. It stays
    in front of a bias.
    """
    opset = openvino.opset13
    for product in model.get_ordered_ops():
        if product.get_type_name() not in _PRODUCTS or _has_bias(product):
            continue
        shape, weighted = product.get_output_partial_shape(0), _is_dequantized(product.input_value(1))
        between = product.get_type_name() == "MatMul" and len(product.output(0).get_target_inputs()) > 1
        axis = len(shape) - 1 if product.get_type_name() == "MatMul" else 1
        if (weighted or between) and shape[axis].is_static:
            bias = np.full([1] * len(shape), _TINY, np.float32).repeat(shape[axis].get_length(), axis)
            _insert_behind(product.output(0), lambda y, b=bias: opset.add(y, opset.constant(b)))


def separate_extremes(model: Model, openvino: ModuleType) -> None:
    """Puts a Squeeze or Unsqueeze between ReduceMax or ReduceMin and what is behind.

    A quantiser fused into them rounds to int8 while the search for the extreme still runs.
    """
    opset = openvino.opset13
    make = {"ReduceMax": opset.reduce_max, "ReduceMin": opset.reduce_min}
    for node in model.get_ordered_ops():
        if node.get_type_name() in make and len(node.get_output_partial_shape(0)) > 0:
            x, axes = node.input_value(0), node.input_value(1)
            keep = node.get_keep_dims()
            extreme = make[node.get_type_name()](x, axes, not keep)
            _replace(node.output(0), (opset.unsqueeze if keep else opset.squeeze)(extreme, axes))


def shield_normalizations(model: Model, openvino: ModuleType) -> None:
    """Puts a Maximum that changes nothing in front of each mean-variance normalisation.

    A scale that comes to one is moved behind it, as if normalising took it out; but then the epsilon is as
    large beside integers as it was beside their values.
    """
    for node in model.get_ordered_ops():
        if node.get_type_name() == "MVN":
            node.input(0).replace_source_output(_same(node.input_value(0), openvino).output(0))


def shield_averages(model: Model, openvino: ModuleType) -> None:
    """Puts a Maximum that changes nothing behind each average pooling that not a quantiser alone reads.

    The averages are rounded to the steps of what is averaged where any quantiser is behind, if an activation
    and another reader are, too. With one quantiser the pooling is right, and int8.
    """
    for node in model.get_ordered_ops():
        if node.get_type_name() == "AvgPool" and not _is_only_quantized(node):
            _insert_behind(node.output(0), lambda y: _same(y, openvino))


def batch_first(model: Model, openvino: ModuleType) -> None:
    """Has recurrent layers hand their sequences over batch first, with the axis of directions taken out.

    ONNX has the steps first, OpenVINO the batch, so that each stands between two Transposes. The plugin makes
    Reshapes of them where it finds `Transpose -> Sequence -> Transpose`, also for whatever else reads the
    first, as the backward layer of a Bidirectional does, and then batch and steps are mixed up.
    """
    opset = openvino.opset13
    for node in model.get_ordered_ops():
        if not node.get_type_name().endswith("Sequence") or node.get_output_partial_shape(0)[1] != 1:
            continue
        axis = np.array([1])
        for steps_first in _transposed(node, [2, 1, 0, 3]):
            sequence = opset.squeeze(node.output(0), axis)
            for squeezed in _readers(steps_first, "Squeeze"):
                for transpose in _transposed(squeezed, [1, 0, 2]):
                    _replace(transpose.output(0), sequence)
            steps = opset.transpose(sequence, np.array([1, 0, 2]))
            _replace(steps_first.output(0), opset.unsqueeze(steps, axis))


def _dequantized(quantize: Node) -> Iterator[tuple[Any, Any]]:
    """The last node of each of its pairs, with the pair's scale; a bundle's zero points are 0."""
    for as_integer in _readers(quantize, "Convert"):
        for as_float in _readers(as_integer, "Convert"):
            for shifted in (as_float, *_readers(as_float, "Subtract")):
                for scaled in _readers(shifted, "Multiply"):
                    scale = scaled.input_value(1).get_node()
                    if scale.get_type_name() == "Constant":
                        yield scaled, scale.get_data()


def _has_bias(product: Node) -> bool:
    """Whether the product's only reader adds a constant that is not all zeros."""
    readers = product.output(0).get_target_inputs()
    if len(readers) != 1 or (add := next(iter(readers)).get_node()).get_type_name() != "Add":
        return False
    return any(_is_nonzero_constant(value.get_source_output()) for value in add.inputs())


def _is_nonzero_constant(value: Any) -> bool:
    node = value.get_node()
    while node.get_type_name() in ("Reshape", "Convert"):
        node = node.input_value(0).get_node()
    return node.get_type_name() == "Constant" and bool(node.get_data().any())


def _is_dequantized(weight: Any) -> bool:
    """Whether a weight is integers with a scale, perhaps behind a Reshape of groups."""
    node = weight.get_node()
    while node.get_type_name() in ("Reshape", "Transpose"):
        node = node.input_value(0).get_node()
    return bool(node.get_type_name() == "Multiply")


def _same(value: Any, openvino: ModuleType) -> Any:
    """A node that returns what it is given, and that scales do not move through."""
    return openvino.opset13.maximum(value, openvino.opset13.constant(np.finfo(np.float32).min))


def _is_only_quantized(node: Any) -> bool:
    """Whether one quantiser alone reads what a node makes, perhaps in another layout."""
    targets = node.output(0).get_target_inputs()
    if len(targets) != 1:
        return False
    reader = next(iter(targets)).get_node()
    kind = reader.get_type_name()
    moved = kind in ("Transpose", "Reshape", "Squeeze", "Unsqueeze")
    return kind == "FakeQuantize" or (moved and _is_only_quantized(reader))


def _readers(node: Node, kind: str) -> list[Any]:
    targets = (target.get_node() for target in node.output(0).get_target_inputs())
    return [reader for reader in targets if reader.get_type_name() == kind]


def _transposed(node: Node, order: list[int]) -> list[Any]:
    """The Transposes of that order that read the node's first output."""
    orders = ((t, t.input_value(1).get_node()) for t in _readers(node, "Transpose"))
    return [t for t, o in orders if o.get_type_name() == "Constant" and o.get_data().tolist() == order]


def _replace(old: Any, new: Any) -> None:
    """Makes every reader of an output read the new node, which takes over the name."""
    new.set_friendly_name(old.get_node().get_friendly_name())
    for target in old.get_target_inputs():
        target.replace_source_output(new.output(0))


def _insert_behind(output: Any, make: Any) -> None:
    """Puts what `make` returns between an output and its readers."""
    targets = output.get_target_inputs()
    new = make(output)
    for target in targets:
        target.replace_source_output(new.output(0))
