"""TFRecord files as a stream of checked records, without TensorFlow.

A file is records back to back, each of four parts, little-endian:

    length   uint64
    checked  uint32   masked CRC-32C of the eight bytes of the length
    data     length bytes
    checked  uint32   masked CRC-32C of the data

The mask is ((crc >> 15) | (crc << 17)) + 0xa282ead8 modulo 2^32. (The framing of TensorFlow's TFRecordWriter without
compression.) Both sums of every record are compared; a length is believed only after its own sum fits and it is within
the cap, so that a damaged or made-up length allocates nothing.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from typing import BinaryIO

from nasbench_sim.errors import TableError

MAX_RECORD = 1 << 16  # bytes of data; 523 MB of NAS-Bench-101 in 1.27 million records are 400 each
_CHUNK = 1 << 20
_MAX_BATCH = 1 << 22  # bytes of data in one batch, so that its decoded form is bounded too
_HEADER, _FOOTER = 12, 4
_MEND = "get the file again"


def masked_crc32c(data: bytes) -> int:
    """Masked CRC-32C of `data`, as TFRecord files store it.

    >>> hex(masked_crc32c(b""))
    '0xa282ead8'
    """
    from google_crc32c import value  # uses the processor's own instruction

    crc: int = value(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def read_records(
    file: BinaryIO,
    where: str,
    *,
    batch: int = 4096,
    max_record: int = MAX_RECORD,
    seen: Callable[[bytes], object] | None = None,
) -> Iterator[tuple[int, list[bytes]]]:
    """Yield (number of the first, data of up to `batch` records or 4 MiB) in file order; records are counted from 0.

    `file` is read once, a megabyte at a time; `seen` is called with every piece of it (for a digest, or a progress
    bar). Raises `TableError`, one line with the record's number and byte: a sum that does not fit, a length above
    `max_record`, an end inside a record, a file without records.

    >>> import io, struct
    >>> parts = [struct.pack("<Q", 2), b"hi"]
    >>> file = io.BytesIO(b"".join(p + struct.pack("<I", masked_crc32c(p)) for p in parts))
    >>> list(read_records(file, "tiny.tfrecord"))
    [(0, [b'hi'])]
    """
    lengths: dict[bytes, int] = {}  # headers whose sum was found to fit; there are few distinct lengths in a file
    data, at, before, count, held = b"", 0, 0, 0, 0  # `before`: bytes of the file that came before `data`
    out: list[bytes] = []
    more = True
    while more:
        chunk = file.read(_CHUNK)
        more = bool(chunk)
        if seen is not None:
            seen(chunk)
        data, before, at = data[at:] + chunk, before + at, 0
        end = len(data)
        while at + _HEADER <= end:
            header = data[at : at + _HEADER]
            length = lengths.get(header)
            if length is None:
                length = _length(header, max_record, f"{where}: record {count} at byte {before + at}")
                lengths[header] = length
            start = at + _HEADER
            stop = start + length
            if stop + _FOOTER > end:
                break
            record = data[start:stop]
            if masked_crc32c(record) != int.from_bytes(data[stop : stop + _FOOTER], "little"):
                raise TableError(
                    f"{where}: record {count} at byte {before + at} is damaged: its data does not fit its CRC-32C; "
                    f"{_MEND}"
                )
            at = stop + _FOOTER
            out.append(record)
            count += 1
            held += length
            if len(out) == batch or held >= _MAX_BATCH:
                yield count - len(out), out
                out, held = [], 0
    if at < len(data):
        raise TableError(f"{where} is truncated: it ends inside record {count} at byte {before + at}; {_MEND}")
    if not count:
        raise TableError(f"{where} is empty; {_MEND}")
    if out:
        yield count - len(out), out


def _length(header: bytes, most: int, where: str) -> int:
    length, crc = struct.unpack("<QI", header)
    if masked_crc32c(header[:8]) != crc:
        raise TableError(
            f"{where} is damaged, or this is no TFRecord file: its length does not fit its CRC-32C; {_MEND}"
        )
    if length > most:
        raise TableError(f"{where} says it has {length} bytes, more than the {most} that a record may have; {_MEND}")
    return int(length)
