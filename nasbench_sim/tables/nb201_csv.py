"""CSV files of NAS-Bench-201 cells: every row must name its cell twice, by official index and by string, and agree."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from nasbench_sim.errors import TableError
from nasbench_sim.spaces.base import IntArray
from nasbench_sim.spaces.nb201 import NB201

Float64 = npt.NDArray[np.float64]
Rows = list[dict[str, str]]


def read_rows(file: str, text: str, index_and_arch: tuple[str, str], space: NB201) -> Rows:
    """The rows of a CSV file, which must be all cells in official index order.

    `file` names it in errors, `index_and_arch` the two columns. Raises `TableError` naming the first row that differs.
    """
    rows = _rows(file, text)
    if len(rows) != space.size:
        raise TableError(f"{file}: expected {space.size} rows, got {len(rows)}")
    for i, row in enumerate(rows):
        _check_cell(file, i, row, i, index_and_arch, space)
    return rows


def read_some_rows(
    file: str, text: str, index_and_arch: tuple[str, str], space: NB201, *, count: int
) -> tuple[Rows, IntArray]:
    """The rows of a CSV file that holds `count` of the cells in ascending index order, and their indices `[count]`.

    Raises `TableError` naming the first row that is out of order or not the cell that it says.
    """
    rows = _rows(file, text)
    if len(rows) != count:
        raise TableError(f"{file}: expected {count} rows, got {len(rows)}")
    index = np.empty(count, dtype=np.int64)
    last = -1
    for i, row in enumerate(rows):
        said = row.get(index_and_arch[0]) or ""
        here = int(said) if said.isascii() and said.isdigit() else -1
        if not last < here < space.size:
            raise TableError(f"{file}: row {i} has index {said}, expected one in {last + 1}..{space.size - 1}")
        _check_cell(file, i, row, here, index_and_arch, space)
        index[i] = last = here
    return rows, index


def _rows(file: str, text: str) -> Rows:
    try:
        return list(csv.DictReader(io.StringIO(text)))
    except csv.Error as error:
        raise TableError(f"{file}: not valid CSV ({error})") from error


def _check_cell(file: str, i: int, row: dict[str, str], cell: int, columns: tuple[str, str], space: NB201) -> None:
    index, arch = (row.get(c) for c in columns)
    if index != str(cell) or arch != space.strings[cell]:
        raise TableError(f"{file}: row {i} is {index} {arch}, expected {cell} {space.strings[cell]}")


def read_floats(file: str, rows: Iterable[dict[str, str]], column: str) -> Float64:
    """One numeric column of `rows`, float64; raises `TableError` where it is absent or not numeric."""
    try:
        return np.array([float(row[column]) for row in rows])
    except (KeyError, TypeError, ValueError) as error:
        raise TableError(f"{file}: column {column!r} is absent or not numeric ({error})") from error
