"""NAS-Bench-101 as CSV: there and back to the last bit, and every cell that cannot be."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from nasbench_sim.spaces.nb101 import format_module, module_hash
from nasbench_sim.tables.modules import (
    ModuleTable,
    array_names,
)
from nasbench_sim.tables.nb101 import read_nb101
from nasbench_sim.tables.nb101_csv import number_columns, write_csv
from tests.tables.tfrecords import CHAIN, FORK, MODULES, one_line, runs_of, small_file, write_tfrecord


@pytest.fixture
def table(tmp_path: Path) -> ModuleTable:
    return read_nb101(small_file(tmp_path))


def cells(path: Path) -> list[list[str]]:
    with path.open(newline="") as file:
        return list(csv.reader(file))


def test_csv_there_and_back(table: ModuleTable, tmp_path: Path) -> None:
    """Every number to its last bit, for a table with four budgets; compressed too."""
    write_csv(table, tmp_path / "x.csv")
    rows = cells(tmp_path / "x.csv")
    assert len(rows) == 5 and len(rows[0]) == 3 + 4 * 3 * 8
    with gzip.open(tmp_path / "x.csv.gz", "wt", newline="") as file:
        file.write((tmp_path / "x.csv").read_text())
    for name in ("x.csv", "x.csv.gz"):
        again = read_nb101(tmp_path / name)
        for array in array_names(table.budgets):
            assert np.array_equal(again._arrays[array], table._arrays[array]), array


def test_csv_with_runs_that_are_not_there(tmp_path: Path) -> None:
    table = read_nb101(write_tfrecord(tmp_path / "x.tfrecord", [*runs_of([CHAIN])[0], *runs_of([FORK], repeats=1)[0]]))
    write_csv(table, tmp_path / "x.csv")
    again = read_nb101(tmp_path / "x.csv")
    for array in array_names((108,)):
        assert np.array_equal(again._arrays[array], table._arrays[array], equal_nan=array[0] == "1")


@pytest.mark.parametrize(
    ("column", "value", "why"),
    [
        ("module_hash", "x" * 32, "row 2: module_hash 'xxxx"),
        ("module_hash", "0" * 32, "has the hash"),
        ("arch", "3:111", "row 2: bad module string at position 5"),
        ("arch", "3:111:ixo", "row 2: bad module string at position 7"),
        ("arch", "4:111:i3o", "row 2: bad module string"),
        ("arch", "", "row 2: bad module string at position 0"),
        ("params", "1.5", "row 2: params is not a whole number"),
        ("params", "", "row 2: params is not a whole number"),
        ("params", "3000000000", "row 2: params '3000000000' is not a number in 0..1e+09"),
        ("params", "-1", "row 2: params '-1' is not a number in 0..1e+09"),
        ("final_test_accuracy_r1", "", "row 2: run 1 of 108 epochs is there in part"),
        ("final_test_accuracy_r1", "94.3", "row 2: final_test_accuracy_r1 '94.3' is not a number in 0..1"),
        ("final_test_accuracy_r1", "nan", "row 2: final_test_accuracy_r1 'nan' is not a number in 0..1"),
        ("final_test_accuracy_r1", "x", "row 2: final_test_accuracy_r1 'x' is not a number in 0..1"),
        ("final_training_time_r2", "-3", "row 2: final_training_time_r2 '-3' is not a number in 0..1e+09"),
    ],
)
def test_csv_cells_that_cannot_be(tmp_path: Path, column: str, value: str, why: str) -> None:
    write_csv(read_nb101(write_tfrecord(tmp_path / "x.tfrecord", runs_of([CHAIN, FORK])[0])), tmp_path / "x.csv")
    rows = cells(tmp_path / "x.csv")
    rows[1][rows[0].index(column)] = value
    with (tmp_path / "x.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    assert why in one_line(lambda: read_nb101(tmp_path / "x.csv"))


def test_csv_files_that_cannot_be(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    write_csv(read_nb101(write_tfrecord(tmp_path / "x.tfrecord", runs_of([CHAIN, FORK])[0])), path)
    rows = cells(path)

    def rewritten(change: Callable[[list[list[str]]], list[list[str]]]) -> str:
        with path.open("w", newline="") as file:
            csv.writer(file).writerows(change([list(row) for row in rows]))
        return one_line(lambda: read_nb101(path))

    without = rows[0].index("final_test_accuracy_r0")
    assert "has no numbers of NAS-Bench-101" in rewritten(lambda r: [["a", "b"], ["1", "2"]])
    assert "is no column final_test_accuracy_r0" in rewritten(
        lambda r: [row[:without] + row[without + 1 :] for row in r]
    )
    assert len(rewritten(lambda r: [["x" * 5000, *r[0][:-1]], *r[1:]])) < 300
    assert "are two columns arch" in rewritten(lambda r: [[*row, row[1]] for row in r])
    assert "holds no run" in rewritten(lambda r: r[:1])
    assert "cells under" in rewritten(lambda r: [*r, ["x"]])
    run0 = {rows[0].index(name) for name in number_columns(108, 0)}
    emptied = rewritten(lambda r: [r[0], ["" if i in run0 else c for i, c in enumerate(r[1])], r[2]])
    assert "row 2: has run 1 of 108 epochs, but not the one before it" in emptied
    assert "is a fourth run" in rewritten(lambda r: [*r, r[1]])
    path.write_bytes(b"\xff\xfe\x00")
    assert "is not a CSV file of NAS-Bench-101" in one_line(lambda: read_nb101(path))
    (tmp_path / "x.csv.gz").write_bytes(b"not gzip")
    assert "is not a CSV file of NAS-Bench-101" in one_line(lambda: read_nb101(tmp_path / "x.csv.gz"))


def test_the_module_column_is_the_module(table: ModuleTable, tmp_path: Path) -> None:
    write_csv(table, tmp_path / "x.csv")
    by_hash = {row[0]: row[1] for row in cells(tmp_path / "x.csv")[1:]}
    assert by_hash == {module_hash(*module): format_module(*module) for module in MODULES}
