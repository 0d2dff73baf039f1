"""Targets: a user's own tables as CSV and Parquet, and what is typed on a command line."""

from __future__ import annotations

import csv
import gzip
import io
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet

from nasbench_sim.errors import UserError
from nasbench_sim.spaces import NB201, get_space
from nasbench_sim.spaces.nb101 import format_module, parse_module
from nasbench_sim.spaces.nb101_batch import parse_modules
from nasbench_sim.tables.nb201_csv import read_floats, read_some_rows
from nasbench_sim.tables.store import write_table
from nasbench_sim.tables.table import Key
from nasbench_sim.tables.tabular_file import Mapped, parse_map, parse_metric, read_columns, read_tabular
from tests.fuzz.target import target, written
from tests.tables.tfrecords import MODULES

SPACE = NB201()
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
    return read_columns(written(folder, "a.csv", data), MAPPED, SPACE)


@target("csv-gz", "a user's table as compressed CSV", lambda f: [gzip.compress(x, mtime=0) for x in _csvs(f)])
def _(data: bytes, folder: Path) -> object:
    return read_columns(written(folder, "a.csv.gz", data), MAPPED, SPACE)


def _parquets(folder: Path) -> list[bytes]:
    columns = {"arch": list(SPACE.strings[:4]), "val": [1.5, 2.5, 3.5, 4.5], "sf": [None, 1.0, 2.0, 3.0]}
    out = []
    for compression in ("none", "snappy", "gzip", "zstd"):
        pyarrow.parquet.write_table(pyarrow.table(columns), folder / "a.parquet", compression=compression)
        out.append((folder / "a.parquet").read_bytes())
    return out


@target("parquet", "a user's table as Parquet (read by pyarrow)", _parquets, words=(b"PAR1", b"ARROW:schema", b"arch"))
def _(data: bytes, folder: Path) -> object:
    return read_columns(written(folder, "a.parquet", data), MAPPED, SPACE)


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
    refused = 0
    readers: list[Any] = [SPACE.parse, *(get_space(f"nb1shot1-{n}").parse for n in (1, 2, 3)), parse_module]
    for read in (*readers, lambda x: parse_modules([x])):
        try:
            read(text)
        except UserError as error:
            assert "\n" not in str(error)
            refused += 1
    return refused


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
    except UserError:
        return parse_metric(text)


@target("import-csv", "a user's table, to the table on disk", _csvs, words=_CELLS)
def _(data: bytes, folder: Path) -> object:
    table = read_tabular(written(folder, "a.csv", data), MAPPED, name="mine", space="nb201")
    return write_table(table, folder / "home" / "mine.h5")
