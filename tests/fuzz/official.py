"""Targets: the official files of NAS-Bench-201 and NATS-Bench, and other pickles."""

from __future__ import annotations

import io
import pickle
import struct
import tarfile
from pathlib import Path
from typing import Any

import numpy as np

from nasbench_sim.errors import TableError
from nasbench_sim.files import atomic_path
from nasbench_sim.spaces import NB201
from nasbench_sim.tables import analog
from nasbench_sim.tables.curves_writer import CurveWriter
from nasbench_sim.tables.nats_files import Member, _architecture, inflate, members
from nasbench_sim.tables.nats_pth import decoded_pth
from nasbench_sim.tables.unpickle import FLOAT64_ARRAYS, NATS_BENCH, read_pickle
from tests.fuzz.mutate import Rng
from tests.fuzz.target import target, written
from tests.tables import nats_factory as factory
from tests.tables.test_nats_pth import new, old

SPACE = NB201()
_PICKLE = (
    b"cos\nsystem\n", b"cbuiltins\neval\n", b"\x8c\x02os\x8c\x06system\x93", b"ccollections\nOrderedDict\n", b"R", b"b",
    b"\x81", b"\x92", b"\x94", b"h\xff", b"j\xff\xff\xff\x00", b"r\xff\xff\xff\x7f", b"}", b"]",
    b"(" * 64, b"}q\x00h\x00h\x00s", b"\x95" + b"\xff" * 8, b"X\xff\xff\xff\x7f", b"\x8a\xff", b"\x80\x05", b"u", b".",
)  # fmt: skip


def small_architecture(cell: int, epochs: int = 12) -> dict[str, Any]:
    """Results after 12 epochs of one run on one data set: every field of a file, few of its points."""
    results = factory.results(cell, epochs, rng=np.random.default_rng(cell))
    kept = {key: run for key, run in results["all_results"].items() if key[0] == "cifar10"}
    return {**results, "all_results": kept, "dataset_seed": {"cifar10": [111]}}


def _arrays(folder: Path) -> list[bytes]:
    plain = {"a": 1, "b": [1.5, "x", None, True], ("nor_conv_3x3", "none"): {"cifar10": (1, 2)}}
    arrays = {"cifar10": np.arange(3.0), "acc": {777: np.zeros(2)}}
    return [pickle.dumps(plain, 2), *(pickle.dumps(x, p) for x in (plain, arrays) for p in (3, 4))]


@target("pickle", "NAS-Bench-201 pickles of numbers and arrays", _arrays, words=_PICKLE)
def _(data: bytes, folder: Path) -> object:
    return read_pickle(data, what="a pickle", cap=1 << 20, allowed=FLOAT64_ARRAYS)


_ANALOG: Any = {
    ("analognasbench.data", "Architecture"): analog._Architecture,
    ("analognasbench.data", "DriftMeasurement"): analog._Drift,
}


def _records(folder: Path) -> list[bytes]:
    """Two records as `analog-nasbench` has them, written opcode by opcode: its classes are not imported."""

    def text(x: str) -> bytes:
        return b"\x8c" + bytes([len(x)]) + x.encode()

    def made(name: str, state: bytes) -> bytes:
        return text("analognasbench.data") + text(name) + b"\x93)\x81}(" + state + b"ub"

    number = b"G" + struct.pack(">d", 91.25)
    drift = made("DriftMeasurement", text("value") + number + text("uncertainty") + number)
    fields = sorted(analog._Architecture.fields)
    values = [drift if "drift" in f else b"K\x01K\x02K\x03\x87" if f == "architecture" else number for f in fields]
    record = made("Architecture", b"".join(text(f) + v for f, v in zip(fields, values, strict=True)))
    return [b"\x80\x04}(K\x01K\x02K\x03\x87" + record + b"u."]


@target("pickle-records", "analog-nasbench's pickle of records", _records, words=_PICKLE)
def _(data: bytes, folder: Path) -> object:
    return read_pickle(data, what="a pickle", cap=1 << 20, allowed=_ANALOG)


def _results(folder: Path) -> list[bytes]:
    return [pickle.dumps({"12": small_architecture(11)}, p) for p in (3, 4)]


