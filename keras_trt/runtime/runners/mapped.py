"""An ONNX file whose weights stay in the file they are in, for a runtime to map instead of copying them."""

from __future__ import annotations

import mmap
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from keras_trt._machine.protobuf import BYTES, field_head, fields, read_varint, varint

_GRAPH, _INITIALIZER, _INPUT = 7, 5, 11  # of a ModelProto; of a GraphProto
_DIMS, _DATA_TYPE, _NAME = 1, 2, 8  # of a TensorProto
_RAW_DATA, _EXTERNAL_DATA, _DATA_LOCATION = 9, 13, 14

SMALLEST = 64 * 1024
"""Bytes of a weight that is worth it; shapes and the like must stay in the graph."""


@dataclass(frozen=True)
class Place:
    """Where in its file a weight is.

    Attributes:
        name: The tensor's.
        data_type: Its number in ONNX.
        dims: Its shape.
        start: Its first byte.
        end: The byte behind its last.
    """

    name: str
    data_type: int
    dims: tuple[int, ...]
    start: int
    end: int


def without_weights(file: Path, location: str) -> bytes:
    """The file's bytes with references in place of its large weights.

    Args:
        file: An ONNX file.
        location: What the references call the file, from where the result will lie.

    Raises:
        ValueError: It is not protobuf.
        IndexError: It ends too early.
    """
    return _rewritten(
        file, lambda data, start, end: _message(_INITIALIZER, _tensor(data, start, end, location))
    )


def weights_as_inputs(file: Path, data_types: frozenset[int]) -> tuple[bytes, list[Place]]:
    """The file's bytes with inputs of the same names in place of its large weights, and where these are.

    Args:
        file: An ONNX file.
        data_types: ONNX's numbers of the types to take out; weights of others stay.

    Raises:
        ValueError: It is not protobuf.
        IndexError: It ends too early.
    """
    places = []

    def initializer(data: Any, start: int, end: int) -> bytes:
        place = _place(data, start, end)
        if place is None or place.data_type not in data_types:
            return _message(_INITIALIZER, data[start:end])
        places.append(place)
        return _message(_INPUT, _value_info(place))

    return _rewritten(file, initializer), places


def _rewritten(file: Path, initializer: Callable[[Any, int, int], bytes]) -> bytes:
    """The file's bytes with what a function makes of each initializer: it is given their bounds."""
    with file.open("rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as data:
        pieces = []
        for field, start, end, content in _fields(data, 0, len(data)):
            if field == _GRAPH:
                inner = [
                    initializer(data, begin, stop) if number == _INITIALIZER else data[first:stop]
                    for number, first, stop, begin in _fields(data, content, end)
                ]
                pieces.append(_message(_GRAPH, b"".join(inner)))
            else:
                pieces.append(data[start:end])
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


def _place(data: Any, start: int, end: int) -> Place | None:
    """Where a TensorProto's values are, if they are many and in the file as they are in memory."""
    name, data_type, held = "", 0, None
    dims: list[int] = []
    for field, value in fields(data, start, end):
        if field == _NAME:
            name = data[slice(*value)].decode()
        elif field == _DATA_TYPE:
            data_type = value
        elif field == _DIMS:  # one field a dimension, or all of them packed in one
            dims += [value] if isinstance(value, int) else _varints(data, *value)
        elif field == _RAW_DATA and value[1] - value[0] >= SMALLEST:
            held = value
    return None if held is None else Place(name, data_type, tuple(dims), *held)


def _varints(data: Any, start: int, end: int) -> Iterator[int]:
    while start < end:
        value, start = read_varint(data, start)
        yield value


def _value_info(place: Place) -> bytes:
    """A ValueInfoProto of a weight's name, type and shape."""
    shape = b"".join(_message(1, varint(1 << 3) + varint(size)) for size in place.dims)
    tensor = varint(1 << 3) + varint(place.data_type) + _message(2, shape)
    return _message(1, place.name.encode()) + _message(2, _message(1, tensor))


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
