"""Protobuf's numbers, and what stands before a field: for files that must not be read or written whole."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

LARGEST = 1_900_000_000
"""Bytes; no message is read or written that is larger than 2 GB."""
BYTES = 2
"""The wire type of strings, bytes and messages."""

Span = tuple[int, int]
"""Where the bytes of a field lie: the first, and the one behind the last."""

_MORE = 0x80  # an octet holds seven bits and whether another one follows
_LONGEST = 70


def varint(value: int) -> bytes:
    r"""A number that is not negative, as protobuf writes it.

    Example:
        >>> varint(300)
        b'\xac\x02'
    """
    octets = bytearray()
    while value >= _MORE:
        octets.append(value % _MORE | _MORE)
        value //= _MORE
    return bytes([*octets, value])


def read_varint(data: Any, at: int) -> tuple[int, int]:
    r"""The number at a place of some bytes, and the place behind it.

    Raises:
        ValueError: It has no end.
        IndexError: The bytes end before it does.

    Example:
        >>> read_varint(b"\xac\x02", 0)
        (300, 2)
    """
    value = shift = 0
    while shift < _LONGEST:
        octet = data[at]
        at += 1
        value |= octet % _MORE << shift
        if octet < _MORE:
            return value, at
        shift += 7
    raise ValueError("a number has no end")


def field_head(field: int, length: int) -> bytes:
    """What stands before the content of a field of `length` bytes: its number and the length."""
    return varint(field << 3 | BYTES) + varint(length)


def fields(data: object, at: int, stop: int) -> Iterator[tuple[int, Any]]:
    """(field number, value) of a message: a number, or where its bytes lie.

    Args:
        data: The bytes that hold the message.
        at: Where it begins.
        stop: Where it ends.

    Raises:
        ValueError: Not protobuf, or not whole.
        IndexError: It ends too early.
    """
    while at < stop:
        key, at = read_varint(data, at)
        wire = key & 7
        if wire == 0:
            value, at = read_varint(data, at)
            yield key >> 3, value
            continue
        size = {1: 8, 5: 4}.get(wire)
        if wire == BYTES:
            size, at = read_varint(data, at)
        if size is None or at + size > stop:
            raise ValueError("it is not whole or not protobuf")
        if wire == BYTES:
            yield key >> 3, (at, at + size)
        at += size
