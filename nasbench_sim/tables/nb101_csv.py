"""NAS-Bench-101 as CSV: one row a module, one column a number. Read on import, written on export.

Columns `module_hash` (32 hexadecimal digits), `arch` (`V:bits:letters`, see `nb101.format_module`), `params`, and for
run R = 0, 1, 2 and WHEN = final, halfway:

    WHEN_train_accuracy_rR, WHEN_validation_accuracy_rR, WHEN_test_accuracy_rR   fractions of 1
    WHEN_training_time_rR                                                        seconds

of the 108-epoch runs; those of another budget begin with `e4_`, `e12_` or `e36_`. All eight of a run are there or all
are empty (no such run); other columns are not read.
"""

from __future__ import annotations

import csv
import gzip
import zlib
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nasbench_sim.errors import ArchError, TableError
from nasbench_sim.files import atomic_path
from nasbench_sim.spaces.nb101 import format_module, parse_module
from nasbench_sim.tables.module_builder import ModuleBuilder
from nasbench_sim.tables.module_codes import module_code, module_of
from nasbench_sim.tables.modules import RUNS, SPLITS, WHENS, Float64, ModuleTable
from nasbench_sim.tables.nb101_metrics import MEASURED
from nasbench_sim.tables.nb101_records import BUDGETS, Runs
from nasbench_sim.tables.tabular_file import read_cells

_ABOUT = ("module_hash", "arch", "params")
_BATCH = 8192
_MAX_HEADER = 1 << 16


def number_columns(budget: int, run: int) -> list[str]:
    """The eight columns of a run: (halfway, final) x (time, train, validation, test).

    >>> number_columns(12, 0)[0]
    'e12_halfway_training_time_r0'
    """
    front = "" if budget == 108 else f"e{budget}_"
    return [f"{front}{when}_{what}_r{run}" for when in WHENS for what in MEASURED]


def read_csv(path: Path, builder: ModuleBuilder) -> None:
    """Add every run of a `.csv` or `.csv.gz` file to `builder`.

    Raises `TableError`, one line with the row, for an absent column, what is no hash, module or number, a run that is
    there in part, and a run after one that is not there.
    """
    header = _header(path)
    have = [(b, r) for b in BUDGETS for r in range(len(RUNS)) if set(number_columns(b, r)) & set(header)]
    if not have:
        raise TableError(f"{path} has no numbers of NAS-Bench-101: no column is called {number_columns(108, 0)[6]}")
    wanted = [*_ABOUT, *(name for b, r in have for name in number_columns(b, r))]
    for name in wanted:
        if header.count(name) != 1:
            raise TableError(f"{path}: there {'are two columns' if name in header else 'is no column'} {name}")
    rows: list[list[str]] = []
    lines: list[int] = []
    for line, cells in read_cells(path, wanted):
        rows.append([str(cell) for cell in cells])
        lines.append(line)
        if len(rows) == _BATCH:
            _add(path, rows, lines, have, builder)
            rows, lines = [], []
    if rows:
        _add(path, rows, lines, have, builder)


def _header(path: Path) -> list[str]:
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as file:
            first = file.readline(_MAX_HEADER)
        names = next(csv.reader([first.decode()], strict=True), [])
    except (OSError, EOFError, zlib.error, UnicodeDecodeError, csv.Error) as error:
        raise TableError(f"{path}: is not a CSV file of NAS-Bench-101 ({error}); check the file") from error
    return names


def _add(
    path: Path, rows: list[list[str]], lines: Sequence[int], have: Sequence[tuple[int, int]], builder: ModuleBuilder
) -> None:
    def name(i: int) -> str:
        return f"{path} row {lines[i]}"

    codes = np.array([_code(row, lines[i], path) for i, row in enumerate(rows)], dtype=np.uint64)
    hashes = np.array([row[0] for row in rows], dtype="S32")
    params = _numbers(rows, 2, _ABOUT[2:], name)[:, 0]
    _refuse(np.asarray(params != np.floor(params)), name, "params is not a whole number")
    last = {budget: np.ones(len(rows), dtype=np.bool_) for budget, _ in have}
    for place, (budget, run) in enumerate(have):
        columns = number_columns(budget, run)
        values = _numbers(rows, len(_ABOUT) + place * len(columns), columns, name)
        empty = np.isnan(values)
        there = np.asarray(~empty.all(axis=1))
        said = f"run {run} of {budget} epochs"
        _refuse(empty.any(axis=1) & there, name, f"{said} is there in part; leave all its cells empty")
        _refuse(there & ~last[budget], name, f"has {said}, but not the one before it")
        last[budget] = there
        mine = np.flatnonzero(there)
        if len(mine):
            numbers = values[mine].reshape(-1, len(WHENS), len(MEASURED))
            epochs = np.full(len(mine), budget)
            runs = Runs(hashes[mine], codes[mine], epochs, params[mine].astype(np.int64), numbers)
            builder.add(runs, partial(_at, name, mine))


