"""Successive halving and Hyperband: many cells for few epochs, the best of them for more."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from nasbench_sim.errors import SpecError
from nasbench_sim.searchers.blackbox.base import (
    History,
    Method,
    Noise,
    Problem,
    Slots,
    at_least_two,
    uniform_cells,
)

Array = npt.NDArray[Any]


class Rung(NamedTuple):
    """`cells` trained at fidelity `level` (an index)."""

    cells: int
    level: int


Bracket = tuple[Rung, ...]


class Turn(NamedTuple):
    """What evaluation n is: at fidelity `level`, a new cell (`rank` -1), or the one of this rank (0: the best) among
    the evaluations `[start, stop)`."""

    level: int
    rank: int
    start: int
    stop: int


def turn(brackets: Sequence[Bracket], n: int) -> Turn:
    """Evaluation n of the brackets run one after the other, over and over.

    >>> turn([(Rung(3, 0), Rung(1, 1))], 1), turn([(Rung(3, 0), Rung(1, 1))], 7)
    (Turn(level=0, rank=-1, start=0, stop=0), Turn(level=1, rank=0, start=4, stop=7))
    """
    length = sum(rung.cells for bracket in brackets for rung in bracket)
    begin = n - n % length
    for bracket in brackets:
        previous = 0
        for number, rung in enumerate(bracket):
            if n < begin + rung.cells:
                return Turn(rung.level, n - begin, begin - previous, begin) if number else Turn(rung.level, -1, 0, 0)
            begin, previous = begin + rung.cells, rung.cells
    raise AssertionError("an evaluation lies in one of the brackets")


class Brackets(Method, ABC):
    """A method that runs brackets: new cells in each first rung, the best of a rung in the next one."""

    def levels(self, problem: Problem) -> tuple[int, ...]:
        """All fidelities; raises `SpecError` where there is only one."""
        self.brackets(problem)
        return at_least_two(problem, self.name)

    @abstractmethod
    def brackets(self, problem: Problem) -> list[Bracket]:
        """The brackets of one round; raises `SpecError` where the problem does not fit them."""

    def fresh(self, problem: Problem, history: History, streams: Noise, n: int) -> Array:
        """New cells `[S, D]` for the first rung of a bracket: uniform."""
        return uniform_cells(problem, streams, n)

    def propose(
        self, problem: Problem, history: History, slots: Slots, streams: Noise, n: int
    ) -> tuple[Array, Array, Slots]:
        """A new cell, or the next best of the rung below; ties: the earlier one."""
        now = turn(self.brackets(problem), n)
        level = np.full(len(history.count), now.level, dtype=np.int8)
        if now.rank < 0:
            return self.fresh(problem, history, streams, n), level, slots
        order = np.argsort(-history.value[:, now.start : now.stop], axis=1, kind="stable")
        promoted = now.start + order[:, now.rank]
        return history.archs[np.arange(len(promoted)), promoted], level, slots


@dataclass(frozen=True)
class SuccessiveHalving(Brackets):
    """Jamieson & Talwalkar 2016 on the fidelities there are: `configs` cells at the lowest, the best 1/eta at the next.

    Rung i trains floor(configs / eta^i) cells at fidelity i; then it starts anew with other cells until the budget is
    spent. With 12 and 200 epochs and the defaults: 9 cells for 12 epochs, 3 of them for 200.
    """

    eta: int = 3
    configs: int = 9
    name: str = "successive-halving"

    def __post_init__(self) -> None:
        check_eta(self.eta)

    def brackets(self, problem: Problem) -> list[Bracket]:
        """One bracket; raises `SpecError` where too few cells are left for the last fidelity."""
        rungs = at_least_two(problem, self.name)
        least = self.eta ** (len(rungs) - 1)
        if self.configs < least:
            raise SpecError(f"configs is at least eta^(fidelities - 1) = {least}, got {self.configs}")
        return [tuple(Rung(self.configs // self.eta**i, level) for i, level in enumerate(rungs))]


@dataclass(frozen=True)
class Hyperband(Brackets):
    """Li et al. 2018, algorithm 1: brackets s = s_max .. 0 that trade the number of cells against epochs for each.

    With lowest and highest epochs r and R, s_max = floor(log_eta(R / r)); bracket s begins with
    n = floor((s_max + 1) / (s + 1)) eta^s cells (as in the paper's table 1 and in HpBandSter; its algorithm prints
    ceil((s_max + 1) eta^s / (s + 1))), and its rung i trains the best floor(n / eta^i) for R eta^(i - s) epochs. Epochs
    that the table does not measure are rounded *down* to those it does; rungs that fall on one fidelity are one
    (nothing is trained twice). With 12 and 200 epochs and eta 3: 9 -> 1, 3 -> 1, and 3 cells at 200.
    """

    eta: int = 3
    name: str = "hyperband"

    def __post_init__(self) -> None:
        check_eta(self.eta)

    def brackets(self, problem: Problem) -> list[Bracket]:
        """s_max + 1 brackets, the most cautious (most cells) first."""
        at_least_two(problem, self.name)
        epochs = [e for e in problem.fidelities if isinstance(e, int)]
        return hyperband_brackets(epochs, self.eta)


def hyperband_brackets(epochs: Sequence[int], eta: int) -> list[Bracket]:
    """The brackets of Hyperband on the fidelities `epochs` (ascending).

    >>> hyperband_brackets([1, 3, 9], 3)[0]
    (Rung(cells=9, level=0), Rung(cells=3, level=1), Rung(cells=1, level=2))
    >>> [[tuple(rung) for rung in bracket] for bracket in hyperband_brackets([12, 200], 3)]
    [[(9, 0), (1, 1)], [(3, 0), (1, 1)], [(3, 1)]]
    """
    top, s_max = epochs[-1], 0
    while epochs[0] * eta ** (s_max + 1) <= top:
        s_max += 1
    out = []
    for s in range(s_max, -1, -1):
        n = (s_max + 1) // (s + 1) * eta**s
        rungs: list[Rung] = []
        for i in range(s + 1):
            affordable = [k for k, e in enumerate(epochs) if e * eta ** (s - i) <= top]
            if not rungs or affordable[-1] > rungs[-1].level:
                rungs.append(Rung(n // eta**i, affordable[-1]))
        out.append(tuple(rungs))
    return out


def check_eta(eta: int) -> None:
    """Raise `SpecError` for an eta that halves nothing."""
    if eta < 2:
        raise SpecError(f"eta is at least 2 (one in eta is promoted), got {eta}")
