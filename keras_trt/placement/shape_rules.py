"""Products that are faster in float than between quantisers, by their sizes.

TensorRT computes any product in int8 that it is asked for. Where its sizes do not suit tensor cores, the
conversions around it cost more than it saves, and users see int8 engines that are slower than float16 ones.
The rules are those by which NVIDIA's own quantiser leaves products out: Model Optimizer, the functions named
below of `modelopt/onnx/quantization`. An open axis, as the batch mostly is, breaks no rule.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from keras_trt.placement.products import Attention, Convolution, Matrix, Product

PLACEMENTS = ("tensorrt", "all")
"""By these rules, or wherever an operator can compute in int8."""
DEFAULT = "all"
"""Until engines have been timed both ways: that the rules make them faster is NVIDIA's statement."""

MIN_MATRIX = 16
MIN_CHANNELS = 16
ALIGNED = 8
MAX_TOKENS = 512
MAX_FP8_WINDOW = 32
FP8_HEADS = range(9, 257)

_MATMUL = "Model Optimizer, find_nodes_from_matmul_to_exclude"
_CONV = "Model Optimizer, find_nodes_from_convs_to_exclude"
_MHA = "Model Optimizer, find_nodes_from_mha_to_exclude"


@dataclass(frozen=True)
class ShapeRule:
    """A row of the table.

    Attributes:
        name: What it is called.
        of: The products that it is about.
        formats: The number formats that it is about.
        leaves: Whether it leaves a product in float.
        reason: Why, for `plan` and `report`, with the product's sizes in braces.
        source: Where NVIDIA says so.
    """

    name: str
    of: type
    formats: tuple[str, ...]
    leaves: Callable[[Any], bool]
    reason: str
    source: str


def _vector(p: Matrix) -> bool:
    return p.rows == 1 or p.columns == 1


def _small_matrix(p: Matrix) -> bool:
    return any(size is not None and size < MIN_MATRIX for size in (p.summed, p.columns))


def _narrow(p: Convolution) -> bool:
    """Few channels, and not the exception for which TensorRT has kernels."""
    if p.groups > 1 or min(p.inputs, p.outputs) >= MIN_CHANNELS:
        return False
    aligned = p.inputs % ALIGNED == 0 or p.outputs % ALIGNED == 0
    wide = p.first or max(p.inputs, p.outputs) >= MIN_CHANNELS
    return not (aligned and wide and len(set(p.window)) == 1)


def _small_depthwise(p: Convolution) -> bool:
    return p.groups > 1 and p.inputs == 1 and min(p.window) < 3


def _grouped(p: Convolution) -> bool:
    return p.groups > 1 and (p.outputs % ALIGNED != 0 or min(p.window) < 3)


def _large_window(p: Convolution) -> bool:
    size = 1
    for extent in p.window:
        size *= extent
    return size > MAX_FP8_WINDOW


BOTH = ("int8", "fp8")
SHAPE_RULES: tuple[ShapeRule, ...] = (
    ShapeRule(
        "vector", Matrix, BOTH, _vector,
        "a product of {rows} x {summed} and {summed} x {columns}: tensor cores multiply no vectors", _MATMUL,
    ),
    ShapeRule(
        "small matrix", Matrix, BOTH, _small_matrix,
        f"a matrix of {{summed}} x {{columns}}: tensor cores are slower below {MIN_MATRIX} in int8", _MATMUL,
    ),
    ShapeRule(
        "few channels", Convolution, ("int8",), _narrow,
        f"a convolution of {{inputs}} to {{outputs}} channels, window {{window}}: int8 gains from "
        f"{MIN_CHANNELS}, or on one side with a multiple of {ALIGNED} and a square window", _CONV,
    ),
    ShapeRule(
        "small depthwise window", Convolution, ("int8",), _small_depthwise,
        "a depthwise convolution with the window {window}: slower in int8 below 3 x 3", _CONV,
    ),
    ShapeRule(
        "groups", Convolution, ("int8",), _grouped,
        f"{{groups}} groups, {{outputs}} output channels, window {{window}}: grouped convolutions gain with "
        f"a multiple of {ALIGNED} channels and a window from 3 on",
        f"{_CONV}, which asks it below {MIN_CHANNELS} channels a group",
    ),
    ShapeRule(
        "long attention", Attention, ("int8",), lambda p: p.tokens is not None and p.tokens > MAX_TOKENS,
        f"attention over {{tokens}} tokens: TensorRT fuses its products in int8 up to {MAX_TOKENS}", _MHA,
    ),
    ShapeRule(
        "fp8 window", Convolution, ("fp8",), _large_window,
        f"a convolution with the window {{window}}: fp8 kernels have up to {MAX_FP8_WINDOW} elements", _CONV,
    ),
    ShapeRule(
        "fp8 channels", Convolution, ("fp8",), lambda p: min(p.inputs, p.outputs) <= MIN_CHANNELS,
        f"a convolution of {{inputs}} to {{outputs}} channels a group: fp8 gains above {MIN_CHANNELS}", _CONV,
    ),
    ShapeRule(
        "fp8 head", Attention, ("fp8",), lambda p: p.head not in FP8_HEADS,
        f"attention heads of {{head}} channels: TensorRT fuses fp8 attention from {FP8_HEADS[0]} to "
        f"{FP8_HEADS[-1]}", _MHA,
    ),
)  # fmt: skip


def left_out(products: Iterable[Product], activations: str | None) -> tuple[str, str] | None:
    """The rule that leaves a layer in float and its reason; None where none does.

    Args:
        products: Those that the layer computes (see `products_of`); one is enough.
        activations: The format of its activations. Where they are float, weights alone are smaller and no
            conversion stands around the product, so no rule is about that.
    """
    products = tuple(products)
    for rule in SHAPE_RULES:
        for product in products:
            if activations in rule.formats and isinstance(product, rule.of) and rule.leaves(product):
                return rule.name, f"faster in float: {rule.reason.format(**_words(product))}"
    return None


def _words(product: Product) -> dict[str, str]:
    """The sizes of a product as words; an open one is called by its letter."""
    letters = {"rows": "M", "summed": "K", "columns": "N", "tokens": "T"}
    return {
        name: " x ".join(map(str, value))
        if isinstance(value, tuple)
        else str(letters[name] if value is None else value)
        for name, value in vars(product).items()
    }