def _at(name: Callable[[int], str], rows: npt.NDArray[np.int64], i: int) -> str:
    return name(int(rows[i]))


def _code(row: Sequence[str], line: int, path: Path) -> int:
    name, text = row[:2]
    if len(name) != 32 or name.strip("0123456789abcdef"):
        raise TableError(f"{path} row {line}: module_hash {name[:40]!r} is not 32 hexadecimal digits")
    try:
        graph, _, letters = text.rpartition(":")
        return _graph_part(graph, len(letters)) | _ops_part(letters)
    except ArchError:
        pass
    try:
        return module_code(*parse_module(text))  # once more as a whole, for positions within the text
    except ArchError as error:
        raise TableError(f"{path} row {line}: {error}") from error


@lru_cache(maxsize=1 << 16)  # modules are many, their graphs and lists of operations few
def _graph_part(graph: str, vertices: int) -> int:
    return module_code(*parse_module(f"{graph}:i{'3' * (vertices - 2)}o"))


@lru_cache(maxsize=1 << 12)
def _ops_part(letters: str) -> int:
    pairs = len(letters) * (len(letters) - 1) // 2
    return module_code(*parse_module(f"{len(letters)}:{'0' * pairs}:{letters}"))


def _numbers(rows: list[list[str]], start: int, columns: Sequence[str], name: Callable[[int], str]) -> Float64:
    """Cells `[n, len(columns)]` as numbers, NaN where empty; each in the range of its column."""
    cells = [row[start : start + len(columns)] for row in rows]
    try:
        out = np.array(cells, dtype=np.float64)
    except ValueError:
        out = np.array([[_number(cell) for cell in row] for row in cells])
    top = np.array([1.0 if "accuracy" in column else 1e9 for column in columns])
    bad = ~((out >= 0) & (out <= top))
    for i, j in np.argwhere(bad).tolist():
        if cells[i][j]:  # an empty cell is no number, and not a bad one
            raise TableError(f"{name(i)}: {columns[j]} {cells[i][j][:40]!r} is not a number in 0..{top[j]:g}")
    return out


def _number(cell: str) -> float:
    try:
        return float(cell)
    except ValueError:
        return np.nan


def _refuse(bad: npt.NDArray[np.bool_], name: Callable[[int], str], why: str) -> None:
    if bad.any():
        raise TableError(f"{name(int(np.argmax(bad)))}: {why}")


def write_csv(table: ModuleTable, path: Path) -> None:
    """Write a table of modules atomically, in the form that `read_csv` reads; every number to its last bit."""
    have = [(b, r) for b in table.budgets for r in range(len(RUNS))]
    with atomic_path(path) as part, part.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([*_ABOUT, *(column for b, r in have for column in number_columns(b, r))])
        for start in range(0, table.size, _BATCH):
            rows = slice(start, start + _BATCH)
            columns: list[list[str]] = [
                table.hashes[rows].astype(str).tolist(),
                [format_module(*module_of(int(code))) for code in table.codes[rows]],
                table.params[rows].astype(str).tolist(),
            ]
            for budget, run in have:
                for when in WHENS:
                    key: Any = {"epochs": budget, "run": RUNS[run], "when": when}
                    numbers = [table.seconds(**key), *(table.fractions(**key, split=split) for split in SPLITS)]
                    columns += [np.where(np.isnan(x[rows]), "", x[rows].astype(str)).tolist() for x in numbers]
            writer.writerows(zip(*columns, strict=True))
