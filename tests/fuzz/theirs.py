"""Targets: files that others wrote: the official benchmarks, CSV and Parquet, and what is typed on a command line."""

from __future__ import annotations

import csv
import gzip
import io
import pickle
import struct
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet

from nasbench_sim.errors import TableError
from nasbench_sim.spaces import NB201, get_space
from nasbench_sim.spaces.nb101 import format_module, parse_module
from nasbench_sim.spaces.nb101_batch import parse_modules
from nasbench_sim.tables import analog
from nasbench_sim.tables.curves_writer import CurveWriter
from nasbench_sim.tables.module_builder import ModuleBuilder
from nasbench_sim.tables.nats_files import Member, _architecture, inflate, members
from nasbench_sim.tables.nats_pth import decoded_pth
from nasbench_sim.tables.nb101 import read_nb101
from nasbench_sim.tables.nb101_csv import read_csv, write_csv
from nasbench_sim.tables.nb101_metrics import MetricsReader
from nasbench_sim.tables.nb101_records import RecordDecoder
from nasbench_sim.tables.nb201_csv import read_floats, read_some_rows
from nasbench_sim.tables.store import write_table
from nasbench_sim.tables.table import Key
from nasbench_sim.tables.tabular_file import Mapped, parse_map, parse_metric, read_columns, read_tabular
from nasbench_sim.tables.tfrecord import masked_crc32c, read_records
from nasbench_sim.tables.unpickle import FLOAT64_ARRAYS, NATS_BENCH, read_pickle
from tests.fuzz.mutate import Rng
from tests.fuzz.target import target
from tests.tables import nats_factory as factory
from tests.tables.test_nats_pth import new, old
from tests.tables.tfrecords import MODULES, frame, metrics, numbers, runs_of, write_tfrecord

SPACE = NB201()
_PICKLE = (
    b"cos\nsystem\n", b"cbuiltins\neval\n", b"\x8c\x02os\x8c\x06system\x93", b"ccollections\nOrderedDict\n", b"R", b"b",
    b"\x81", b"\x92", b"\x94", b"h\xff", b"j\xff\xff\xff\x00", b"r\xff\xff\xff\x7f", b"}", b"]",
    b"(" * 64, b"}q\x00h\x00h\x00s", b"\x95" + b"\xff" * 8, b"X\xff\xff\xff\x7f", b"\x8a\xff", b"\x80\x05", b"u", b".",
)  # fmt: skip


def _written(folder: Path, name: str, data: bytes) -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


def small_architecture(cell: int, epochs: int = 12) -> dict[str, Any]:
    """Results after 12 epochs of one run on one data set: every field of a file, few of its points."""
    results = factory.results(cell, epochs, rng=np.random.default_rng(cell))
    kept = {key: run for key, run in results["all_results"].items() if key[0] == "cifar10"}
    return {**results, "all_results": kept, "dataset_seed": {"cifar10": [111]}}


# --- pickles --------------------------------------------------------------------------------------------------------


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
    return [m.where for m in members(_written(folder, "a.tar", data))]


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
        return list(decoded_pth(_written(folder, "a.pth", data), SPACE))
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


# --- NAS-Bench-101 --------------------------------------------------------------------------------------------------


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
    return read_nb101(_written(folder, "a.tfrecord", data))


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
    read_csv(_written(folder, "a.csv", data), builder)
    return builder.finish([])


# --- tables of a user -----------------------------------------------------------------------------------------------

_KEY = Key("cifar10", "valid", 200, "mean")
MAPPED = Mapped({"val": _KEY}, "percent", {"sf": ("proxy/synflow", "cifar10")}, allow_missing=True)


def _csvs(folder: Path) -> list[bytes]:
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(["note", "arch", "val", "sf"])
    writer.writerows([["a,\nb", SPACE.strings[i], 90.5 + i / 1000, "" if i % 2 else -3.25] for i in range(4)])
    return [out.getvalue().encode(), b"arch,val,sf\n" + SPACE.strings[5].encode() + b",10,2\n"]


_CELLS = (b"|nor_conv_3x3~0|", b"none", b",", b'"', b'""', b"\r\n", b"1e308", b"arch", b"val", b"x" * 5000)


@target("csv", "a user's table as CSV", _csvs, words=_CELLS)
def _(data: bytes, folder: Path) -> object:
    return read_columns(_written(folder, "a.csv", data), MAPPED, SPACE)


