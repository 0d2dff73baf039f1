"""Targets: the files of NAS-Bench-101: TFRecord, JSON, protocol buffers, CSV."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import numpy as np

from nasbench_sim.tables.module_builder import ModuleBuilder
from nasbench_sim.tables.nb101 import read_nb101
from nasbench_sim.tables.nb101_csv import read_csv, write_csv
from nasbench_sim.tables.nb101_metrics import MetricsReader
from nasbench_sim.tables.nb101_records import RecordDecoder
from nasbench_sim.tables.tfrecord import masked_crc32c, read_records
from tests.fuzz.mutate import Rng
from tests.fuzz.target import target, written
from tests.tables.tfrecords import MODULES, frame, metrics, numbers, runs_of, write_tfrecord


def _tfrecords(folder: Path) -> list[bytes]:
    return [write_tfrecord(folder / "a.tfrecord", runs_of(MODULES[:2])[0]).read_bytes()]


def _sums_again(data: bytes, rng: Rng) -> bytes:
    """The sums of the records as their lengths have them, as far as these make sense; in most inputs."""
    if rng.random() < 0.15:
        return data
    out, at = bytearray(data), 0
    while at + 16 <= len(out):
        length = int.from_bytes(out[at : at + 8], "little")
        out[at + 8 : at + 12] = struct.pack("<I", masked_crc32c(bytes(out[at : at + 8])))
        stop = at + 12 + length
        if stop + 4 > len(out):
            break
        out[stop : stop + 4] = struct.pack("<I", masked_crc32c(bytes(out[at + 12 : stop])))
        at = stop + 4
    return bytes(out)


@target(
    "tfrecord",
    "NAS-Bench-101 .tfrecord: framing, records and table",
    _tfrecords,
    mend=_sums_again,
    words=(b"\xff" * 8,),
)
def _(data: bytes, folder: Path) -> object:
    return read_nb101(written(folder, "a.tfrecord", data))


def _json(folder: Path) -> list[bytes]:
    return runs_of(MODULES, (4, 108))[0][:8]


@target(
    "nb101-record",
    "one record of NAS-Bench-101 (JSON, base64)",
    _json,
    words=(b'",', b"[[", b"=", b"\\n", b"conv3x3-bn-relu"),
)
def _(data: bytes, folder: Path) -> object:
    first = [(n, r) for n, r in read_records(io.BytesIO(frame(data)), "a file")]
    runs = RecordDecoder("a file").decode(*first[0])
    builder = ModuleBuilder("a file")
    builder.add(runs, lambda i: f"record {i}")
    return builder.finish([])


def _messages(folder: Path) -> list[bytes]:
    values = numbers(np.random.default_rng(0))[0]
    return [metrics(values, 1_000_000), metrics(values, 5, checkpoint=b"gs://x")]


@target(
    "protobuf",
    "the numbers of a record of NAS-Bench-101",
    _messages,
    words=(b"\x09", b"\x0a", b"\x10", b"\x80" * 10, b"\xff" * 9 + b"\x01"),
)
def _(data: bytes, folder: Path) -> object:
    return MetricsReader().read([data, data], "a file")


def _modules_csv(folder: Path) -> list[bytes]:
    table = read_nb101(write_tfrecord(folder / "a.tfrecord", runs_of(MODULES[:3], (4, 108))[0]))
    write_csv(table, folder / "a.csv")
    return [(folder / "a.csv").read_bytes()]


@target("nb101-csv", "NAS-Bench-101 as CSV", _modules_csv, words=(b"e12_", b",,", b"7:", b"i3o", b":", b"1e400", b'"'))
def _(data: bytes, folder: Path) -> object:
    builder = ModuleBuilder("a file")
    read_csv(written(folder, "a.csv", data), builder)
    return builder.finish([])
