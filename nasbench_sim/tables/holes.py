"""Partial tables: which cells were never trained, how much that is, and what to do about it.

A table may lack architectures altogether (the sample of NAS-Bench-101 covers a third of each NAS-Bench-1Shot1 space).
Their accuracies are NaN, and so are their training times; nothing is put in their place. What needs every architecture
refuses such a table in one line that ends in `remedy`.

A *completed* table has, beside the measured columns, columns under the seed `"completed"`: the measured number where
there is one, a prediction elsewhere (see `partial`). Which is which follows from the measured column of seed `"mean"`.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from nasbench_sim.errors import TableError
from nasbench_sim.tables.columns import FloatArray
from nasbench_sim.tables.table import Key, Table

Mask = npt.NDArray[np.bool_]


def untrained(accuracy: Mapping[Key, FloatArray]) -> Mask:
    """Mask `[A]`: architectures without any measured accuracy, so without a training time either.

    >>> key = Key("cifar10", "valid", 108, "mean")
    >>> untrained({key: np.array([90.5, np.nan], dtype=np.float32)}).tolist()
    [False, True]
    """
    measured = [column for key, column in accuracy.items() if key.seed != "completed"]
    out = np.ones(len(next(iter(accuracy.values()))), dtype=np.bool_)
    for column in measured:
        out &= np.isnan(column)
    return out


def coverage(table: Table) -> tuple[int, int]:
    """(architectures whose search key was measured, architectures of the space)."""
    key = table.search_key
    return int(table.measured(**key._asdict()).sum()), table.space.size


def check_completed(accuracy: Mapping[Key, FloatArray], where: str) -> None:
    """Raise `TableError` unless each completed column repeats every number of its measured one, and has no hole."""
    for key, column in accuracy.items():
        if key.seed != "completed":
            continue
        measured = accuracy.get(key._replace(seed="mean"))
        if measured is None:
            raise TableError(f"{where}: {key} has no measured column (seed mean) beside it")
        there = ~np.isnan(measured)
        if np.isnan(column).any() or not np.array_equal(column[there], measured[there]):
            raise TableError(f"{where}: {key} has holes, or differs from what was measured")
