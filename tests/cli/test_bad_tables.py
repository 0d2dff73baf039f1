"""Damaged, foreign and hostile tables and CSV files: one line, nothing run, nothing imported."""

from __future__ import annotations

import csv
import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from nasbench_sim.tables import analog, catalogue
from nasbench_sim.tables.store import write_table
from tests.cli.helpers import KEY, QUICK, call, good, refused, run_process
from tests.tables.helpers import SPACE, craft, small_table

SEARCH = ("search", "darts", "--seeds", "2", *QUICK)
QUERY = ("query", "1", "--dataset", "cifar10", "--split", "valid", "--epochs", "200", "--seed", "mean")


def _truncated(data: bytes) -> bytes:
    return data[: len(data) * 2 // 3]


def _flipped(data: bytes) -> bytes:
    at = len(data) // 2
    return data[:at] + bytes([data[at] ^ 16]) + data[at + 1 :]


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (_truncated, "is truncated or padded"),
        (_flipped, "is damaged: its content does not fit its sha256"),
        (lambda data: b"", "is empty"),
        (lambda data: b"not a table at all", "not a nasbench-sim table file"),
        (lambda data: data + b"\0", "is truncated or padded"),
    ],
    ids=["truncated", "flipped", "empty", "text", "padded"],
)
def test_a_damaged_table_file(damage: Callable[[bytes], bytes], said: str) -> None:
    write_table(small_table(), "t.h5")
    good_bytes = Path("t.h5").read_bytes()
    assert call(*QUERY, "--table", "t.h5").code == 0
    Path("t.h5").write_bytes(damage(good_bytes))
    for command in (QUERY, (*SEARCH, "--out", "run"), ("reproduce", "--seeds", "2", "--out", "all")):
        error = refused(*command, "--table", "t.h5", said=said)
        assert "t.h5" in error
    refused("tables", "verify", "t.h5", said=said)
    refused("tables", "import", "mine", "--h5", "t.h5", said=said)
    assert not catalogue.table_path("mine").exists()


def test_a_table_of_another_schema_and_an_hdf5_file_of_somebody_else() -> None:
    def newer(file: h5py.File) -> None:
        manifest = json.loads(file["manifest"][()].tobytes())
        text = json.dumps({**manifest, "schema_version": 99}).encode()
        del file["manifest"]
        file.create_dataset("manifest", data=np.frombuffer(text, np.uint8), fletcher32=True, chunks=(len(text),))

    craft(Path("newer.h5"), newer)
    refused(*QUERY, "--table", "newer.h5", said="not a table of schema 1")
    with h5py.File("foreign.h5", "w") as file:
        file["accuracy"] = [1.0, 2.0]
    refused(*QUERY, "--table", "foreign.h5", said="an HDF5 file, but not a nasbench-sim table")
    good(*SEARCH, "--out", "run")
    refused(*QUERY, "--table", "run/record.h5", said="not a nasbench-sim table")


class _Evil:
    """Unpickles to a command that leaves a file."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> Any:
        return os.system, (f"echo ran > '{self.trace}'",)


@pytest.mark.parametrize("size", [0, 5_610_467], ids=["short", "of the right size"])
def test_a_hostile_package_file_is_not_run(tmp_path: Path, size: int) -> None:
    """As installed: a package of the right name and version whose data file is a program."""
    site, trace = tmp_path / "site", tmp_path / "trace"
    (site / "analognasbench").mkdir(parents=True)
    (site / "analog_nasbench-0.1.3.dist-info").mkdir()
    about = "Metadata-Version: 2.1\nName: analog-nasbench\nVersion: 0.1.3\n"
    (site / "analog_nasbench-0.1.3.dist-info" / "METADATA").write_text(about)
    hostile = pickle.dumps(_Evil(trace))
    (site / "analognasbench" / "data.anb").write_bytes(hostile.ljust(size, b"\0"))
    result = run_process(*SEARCH, "--out", "run", path=(site,))
    assert result.code == 2
    assert result.out == ""
    assert result.err.count("\n") == 1 and "is not the file of analog-nasbench 0.1.3" in result.err
    assert "pip install --force-reinstall analog-nasbench==0.1.3" in result.err
    assert not trace.exists() and not Path("run").exists()
    pickle.loads(hostile)  # noqa: S301  (the proof that it would have run)
    assert trace.exists()


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_hostile_file_that_passed_the_pin_is_not_run_either(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, protocol: int
) -> None:
    trace = tmp_path / "trace"
    hostile = pickle.dumps({(0,) * 6: _Evil(trace)}, protocol=protocol)
    monkeypatch.setattr(analog, "_pinned_bytes", lambda path: hostile)
    analog.load_analog.cache_clear()
    try:
        refused("query", "1", *KEY, said="data.anb")
        refused(*SEARCH, "--out", "run", said="data.anb")
    finally:
        analog.load_analog.cache_clear()
    assert not trace.exists()


Rows = list[list[str]]
IMPORT = ("tables", "import", "mine", "--csv", "r.csv", "--unit", "percent", "--map", "val=cifar10/valid/200/mean")


def _rows() -> Rows:
    return [["arch", "val"], *([text, f"{50 + i % 40}.5"] for i, text in enumerate(SPACE.strings))]


def _edit(row: int, cell: int, value: str) -> Callable[[Rows], Rows]:
    return lambda rows: [[*r[:cell], value, *r[cell + 1 :]] if i == row else r for i, r in enumerate(rows)]


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (lambda rows: rows[:-3], "3"),
        (lambda rows: [*rows, rows[5]], "stood in row 6 already"),
        (lambda rows: rows[:1], "has no rows"),
        (lambda rows: [["arch", "other"], *rows[1:]], "unknown column 'val'"),
        (lambda rows: [["cell", "val"], *rows[1:]], "unknown column 'arch'"),
        (_edit(9, 1, "100.5"), "row 10: 100.5 is outside 0..100"),
        (_edit(9, 1, "-1"), "row 10: -1 is outside 0..100"),
        (_edit(9, 1, "ninety"), "'ninety' is not a number"),
        (_edit(9, 1, "nan"), "is not a finite number"),
        (_edit(9, 1, ""), "is empty; pass --allow-missing"),
        (_edit(9, 0, "|nor_conv_3x3~0|"), "bad architecture string at position"),
        (lambda rows: [rows[0], [*rows[1], "more"], *rows[2:]], "3 cells under 2 column names"),
    ],
    ids=["missing", "twice", "none", "column", "arch", "high", "low", "word", "nan", "empty", "cell", "wide"],
)
def test_a_csv_with_mistakes_is_not_imported(edit: Callable[[Rows], Rows], said: str) -> None:
    with Path("r.csv").open("w", newline="") as file:
        csv.writer(file).writerows(edit(_rows()))
    error = refused(*IMPORT, said=said)
    assert "r.csv" in error
    assert not catalogue.table_path("mine").exists()
    refused(*QUERY, "--table", "mine", said="unknown table 'mine'")


def test_the_csv_of_these_tests_is_good() -> None:
    with Path("r.csv").open("w", newline="") as file:
        csv.writer(file).writerows(_rows())
    good(*IMPORT)
    result = call(*QUERY, "--table", "mine")
    assert (result.code, result.out) == (0, "51.5000\n")
    assert "in-sample" in result.err  # one column: search and report would use the same numbers
