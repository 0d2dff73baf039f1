"""Who says how good a derived cell is: the table that was searched, or the supernet that found it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from nasbench_sim.landscapes import LandscapeState
from nasbench_sim.spaces import Space
from nasbench_sim.tables.table import Table

Array = npt.NDArray[Any]


class Judge(Protocol):
    """Accuracies of derived cells, which no search ever sees."""

    @property
    def space(self) -> Space:
        """The space of the cells."""

    @property
    def roles(self) -> Sequence[str]:
        """Names of the accuracies, `valid` and `test`."""

    @property
    def notes(self) -> Sequence[str]:
        """Names of further quantities that a record keeps by epoch."""

    def score(self, shared: LandscapeState, archs: Array) -> Mapping[str, Array]:
        """Accuracies in percent `[S]` by role, and the notes, of `archs[S, D]` at this moment of the search."""


class TableJudge:
    """Looks the accuracy up: that of the cell trained alone, whatever the search did."""

    notes: Sequence[str] = ()

    def __init__(self, table: Table, dataset: str) -> None:
        self.space, self._table = table.space, table
        self._keys = table.report_keys_for(dataset)
        self.roles = tuple(self._keys)

    def score(self, shared: LandscapeState, archs: Array) -> Mapping[str, Array]:
        """The reported columns of the table."""
        index = self.space.index(archs)
        return {role: np.asarray(self._table.accuracy[key][index]) for role, key in self._keys.items()}
