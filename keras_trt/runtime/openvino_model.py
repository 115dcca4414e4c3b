"""Where OpenVINO's int8 passes compute wrongly, without an error, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


def join_pairs(model: Any, openvino: Any) -> int:
    """Makes one FakeQuantize of each activation's Q/DQ pair, in place; the numbers stay the same.

    OpenVINO reads a pair as FakeQuantize -> Convert -> Convert -> Subtract -> Multiply. Left so, an int8
    layer behind a Concat loses its input's scale, without an error (seen with OpenVINO 2026.1 to 2026.4). One
    FakeQuantize is what OpenVINO's own quantisation tools write.

    Args:
        model: An `openvino.Model` read from ONNX.
        openvino: The module.

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
            both.set_friendly_name(dequantized.get_friendly_name())
            for target in dequantized.output(0).get_target_inputs():
                target.replace_source_output(both.output(0))
            joined += 1
    return joined


def _dequantized(quantize: Any) -> Iterator[tuple[Any, Any]]:
    """The last node of each of its pairs, with the pair's scale; a bundle's zero points are 0."""
    for as_integer in _readers(quantize, "Convert"):
        for as_float in _readers(as_integer, "Convert"):
            for shifted in (as_float, *_readers(as_float, "Subtract")):
                for scaled in _readers(shifted, "Multiply"):
                    scale = scaled.input_value(1).get_node()
                    if scale.get_type_name() == "Constant":
                        yield scaled, scale.get_data()


def _readers(node: Any, kind: str) -> list[Any]:
    targets = (target.get_node() for target in node.output(0).get_target_inputs())
    return [reader for reader in targets if reader.get_type_name() == kind]


def moves_scales(model: Any) -> bool:
    """Whether the int8 passes would move a product's scales, one a column, past a Reshape of its rows.

    The scales then multiply another axis, or the load fails if the axes differ in size (seen with OpenVINO
    2026.1 to 2026.4). A bias between the product and the Reshape keeps them where they are.
    """
    for reshape in model.get_ordered_ops():
        if reshape.get_type_name() != "Reshape":
            continue
        product = reshape.input_value(0).get_node()
        if product.get_type_name() == "MatMul" and len(product.get_output_partial_shape(0)) == 2:
            kernel = product.input_value(1).get_node()
            if kernel.get_type_name() == "Multiply" and len(reshape.get_output_partial_shape(0)) > 2:
                return True
    return False
