"""Whether TensorRT's parsed network computes in the types that were asked for."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from keras_trt._base.formats import NARROW, STORED, float_type
from keras_trt.tensorrt_rules.stats import Product

_QUANTIZED = {name: STORED[name] for name in ("int8", "fp8")}


def unreached(
    products: Iterable[Product], computes: Mapping[str, str], precision: str, in_float32: Collection[str] = ()
) -> str:
    """Which convolutions and matrix products TensorRT would compute in another type than the graph's.

    Args:
        products: Those of the ONNX graph.
        computes: The type each layer of the parsed network computes in, by the node's name.
        precision: What the export was asked for, resolved.
        in_float32: The names of nodes left in float32 on purpose; a loop's name stands for its body.

    Returns:
        A sentence that names the Keras layers; empty when there are none.
    """
    wrong = []
    for product in products:
        wanted = _QUANTIZED.get(product.computes) or NARROW.get(float_type(precision))
        on_purpose = product.computes == "float" and any(
            product.node == name or product.node.startswith(f"{name}/") for name in in_float32
        )
        actual = computes.get(product.node)
        lost = product.computes in _QUANTIZED and actual is None
        if wanted is not None and not on_purpose and (lost or actual not in (None, wanted)):
            wrong.append((product.layer, actual or "an unknown type", wanted))
    if not wrong:
        return ""
    layers = ", ".join(f"{layer} in {actual} instead of {wanted}" for layer, actual, wanted in wrong[:10])
    return (
        f"TensorRT would not reach precision {precision!r} in {len(wrong)} layers: {layers}. "
        "This is a fault of the export; please report it."
    )
