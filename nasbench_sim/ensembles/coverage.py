"""Which model speaks for a cell: equal cells (one isomorphism class) are one network, so one of them trained is enough.

A prediction file may hold one model a class (6,466 of NAS-Bench-201) while a search ends anywhere among the 15,625
cells. A cell that has a model of its own keeps it; any other takes the first model of its class; a cell whose class
has none has none, and nothing stands in for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from nasbench_sim.ensembles.checks import known_space
from nasbench_sim.ensembles.predictions import Predictions
from nasbench_sim.errors import SpecError

IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Coverage:
    """The model of every cell of the space of some predictions.

    Attributes
    ----------
    archs: int64 `[A, D]`, cells that have a model, in the order of the space (or of the predictions' own cells).
    model: int64 `[A]`, the row of each: of several training seeds the lowest.
    base: int64 `[B]`, rows of the models of distinct architectures, one each (lowest seed), ascending.
    seeds: for each of `base`, the rows of all training seeds of that architecture, the base row first.
    """

    archs: IntArray
    model: IntArray
    base: IntArray
    seeds: tuple[IntArray, ...]

    @cached_property
    def groups(self) -> tuple[IntArray, tuple[IntArray, ...]]:
        """Cells and their models in the shape of `Predictions.groups`, one model a cell."""
        return self.archs, tuple(self.model[:, None])

    @cached_property
    def _at(self) -> dict[bytes, int]:
        return {arch.tobytes(): int(row) for arch, row in zip(self.archs, self.model, strict=True)}

    def rows(self, cells: npt.ArrayLike) -> IntArray:
        """The model of each of `cells[..., D]`, -1 where there is none (also for a failed search's cell of -1).

        >>> p = Predictions([[[0.9, 0.1]]], [0], [[0, 1, 1, 1, 1, 1]], "nb201", "toy", "valid", [-1], "toy")
        >>> coverage(p).rows([[0, 1, 1, 1, 1, 1], [0, 1, 2, 1, 1, 1], [3] * 6]).tolist()  # node 1 is empty: 2 is too
        [0, 0, -1]
        """
        wanted = np.asarray(cells)
        d = self.archs.shape[1]
        if wanted.dtype.kind not in "iu" or wanted.ndim < 1 or wanted.shape[-1] != d:
            raise SpecError(f"cells are option numbers [..., {d}]; got {wanted.dtype} of shape {wanted.shape}")
        flat = np.ascontiguousarray(wanted.reshape(-1, d), dtype=np.int64)
        return np.array([self._at.get(cell.tobytes(), -1) for cell in flat], dtype=np.int64).reshape(wanted.shape[:-1])


def coverage(predictions: Predictions) -> Coverage:
    """Who speaks for which cell; classes count where the space is one of ours and knows them.

    >>> p = Predictions([[[0.9, 0.1]], [[0.4, 0.6]]], [0], [6111, 6111], "nb201", "toy", "valid", [1, 0], "toy")
    >>> found = coverage(p)
    >>> found.base.tolist(), [rows.tolist() for rows in found.seeds]
    ([1], [[1, 0]])
    """
    distinct, models = predictions.groups
    ordered = [rows[np.argsort(predictions.seeds[rows], kind="stable")] for rows in models]
    first = np.array([rows[0] for rows in ordered])
    order = np.argsort(first)
    base = (first[order], tuple(ordered[i] for i in order))
    space: Any = known_space(predictions.space)
    if space is None or not hasattr(space, "classes"):
        return Coverage(distinct, first, *base)
    own = np.full(space.size, -1, dtype=np.int64)
    own[space.index(distinct)] = first
    classes = np.asarray(space.classes)
    speaker = np.full(int(classes.max()) + 1, -1, dtype=np.int64)
    trained = np.nonzero(own >= 0)[0]
    speaker[classes[trained[::-1]]] = own[trained[::-1]]  # the last written stays: the first cell of the class
    model = np.where(own >= 0, own, speaker[classes])
    cells = np.nonzero(model >= 0)[0]
    return Coverage(np.asarray(space.at(cells), dtype=np.int64), model[cells], *base)
