"""CSV files of cells: every row is the cell that it says, by index and by string, or the file is refused."""

from __future__ import annotations

from typing import Any

import pytest

from nasbench_sim.errors import TableError
from nasbench_sim.spaces import NB201
from nasbench_sim.tables.nb201_csv import read_floats, read_rows, read_some_rows


def test_csv_rows_must_be_the_cells_in_order() -> None:
    space = NB201()
    lines = [f"{i},{s}" for i, s in enumerate(space.strings)]
    assert len(read_rows("f", "\n".join(["i,a", *lines]), ("i", "a"), space)) == 15_625
    with pytest.raises(TableError, match="expected 15625 rows, got 15624"):
        read_rows("f", "\n".join(["i,a", *lines[:-1]]), ("i", "a"), space)
    lines[3], lines[4] = lines[4], lines[3]
    with pytest.raises(TableError, match="row 3 is 4 "):
        read_rows("f", "\n".join(["i,a", *lines]), ("i", "a"), space)


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([0, 7], "expected 3 rows, got 2"),
        ([0, 7, 7], "row 2 has index 7, expected one in 8..15624"),
        ([0, 7, 3], "row 2 has index 3, expected one in 8..15624"),
        ([0, 7, 15_625], "row 2 has index 15625"),
        ([0, "x", 9], "row 1 has index x, expected one in 1..15624"),
        ([0, "", 9], "row 1 has index ,"),
        ([0, "-1", 9], "row 1 has index -1"),
        ([0, "²", 9], "row 1 has index ²"),
    ],
)
def test_csv_rows_of_some_cells_ascend(rows: list[Any], said: str) -> None:
    space = NB201()
    lines = [f"{i},{space.strings[i] if isinstance(i, int) and i < space.size else ''}" for i in rows]
    with pytest.raises(TableError, match=said.replace(".", r"\.")):
        read_some_rows("f", "\n".join(["i,a", *lines]), ("i", "a"), space, count=3)


def test_csv_rows_of_some_cells_name_the_cell_twice() -> None:
    space = NB201()
    good = "\n".join(["i,a", f"0,{space.strings[0]}", f"9,{space.strings[9]}"])
    rows, index = read_some_rows("f", good, ("i", "a"), space, count=2)
    assert (len(rows), index.tolist()) == (2, [0, 9])
    with pytest.raises(TableError, match="row 1 is 8 "):
        read_some_rows("f", good.replace("9,", "8,"), ("i", "a"), space, count=2)
    with pytest.raises(TableError, match="row 0 has index"):
        read_some_rows("f", good, ("index", "a"), space, count=2)


def test_columns_must_be_there_and_numeric() -> None:
    rows = [{"x": "1.5", "y": "a"}, {"x": "-2e-3", "y": "1"}]
    assert read_floats("f", rows, "x").tolist() == [1.5, -0.002]
    for column in ("y", "z"):
        with pytest.raises(TableError, match=f"f: column '{column}' is absent or not numeric"):
            read_floats("f", rows, column)
