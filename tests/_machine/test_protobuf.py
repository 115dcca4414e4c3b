"""Protobuf's numbers, beside protobuf's own."""

from __future__ import annotations

import onnx
import pytest

from keras_trt._machine.protobuf import field_head, read_varint, varint


@pytest.mark.parametrize("number", [0, 1, 127, 128, 300, 16_384, 2**31, 2**63 - 1])
def test_a_number_is_written_as_protobuf_does_and_read_back(number):
    encoded = varint(number)
    assert onnx.ModelProto(ir_version=number).SerializeToString() == bytes([1 << 3]) + encoded
    assert read_varint(b"x" + encoded + b"x", 1) == (number, 1 + len(encoded))


@pytest.mark.parametrize("length", [0, 1, 127, 128, 100_000])
def test_the_head_of_a_field_is_protobufs(length):
    content = "x" * length
    field = onnx.TensorProto.DESCRIPTOR.fields_by_name["doc_string"].number
    proto = onnx.TensorProto(doc_string=content)
    assert field_head(field, length) + content.encode() == proto.SerializeToString()


def test_a_number_without_an_end_is_refused():
    with pytest.raises(ValueError, match="has no end"):
        read_varint(b"\xff" * 20, 0)
    with pytest.raises(IndexError):
        read_varint(b"\xff" * 3, 0)
