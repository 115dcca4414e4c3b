"""The rules by shape against the sizes that NVIDIA's own quantiser takes and leaves."""

from __future__ import annotations

import pytest

from keras_trt.placement.products import Attention, Convolution, Matrix
from keras_trt.placement.shape_rules import SHAPE_RULES, left_out

# (product, format) -> the rule that leaves it in float, or None. At these sizes Model Optimizer's functions,
# named in the rules, change their mind.
TABLE = [
    (Matrix(None, 64, 1000), "int8", None),
    (Matrix(1, 64, 1000), "int8", "vector"),
    (Matrix(32, 64, 1), "int8", "vector"),
    (Matrix(None, 64, 1), "fp8", "vector"),
    (Matrix(32, 16, 16), "int8", None),
    (Matrix(32, 15, 64), "int8", "small matrix"),
    (Matrix(32, 64, 10), "fp8", "small matrix"),
    (Matrix(None, None, None), "int8", None),
    (Convolution(16, 16, (3, 3)), "int8", None),
    (Convolution(16, 16, (1, 7)), "int8", None),
    (Convolution(3, 32, (3, 3)), "int8", None),
    (Convolution(3, 64, (7, 7)), "int8", None),
    (Convolution(3, 18, (3, 3)), "int8", "few channels"),
    (Convolution(3, 32, (3, 5)), "int8", "few channels"),
    (Convolution(3, 8, (3, 3), first=True), "int8", None),
    (Convolution(3, 8, (3, 3)), "int8", "few channels"),
    (Convolution(8, 8, (3, 3)), "int8", "few channels"),
    (Convolution(32, 8, (1, 1)), "int8", None),
    (Convolution(32, 10, (1, 1)), "int8", None),
    (Convolution(20, 10, (1, 1)), "int8", "few channels"),
    (Convolution(1, 32, (3, 3), groups=32), "int8", None),
    (Convolution(1, 32, (2, 2), groups=32), "int8", "small depthwise window"),
    (Convolution(1, 36, (3, 3), groups=36), "int8", "groups"),
    (Convolution(4, 128, (3, 3), groups=32), "int8", None),
    (Convolution(4, 128, (1, 1), groups=32), "int8", "groups"),
    (Convolution(4, 12, (3, 3), groups=3), "int8", "groups"),
    (Attention(512, 64), "int8", None),
    (Attention(513, 64), "int8", "long attention"),
    (Attention(None, 64), "int8", None),
    (Attention(4096, 64), "fp8", None),
    (Convolution(17, 17, (3, 3)), "fp8", None),
    (Convolution(16, 64, (3, 3)), "fp8", "fp8 channels"),
    (Convolution(64, 16, (3, 3)), "fp8", "fp8 channels"),
    (Convolution(1, 64, (3, 3), groups=64), "fp8", "fp8 channels"),
    (Convolution(64, 64, (4, 8)), "fp8", None),
    (Convolution(64, 64, (3, 11)), "fp8", "fp8 window"),
    (Attention(64, 8), "fp8", "fp8 head"),
    (Attention(64, 9), "fp8", None),
    (Attention(64, 256), "fp8", None),
    (Attention(64, 257), "fp8", "fp8 head"),
]


@pytest.mark.parametrize(("product", "activations", "rule"), TABLE, ids=str)
def test_the_rule_that_leaves_a_product_in_float(product, activations, rule):
    left = left_out([product], activations)
    assert (left and left[0]) == rule
    assert left_out([product], None) is None  # only weights are rounded: nothing stands around the product


def test_every_rule_is_in_the_table_with_its_source():
    assert {rule for _, _, rule in TABLE if rule} == {rule.name for rule in SHAPE_RULES}
    assert all(rule.source.startswith("Model Optimizer, find_nodes_from_") for rule in SHAPE_RULES)


def test_reasons_name_the_sizes():
    products = [Convolution(64, 64, (3, 3)), Convolution(3, 18, (3, 5))]
    assert left_out(products, "int8") == (
        "few channels",
        "faster in float: a convolution of 3 to 18 channels, window 3 x 5: int8 gains from 16, or on one "
        "side with a multiple of 8 and a square window",
    )
    assert left_out([Matrix(1, None, 64)], "int8")[1].startswith(
        "faster in float: a product of 1 x K and K x 64"
    )
