"""The fields of a protocol-buffer message, strictly: enough to read two small messages without the protobuf runtime.

A message is fields back to back, each a varint tag (field number << 3 | wire type) and a value:

    wire type 0  varint: int32, int64, bool
    wire type 1  8 bytes little-endian: double, fixed64
    wire type 2  varint length, then that many bytes: string, bytes, sub-message

The deprecated groups (3, 4) and 4-byte values (5) do not occur in what is read here and are refused, as are a varint
longer than ten bytes or above 2^64 - 1, a value that reaches past the end, and field number 0.
"""

from __future__ import annotations

from typing import NamedTuple

from nasbench_sim.errors import TableError

VARINT, DOUBLE, BYTES = 0, 1, 2
_NAMES = {VARINT: "a varint", DOUBLE: "8 bytes", BYTES: "a length and bytes"}


class Field(NamedTuple):
    """One field of a message: its number, its wire type, and where its value stands in the data.

    `begin` is the first byte of the tag; the value's bytes are `data[start:stop]` (for wire type 2 without the length).
    """

    number: int
    wire: int
    begin: int
    start: int
    stop: int


def read_fields(data: bytes, start: int = 0, stop: int | None = None) -> list[Field]:
    """The fields of the message that is `data[start:stop]`, in order; values are not copied.

    Raises `TableError` saying what is wrong and at which byte of `data`; the caller says in which file and record.

    >>> [field.number for field in read_fields(bytes([0x10, 0x96, 0x01, 0x1A, 0x02, 0x68, 0x69]))]
    [2, 3]
    """
    end = len(data) if stop is None else stop
    out = []
    at = start
    while at < end:
        begin = at
        tag, at = read_varint(data, at, end)
        number, wire = tag >> 3, tag & 7
        if number == 0:
            raise TableError(f"field number 0 at byte {begin}")
        if wire == VARINT:
            first = at
            at = read_varint(data, at, end)[1]
        elif wire == DOUBLE:
            first, at = at, at + 8
        elif wire == BYTES:
            length, first = read_varint(data, at, end)
            at = first + length
        else:
            raise TableError(f"wire type {wire} of field {number} at byte {begin} is not known")
        if at > end:
            raise TableError(f"field {number} at byte {begin} reaches {at - end} bytes past the end of its message")
        out.append(Field(number, wire, begin, first, at))
    return out


def read_varint(data: bytes, at: int, end: int) -> tuple[int, int]:
    """(value, position behind it) of the varint at `data[at]`; raises `TableError` past `end` or above 2^64 - 1.

    >>> read_varint(bytes([0x96, 0x01]), 0, 2)
    (150, 2)
    """
    value = shift = 0
    for position in range(at, min(end, at + 10)):
        byte = data[position]
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            if value >> 64:
                break
            return value, position + 1
        shift += 7
    raise TableError(f"the varint at byte {at} is cut off or above 2^64 - 1")


def expect(field: Field, wire: int, name: str) -> None:
    """Raise `TableError` unless a field has the wire type that its name calls for."""
    if field.wire != wire:
        raise TableError(f"{name} (field {field.number}) is not {_NAMES[wire]} but wire type {field.wire}")
