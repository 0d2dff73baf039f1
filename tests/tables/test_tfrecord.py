"""TFRecord framing: what is written is read, and nothing else is."""

from __future__ import annotations

import io
import struct
from typing import Any

import google_crc32c
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nasbench_sim.errors import TableError
from nasbench_sim.tables import tfrecord
from nasbench_sim.tables.tfrecord import MAX_RECORD, masked_crc32c, read_records
from tests.tables.tfrecords import frame


def read(data: bytes, **options: Any) -> list[bytes]:
    out: list[bytes] = []
    for first, batch in read_records(io.BytesIO(data), "x.tfrecord", **options):
        assert first == len(out)
        assert batch
        out += batch
    return out


def refused(data: bytes, **options: Any) -> str:
    with pytest.raises(TableError) as caught:
        read(data, **options)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("x.tfrecord")
    return str(caught.value)


@pytest.mark.parametrize(
    ("data", "crc"),
    [(b"123456789", 0xE3069283), (bytes(32), 0x8A9136AA), (b"\xff" * 32, 0x62A8AB43), (bytes(range(32)), 0x46DD794E)],
)
def test_the_sum_is_crc32c_masked(data: bytes, crc: int) -> None:
    """Check values of CRC-32C (RFC 3720, appendix B.4), and the mask undone."""
    rotated = (masked_crc32c(data) - 0xA282EAD8) % 2**32
    assert (rotated >> 17 | rotated << 15) % 2**32 == crc


def test_the_sum_is_not_the_slow_one() -> None:
    assert google_crc32c.implementation == "c"  # the fallback in Python reads 100 times slower


def test_a_record_as_bytes() -> None:
    """The layout written out: length, its sum, data, its sum."""
    data = b"nas"
    parts = [struct.pack("<Q", 3), struct.pack("<I", masked_crc32c(struct.pack("<Q", 3)))]
    parts += [data, struct.pack("<I", masked_crc32c(data))]
    assert read(b"".join(parts)) == [data]


@given(st.lists(st.binary(max_size=300), min_size=1, max_size=40), st.integers(1, 9))
@settings(max_examples=100, deadline=None)
def test_what_is_framed_is_read(records: list[bytes], batch: int) -> None:
    pieces: list[bytes] = []
    data = b"".join(map(frame, records))
    assert read(data, batch=batch, seen=pieces.append) == records
    assert b"".join(pieces) == data


def test_records_that_reach_over_the_pieces_of_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    records = [bytes([i % 251]) * (i * 7 % 60) for i in range(200)]
    data = b"".join(map(frame, records))
    for chunk in (1, 2, 13, 16, 17, 64, len(data)):
        monkeypatch.setattr(tfrecord, "_CHUNK", chunk)
        assert read(data) == records


def test_a_batch_is_bounded_in_bytes_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tfrecord, "_MAX_BATCH", 100)
    data = b"".join(frame(bytes(40)) for _ in range(10))
    assert [len(batch) for _, batch in read_records(io.BytesIO(data), "x")] == [3, 3, 3, 1]


def test_every_flipped_bit_is_found() -> None:
    data = frame(b"first") + frame(b"second record")
    for bit in range(8 * len(data)):
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << bit % 8
        said = refused(bytes(damaged))
        number = 0 if bit < 8 * len(frame(b"first")) else 1
        assert f"record {number} at byte {number * len(frame(b'first'))}" in said


def test_every_truncation_is_found_but_one_between_records() -> None:
    data = frame(b"first") + frame(b"second record")
    whole = len(frame(b"first"))
    for length in range(len(data)):
        if length == whole:
            assert read(data[:length]) == [b"first"]
        elif length == 0:
            assert refused(b"").startswith("x.tfrecord is empty")
        else:
            assert "truncated: it ends inside record" in refused(data[:length])


def test_an_absurd_length_is_refused_before_it_is_believed() -> None:
    for length in (MAX_RECORD + 1, 2**40, 2**64 - 1):
        header = struct.pack("<Q", length)
        said = refused(header + struct.pack("<I", masked_crc32c(header)) + b"x" * 100)
        assert f"says it has {length} bytes, more than the {MAX_RECORD}" in said
    assert read(frame(bytes(MAX_RECORD))) == [bytes(MAX_RECORD)]


@pytest.mark.parametrize("data", [b"not a TFRecord file at all", b"\x1f\x8b" + bytes(100), b"\x89HDF\r\n\x1a\n" * 9])
def test_other_files_are_named_as_such(data: bytes) -> None:
    assert "record 0 at byte 0 is damaged, or this is no TFRecord file" in refused(data)


@given(st.binary(max_size=400))
@settings(max_examples=300, deadline=None)
def test_noise_is_refused_in_one_line(data: bytes) -> None:
    refused(data)
