"""Puts training runs together, in any order and in batches, into a `ModuleTable`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from nasbench_sim.errors import TableError
from nasbench_sim.spaces.nb101_batch import module_hashes
from nasbench_sim.tables.module_codes import modules_of
from nasbench_sim.tables.modules import ALL_MODULES, RUNS, SECONDS, SPLITS, WHENS, ModuleTable, column_name
from nasbench_sim.tables.nb101_records import Runs
from nasbench_sim.tables.table import Source

_CHECKED = 1 << 15  # modules hashed at a time, which bounds the memory that it takes
_WHAT = (SECONDS, *SPLITS)  # the order of the numbers of an evaluation, as in `nb101_metrics.MEASURED`


class ModuleBuilder:
    """Collects runs; memory is that of the numbers (96 bytes a module and budget), an index and one batch.

    The runs of a module and budget are numbered in the order in which they are added.
    """

    def __init__(self, where: str) -> None:
        self.where = where
        self._rows: dict[bytes, int] = {}
        self._codes = np.empty(0, dtype=np.uint64)
        self._params = np.empty(0, dtype=np.int64)
        self._numbers: dict[int, npt.NDArray[np.float32]] = {}  # budget -> [3 runs, 2, 4, capacity]
        self._counts: dict[int, npt.NDArray[np.uint8]] = {}  # budget -> [capacity] runs so far

    def add(self, runs: Runs, name: Callable[[int], str]) -> None:
        """Add a batch; `name(i)` says in errors which record or row run `i` came from.

        The graph and parameters of a module are those of its first run. Raises `TableError` for a fourth run of a
        module and budget, for a run under the hash of another graph, for another number of parameters of an equally
        labelled graph, and for more modules than NAS-Bench-101 has.
        """
        index = self._rows
        known = len(index)
        rows = np.array([index.setdefault(name, len(index)) for name in runs.hashes.tolist()], dtype=np.int64)
        if len(index) > ALL_MODULES:
            raise TableError(f"{self.where} has more than the {ALL_MODULES} modules of NAS-Bench-101")
        self._grow(len(index))
        new = rows >= known
        # backwards, so that the first of several wins
        self._codes[rows[new][::-1]] = runs.codes[new][::-1]
        self._params[rows[new][::-1]] = runs.params[new][::-1]
        other = self._codes[rows] != runs.codes
        for i in np.flatnonzero(other).tolist():  # the same module, labelled in another way?
            found = module_hashes(*modules_of(runs.codes[i : i + 1]))[0]
            if found != runs.hashes[i]:
                raise TableError(
                    f"{name(i)}: the graph that stands under {runs.hashes[i].decode()} has the hash {found.decode()}"
                )
        unlike = (self._params[rows] != runs.params) & ~other
        if unlike.any():
            i = int(np.argmax(unlike))
            raise TableError(f"{name(i)}: module {runs.hashes[i].decode()} has other parameters than before")
        for budget in np.unique(runs.epochs).tolist():
            self._place(budget, rows, runs, np.flatnonzero(runs.epochs == budget), name)

    def _place(
        self,
        budget: int,
        rows: npt.NDArray[np.int64],
        runs: Runs,
        mine: npt.NDArray[np.int64],
        name: Callable[[int], str],
    ) -> None:
        if budget not in self._numbers:
            self._counts[budget] = np.zeros(len(self._codes), dtype=np.uint8)
            self._numbers[budget] = _holes(len(self._codes))
        counts, at = self._counts[budget], rows[mine]
        number = counts[at] + _occurrence(at)
        if (number >= len(RUNS)).any():
            i = int(mine[np.argmax(number >= len(RUNS))])
            raise TableError(f"{name(i)} is a fourth run of module {runs.hashes[i].decode()} with {budget} epochs")
        self._numbers[budget][number, :, :, at] = runs.values[mine]
        np.maximum.at(counts, at, (number + 1).astype(np.uint8))

    def _grow(self, needed: int) -> None:
        have = len(self._codes)
        if needed <= have:
            return
        size = min(max(needed, 2 * have, 1024), ALL_MODULES)
        self._codes = np.concatenate([self._codes, np.zeros(size - have, dtype=np.uint64)])
        self._params = np.concatenate([self._params, np.zeros(size - have, dtype=np.int64)])
        for budget in self._numbers:
            self._counts[budget] = np.concatenate([self._counts[budget], np.zeros(size - have, dtype=np.uint8)])
            self._numbers[budget] = np.concatenate([self._numbers[budget], _holes(size - have)], axis=-1)

    def finish(self, sources: Sequence[Source], notes: Sequence[str] = ()) -> ModuleTable:
        """The table of all that was added, after every module's hash was worked out again from its graph.

        Ends the builder. Raises `TableError` for a hash that is not its graph's, and where nothing was added.
        """
        count = len(self._rows)
        if not count:
            raise TableError(f"{self.where} holds no run")
        hashes = np.array(list(self._rows), dtype="S32")
        self._rows = {}
        self._check_hashes(hashes)
        order = np.argsort(hashes)
        arrays: dict[str, npt.NDArray[Any]] = {
            "hashes": hashes[order].view(np.uint8).reshape(count, 32),
            "codes": self._codes[order],
            "params": self._params[order].astype(np.int32),
        }
        budgets = sorted(self._numbers)
        for budget in budgets:
            numbers = self._numbers.pop(budget)
            for r, run in enumerate(RUNS):
                for w, when in enumerate(WHENS):
                    for n, what in enumerate(_WHAT):
                        arrays[column_name(budget, run, when, what)] = numbers[r, w, n, order]
        return ModuleTable(arrays, budgets=budgets, sources=sources, notes=notes)

    def _check_hashes(self, hashes: npt.NDArray[np.bytes_]) -> None:
        for start in range(0, len(hashes), _CHECKED):
            said = hashes[start : start + _CHECKED]
            found = module_hashes(*modules_of(self._codes[start : start + len(said)]))
            if (found != said).any():
                i = int(np.argmax(found != said))
                raise TableError(
                    f"{self.where}: the graph that stands under {said[i].decode()} has the hash {found[i].decode()}"
                )


def _holes(size: int) -> npt.NDArray[np.float32]:
    return np.full((len(RUNS), len(WHENS), len(_WHAT), size), np.nan, dtype=np.float32)


def _occurrence(rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """How many times each of `rows[n]` stood there before: [5, 5, 7, 5] gives [0, 1, 0, 2].

    >>> _occurrence(np.array([5, 5, 7, 5])).tolist()
    [0, 1, 0, 2]
    """
    order = np.argsort(rows, kind="stable")
    ordered = rows[order]
    starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
    lengths = np.diff(np.r_[starts, len(rows)])
    out = np.empty(len(rows), dtype=np.int64)
    out[order] = np.arange(len(rows)) - np.repeat(starts, lengths)
    return out
