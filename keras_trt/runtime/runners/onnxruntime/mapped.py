"""An ONNX file whose weights stay in the file they are in, for a runtime to map instead of copying them."""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from keras_trt._machine.protobuf import BYTES, field_head, read_varint, varint

_GRAPH, _INITIALIZER = 7, 5  # of a ModelProto; of a GraphProto
_RAW_DATA, _EXTERNAL_DATA, _DATA_LOCATION = 9, 13, 14  # of a TensorProto

SMALLEST = 64 * 1024
"""Bytes of a weight that is worth it; shapes and the like must stay in the graph."""


def without_weights(file: Path, location: str) -> bytes:
    """The file's bytes with references in place of its large weights.

    Args:
        file: An ONNX file.
        location: What the references call the file, from where the result will lie.

    Raises:
        ValueError: It is not protobuf.
        IndexError: It ends too early.
    """
    with file.open("rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as data:
        pieces = []
        for field, start, end, content in _fields(data, 0, len(data)):
            if field == _GRAPH:
                pieces.append(_message(_GRAPH, _graph(data, content, end, location)))
            else:
                pieces.append(data[start:end])
        return b"".join(pieces)


def _graph(data: Any, start: int, end: int, location: str) -> bytes:
    pieces = []
    for field, begin, stop, content in _fields(data, start, end):
        if field == _INITIALIZER:
            pieces.append(_message(_INITIALIZER, _tensor(data, content, stop, location)))
        else:
            pieces.append(data[begin:stop])
    return b"".join(pieces)


def _tensor(data: Any, start: int, end: int, location: str) -> bytes:
    pieces = []
    for field, begin, stop, content in _fields(data, start, end):
        if field != _RAW_DATA or stop - content < SMALLEST:
            pieces.append(data[begin:stop])
            continue
        for key, value in (("location", location), ("offset", str(content)), ("length", str(stop - content))):
            entry = _message(1, key.encode()) + _message(2, value.encode())
            pieces.append(_message(_EXTERNAL_DATA, entry))
        pieces.append(varint(_DATA_LOCATION << 3) + varint(1))
    return b"".join(pieces)


def _fields(data: object, start: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """(number, begin, end, begin of the content) of each field of a message."""
    while start < end:
        begin = start
        key, start = read_varint(data, start)
        content, wire = start, key & 7
        if wire == BYTES:
            length, content = read_varint(data, start)
            start = content + length
        elif wire == 0:
            _, start = read_varint(data, start)
        elif wire in (1, 5):
            start += 8 if wire == 1 else 4
        else:
            raise ValueError(f"wire type {wire} at byte {begin}")
        if start > end:
            raise IndexError(f"the field at byte {begin} ends behind its message")
        yield key >> 3, begin, start, content


def _message(field: int, content: bytes) -> bytes:
    return field_head(field, len(content)) + content
