"""The contract of a black-box method: it proposes one cell and a fidelity at a time, a seed at a time.

All seeds go in lockstep by evaluation number n = 0, 1, ...; each has its own simulated clock, and is no longer asked
once its budget is spent. A method is pure: everything it remembers is the history (what was trained, at which
fidelity, what came out, when) and its slots, arrays with leading axis S. So a checkpoint is arrays only, n evaluations
and a resume equal an uninterrupted search bit for bit, and a seed alone equals its row of a batch.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from nasbench_sim.errors import SpecError
from nasbench_sim.searchers.base import Slots
from nasbench_sim.searchers.blackbox.cells import draw
from nasbench_sim.searchers.blackbox.problem import Problem
from nasbench_sim.spaces import Space

__all__ = [
    "BlackBox",
    "History",
    "Method",
    "Noise",
    "Problem",
    "Slots",
    "at_least_two",
    "stream_seed",
    "uniform_cells",
]

Array = npt.NDArray[Any]


class History(NamedTuple):
    """What was trained so far, seed axis first; N is the number of columns, `count[s]` of them are made.

    `archs` int8 `[S, N, D]` (-1: not made); `fidelity` int8 `[S, N]`, index into `Problem.fidelities` (-1: not made);
    `value` float32 `[S, N]` validation accuracy in percent (NaN: not made); `clock` float64 `[S, N]` simulated seconds
    at which the evaluation ended, counted from the start of the search (NaN: not made); `count` int64 `[S]`.
    """

    archs: Array
    fidelity: Array
    value: Array
    clock: Array
    count: Array  # type: ignore[assignment]  # nobody counts entries of this tuple

    @classmethod
    def empty(cls, seeds: int, capacity: int, decisions: int) -> History:
        """A history `[seeds, capacity]` in which nothing was made."""
        return cls(
            np.full((seeds, capacity, decisions), -1, dtype=np.int8),
            np.full((seeds, capacity), -1, dtype=np.int8),
            np.full((seeds, capacity), np.nan, dtype=np.float32),
            np.full((seeds, capacity), np.nan),
            np.zeros(seeds, dtype=np.int64),
        )

    def first(self, n: int) -> History:
        """The first n evaluations of every row (views, no copies)."""
        head = (self.archs[:, :n], self.fidelity[:, :n], self.value[:, :n], self.clock[:, :n])
        return History(*head, np.minimum(self.count, n))

    def at(self, seconds: float) -> History:
        """What was known at a moment: the evaluations that had ended by then (the later ones are not counted)."""
        with np.errstate(invalid="ignore"):
            done = (self.clock <= seconds).sum(axis=1)
        return self._replace(count=np.minimum(self.count, done))

    def incumbent(self) -> npt.NDArray[np.int64]:
        """Number `[S]` of the best evaluation: best validation value at the highest fidelity seen; ties: the first.

        -1 where nothing was made. Values of different fidelities are never compared.
        """
        made = np.arange(self.value.shape[1]) < self.count[:, None]
        level = np.where(made, self.fidelity, -1)
        if not level.shape[1]:
            return np.full(len(level), -1, dtype=np.int64)
        candidates = made & (level == level.max(axis=1)[:, None])
        best = np.where(candidates, self.value, -np.inf).argmax(axis=1)
        return np.where(self.count > 0, best, -1)


class Noise(Protocol):
    """The seeds' noise, as `nasbench_sim.streams.Streams` gives it: addressed by purpose and step, float32."""

    def normal(self, purpose: str, step: int, shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
        """Standard normal draws `[S, *shape]`."""

    def uniform(self, purpose: str, step: int, shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
        """Uniform draws on [0, 1) `[S, *shape]`."""


class BlackBox(Protocol):
    """A black-box method. Pure: equal arguments give equal results, bit for bit, row by row."""

    @property
    def name(self) -> str:
        """Registry name."""

    def levels(self, problem: Problem) -> tuple[int, ...]:
        """Fidelities (indices, ascending) that it trains at; raises `SpecError` where the problem does not fit it."""

    def init(self, space: Space, seeds: Array) -> Slots:
        """Fresh memory for `seeds[S]`: arrays with leading axis S, beside the history."""

    def propose(
        self, problem: Problem, history: History, slots: Slots, streams: Noise, n: int
    ) -> tuple[Array, Array, Slots]:
        """Cells `[S, D]` and fidelities `[S]` of evaluation n, and the memory after it.

        `history` has exactly n columns, all made. The answer to evaluation n is in the history of the next call.
        """

    def outcome(self, problem: Problem, history: History) -> Mapping[str, Array]:
        """Further arrays `[S, ...]` for the record's `final_state`, by name; none for most methods."""


class Method:
    """What most black-box methods share: one fidelity, no memory beside the history.

    `epochs`: the fidelity to train at, None for the cheapest one that the problem has (12 on nb201, as published).
    """

    name: str
    epochs: int | None = None

    def levels(self, problem: Problem) -> tuple[int, ...]:
        """The one fidelity of `epochs`."""
        return (problem.level(self.epochs),)

    def init(self, space: Space, seeds: Array) -> Slots:
        """Nothing beside the history."""
        return {}

    def outcome(self, problem: Problem, history: History) -> Mapping[str, Array]:
        """Nothing further."""
        return {}

    def at_level(self, problem: Problem, seeds: int) -> npt.NDArray[np.int8]:
        """The one fidelity for each of so many seeds."""
        return np.full(seeds, self.levels(problem)[0], dtype=np.int8)


def at_least_two(problem: Problem, name: str) -> tuple[int, ...]:
    """All fidelities of a problem; raises `SpecError` naming the method where there is only one."""
    if len(problem.fidelities) < 2:
        raise SpecError(
            f"{name} promotes cells from one number of epochs to a larger one, and this problem of table "
            f"{problem.table} has {problem.names()} only; use a table with at least two, or a method with one fidelity"
        )
    return tuple(range(len(problem.fidelities)))


def stream_seed(streams: Noise, purpose: str, n: int) -> npt.NDArray[np.int64]:
    """A 32-bit integer `[S]` for libraries that want a seed of their own at evaluation n."""
    halves = (streams.uniform(purpose, n, (2,)).astype(np.float64) * 2**16).astype(np.int64)
    return halves[:, 0] * 2**16 + halves[:, 1]


def uniform_cells(problem: Problem, streams: Noise, n: int) -> npt.NDArray[np.int8]:
    """Uniform cells `[S, D]` of evaluation n: what random search trains, and how most methods begin."""
    return draw(problem.space, streams.uniform("cell", n, (problem.space.D,)))