@target("csv-gz", "a user's table as compressed CSV", lambda f: [gzip.compress(x, mtime=0) for x in _csvs(f)])
def _(data: bytes, folder: Path) -> object:
    return read_columns(_written(folder, "a.csv.gz", data), MAPPED, SPACE)


def _parquets(folder: Path) -> list[bytes]:
    columns = {"arch": list(SPACE.strings[:4]), "val": [1.5, 2.5, 3.5, 4.5], "sf": [None, 1.0, 2.0, 3.0]}
    out = []
    for compression in ("none", "snappy", "gzip", "zstd"):
        pyarrow.parquet.write_table(pyarrow.table(columns), folder / "a.parquet", compression=compression)
        out.append((folder / "a.parquet").read_bytes())
    return out


@target("parquet", "a user's table as Parquet (read by pyarrow)", _parquets, words=(b"PAR1", b"ARROW:schema", b"arch"))
def _(data: bytes, folder: Path) -> object:
    return read_columns(_written(folder, "a.parquet", data), MAPPED, SPACE)


def _cells(folder: Path) -> list[bytes]:
    rows = "".join(f"{i},{SPACE.strings[i]},{i}.5\n" for i in (0, 7, 15_624))
    return [f"index,arch,x\n{rows}".encode()]


@target("nb201-csv", "costs of NAS-Bench-201 cells as CSV", _cells, words=_CELLS)
def _(data: bytes, folder: Path) -> object:
    try:
        text = data.decode()
    except UnicodeDecodeError:
        text = data.decode("latin-1")
    rows, _ = read_some_rows("a file", text, ("index", "arch"), SPACE, count=3)
    return read_floats("a file", rows, "x")


# --- texts ----------------------------------------------------------------------------------------------------------


def _texts(folder: Path) -> list[bytes]:
    shots = [get_space(f"nb1shot1-{n}") for n in (1, 2, 3)]
    every = [SPACE.strings[11], *(s.format(s.at(17)) for s in shots), *(format_module(*m) for m in MODULES)]
    return [x.encode() for x in every]


@target(
    "arch",
    "architectures as text: the four spaces, modules",
    _texts,
    words=(b"|", b"~0", b":", b"none", "\u0661".encode()),
)
def _(data: bytes, folder: Path) -> object:
    text = data.decode("utf-8", "surrogateescape")
    wrong = 0
    readers: list[Any] = [SPACE.parse, *(get_space(f"nb1shot1-{n}").parse for n in (1, 2, 3)), parse_module]
    for read in (*readers, lambda x: parse_modules([x])):
        try:
            read(text)
        except ValueError as error:
            if not hasattr(error, "with_traceback") or "\n" in str(error):
                raise AssertionError(str(error)) from error
            wrong += type(error).__mro__[1].__name__ == "UserError"
            if type(error).__mro__[1].__name__ != "UserError":
                raise
    return wrong


@target(
    "map",
    "--map and --metric of an import",
    lambda _: [b"val=cifar10/valid/200/777", b"sf=proxy/synflow/cifar10"],
    words=(b"=", b"/", b"mean", b"unstated", "\u0663".encode()),
)
def _(data: bytes, folder: Path) -> object:
    text = data.decode("utf-8", "surrogateescape")
    try:
        return parse_map(text)
    except ValueError as error:
        return parse_metric(text) if "--map" in str(error) else None


# --- whole imports: what they leave behind --------------------------------------------------------------------------


@target("import-csv", "a user's table, to the table on disk", _csvs, words=_CELLS)
def _(data: bytes, folder: Path) -> object:
    table = read_tabular(_written(folder, "a.csv", data), MAPPED, name="mine", space="nb201")
    return write_table(table, folder / "home" / "mine.h5")


@target("import-curves", "an architecture of NATS-Bench, to the curves on disk", _results, words=_PICKLE)
def _(data: bytes, folder: Path) -> object:
    home = folder / "home"
    from nasbench_sim.files import atomic_path

    with atomic_path(home / "x.safetensors") as part, CurveWriter("nb201", home) as writer:
        content = read_pickle(data, what="a pickle", cap=1 << 22, allowed=NATS_BENCH)
        writer.add(*_architecture(content, 11, SPACE, "a pickle"))
        writer.finish(part, sources=(), notes=())
    return None
