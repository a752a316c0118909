"""Where the large tensors of an ONNX file lie, so that they are mapped and not read.

A model is a protocol buffer: fields of a number and a kind, messages nested by length (https://protobuf.dev/programming-guides/encoding).
Its initialisers hold their elements as bytes (`raw_data`); what is left without those is small, and parsed by the onnx package.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ...ir.errors import FormatError

GRAPH, INITIALIZER, RAW_DATA = 7, 5, 9  # field numbers in ModelProto, GraphProto, TensorProto (onnx.proto)
SMALLEST = 1024  # bytes of elements that are worth a place of their own
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5  # kinds of fields

Places = dict[int, tuple[int, int]]  # number of an initialiser -> first byte and length of its elements in the file


def without_large_tensors(content: Any) -> tuple[bytes, Places]:
    """A model without the elements of its large initialisers, and where these lie. Raises FormatError if it is no model."""
    places: Places = {}
    parts: list[bytes] = []
    for number, kind, start, body, end in _fields(content, 0, len(content)):
        if number == GRAPH and kind == _BYTES:
            parts.append(_message(GRAPH, _graph(content, body, end, places)))
        else:
            parts.append(bytes(content[start:end]))
    return b"".join(parts), places


def _graph(content: Any, start: int, end: int, places: Places) -> bytes:
    parts: list[bytes] = []
    count = 0
    for number, kind, first, body, last in _fields(content, start, end):
        if number == INITIALIZER and kind == _BYTES:
            parts.append(_tensor(content, first, body, last, count, places))
            count += 1
        else:
            parts.append(bytes(content[first:last]))
    return b"".join(parts)


def _tensor(content: Any, first: int, body: int, last: int, index: int, places: Places) -> bytes:
    if last - body < SMALLEST:
        return bytes(content[first:last])
    parts: list[bytes] = []
    for number, kind, start, inner, end in _fields(content, body, last):
        if number == RAW_DATA and kind == _BYTES and end - inner >= SMALLEST:
            places[index] = (inner, end - inner)
        else:
            parts.append(bytes(content[start:end]))
    return _message(INITIALIZER, b"".join(parts))


def _fields(content: Any, start: int, end: int) -> Iterator[tuple[int, int, int, int, int]]:
    """Number and kind of each field of a message, where it starts, where what it holds starts, and where it ends."""
    at = start
    while at < end:
        key, body = _varint(content, at, end)
        number, kind = key >> 3, key & 7
        if kind == _VARINT:
            last = _varint(content, body, end)[1]
        elif kind == _BYTES:
            length, body = _varint(content, body, end)
            last = body + length
        elif kind in (_FIXED64, _FIXED32):
            last = body + (8 if kind == _FIXED64 else 4)
        else:
            raise FormatError(f"byte {at} begins no field of a protocol buffer")
        if last > end or not number:
            raise FormatError(f"the field at byte {at} is cut off")
        yield number, kind, at, body, last
        at = last


def _varint(content: Any, at: int, end: int) -> tuple[int, int]:
    """An integer of seven bits a byte, lowest first, and where it ends."""
    value = 0
    for shift in range(0, 70, 7):
        if at >= end:
            break
        byte = content[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise FormatError(f"the integer before byte {at} is cut off")


def _message(number: int, content: bytes) -> bytes:
    return _encoded(number << 3 | _BYTES) + _encoded(len(content)) + content


def _encoded(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes((*out, value))
