"""What `precision` means for a float and for a quantised model."""

from __future__ import annotations

import pytest

from keras_trt._base.formats import float_type, is_quantized
from keras_trt.errors import InputError
from keras_trt.tensorrt_rules.precision import KNOWN, carried, resolve


@pytest.mark.parametrize(
    ("asked", "quantized", "resolved"),
    [
        (None, False, "float32"),
        (None, True, "int8"),
        ("float16", False, "fp16"),
        ("fp16", True, "int8+fp16"),
        ("bfloat16", True, "int8+bf16"),
        ("int8", True, "int8"),
        ("int8+fp16", False, "int8+fp16"),
        ("FP32", True, "int8"),
    ],
)
def test_a_quantised_model_keeps_its_int8(asked, quantized, resolved):
    assert resolve(asked, quantized=quantized) == resolved


@pytest.mark.parametrize("asked", ["int9", "fp16+bf16", "int8+fp16+bf16", 8, ""])
def test_other_words_are_refused(asked):
    with pytest.raises(InputError, match="`precision` must be one of"):
        resolve(asked, quantized=False)


@pytest.mark.parametrize("asked", ["fp8", "int4-weights", "fp8+fp16"])
def test_formats_of_quantize_model_are_refused_with_the_way_to_them(asked):
    scheme = asked.split("+")[0]
    with pytest.raises(InputError, match=rf"`export\(keras_trt\.quantize_model\(model, '{scheme}', cal"):
        resolve(asked, quantized=False)
    with pytest.raises(InputError, match=r"A quantised model keeps its formats"):
        resolve(asked, quantized=True)


def test_each_known_precision_has_a_float_type():
    found = {float_type(resolve(asked, quantized=False)) for asked in KNOWN}
    assert found == {"float32", "fp16", "bf16"}


@pytest.mark.parametrize(
    ("asked", "schemes", "label"),
    [
        ("float32", (), "float32"),
        ("fp16", (), "fp16"),
        ("int8", ("int8", "int8"), "int8"),
        ("int8", ("fp8",), "fp8"),
        ("int8+fp16", ("int4-weights",), "int4-weights+fp16"),
        ("int8+bf16", ("int8", "fp8", "int8"), "fp8+int8+bf16"),
        ("int8", (), "float32"),  # nothing that is computed was quantised
    ],
)
def test_the_label_says_what_the_graph_carries(asked, schemes, label):
    assert carried(asked, schemes) == label
    assert float_type(label) == float_type(asked)
    assert is_quantized(label) == bool(schemes)