@target("nats-pickle", "the unpacked results of a NATS-Bench architecture", _results, words=_PICKLE)
def _(data: bytes, folder: Path) -> object:
    content = read_pickle(data, what="a pickle", cap=1 << 22, allowed=NATS_BENCH)
    return _architecture(content, 11, SPACE, "a pickle")


def _packed(folder: Path) -> list[bytes]:
    return [factory.packed({"12": small_architecture(11)})]


@target("nats-pbz2", "a file NNNNNN.pickle.pbz2 of NATS-Bench", _packed, words=(b"BZh9", b"1AY&SY", b"\x17rE8P\x90"))
def _(data: bytes, folder: Path) -> object:
    raw = inflate(Member(11, "a member", data))
    content = read_pickle(raw, what="a pickle", cap=1 << 22, allowed=NATS_BENCH)
    return _architecture(content, 11, SPACE, "a pickle")


def _archives(folder: Path) -> list[bytes]:
    few = [(f"{factory.FOLDER}/{name}.pickle.pbz2", b"x" * 40) for name in ("meta", "000011", "015624")]
    out = []
    for form in (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        raw = io.BytesIO()
        with tarfile.open(fileobj=raw, mode="w", format=form, pax_headers={"comment": "x"}) as archive:
            for name, data in few:
                info = tarfile.TarInfo(name if form == tarfile.USTAR_FORMAT else "./" + name)
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))
        out.append(raw.getvalue())
    return out


def _headers_again(data: bytes, rng: Rng) -> bytes:
    """The sums of an archive's headers, made to fit in most inputs."""
    if rng.random() < 0.1:
        return data
    out = bytearray(data)
    for at in range(0, len(out) - 511, 512):
        if bytes(out[at + 257 : at + 262]) == b"ustar":
            out[at + 148 : at + 156] = b" " * 8
            out[at + 148 : at + 156] = b"%06o\0 " % sum(out[at : at + 512])
    return bytes(out)


_TAR = (
    b"../../etc/passwd\0", b"/etc/passwd\0", b"1", b"2", b"3", b"5", b"6", b"x", b"g", b"L", b"K", b"S",
    b"77777777777\0", b"30 size=99999999999999\n", b"12 path=../x\n", b"GNU.sparse.map=0,1", b"ustar\x0000", b"\x80",
)  # fmt: skip


@target("nats-tar", "the archive of NATS-Bench: names, sizes, links", _archives, mend=_headers_again, words=_TAR)
def _(data: bytes, folder: Path) -> object:
    return [m.where for m in members(written(folder, "a.tar", data))]


def _containers(make: Any) -> Any:
    content = {
        "meta_archs": ["x"] * 3,
        "total_archs": 3,
        "arch2infos": {11: {"full": small_architecture(11), "less": small_architecture(11)}},
        "evaluated_indexes": [11],
    }
    return lambda folder: [make(content)]


def _decoded(data: bytes, folder: Path) -> object:
    try:
        return list(decoded_pth(written(folder, "a.pth", data), SPACE))
    except TableError as error:
        if "lists 3 architectures" in str(error):  # the list of all 15,625 would be most of each input
            return None
        raise


target("pth", "NAS-Bench-201 .pth before torch 1.6: a stream of pickles", _containers(old), words=_PICKLE)(_decoded)
target(
    "pth-zip",
    "NAS-Bench-201 .pth since torch 1.6: a zip archive",
    _containers(new),
    words=(b"PK\x01\x02", b"PK\x05\x06", *_PICKLE),
)(_decoded)


@target("import-curves", "an architecture of NATS-Bench, to the curves on disk", _results, words=_PICKLE)
def _(data: bytes, folder: Path) -> object:
    home = folder / "home"
    with atomic_path(home / "x.safetensors") as part, CurveWriter("nb201", home) as writer:
        content = read_pickle(data, what="a pickle", cap=1 << 22, allowed=NATS_BENCH)
        writer.add(*_architecture(content, 11, SPACE, "a pickle"))
        writer.finish(part, sources=(), notes=())
    return None
