"""Random search: every evaluation trains a uniform cell."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy.typing as npt

from nasbench_sim.searchers.blackbox.base import History, Method, Noise, Problem, Slots, uniform_cells

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class RandomSearch(Method):
    """Uniform cells, drawn anew each time (a cell may come twice, and is paid for twice), the best by validation.

    Example
    -------
    >>> import nasbench_sim as nb
    >>> from nasbench_sim.searchers.blackbox import make_problem
    >>> from nasbench_sim.streams import Streams
    >>> problem = make_problem(nb.open_table("nb201-analog"), "cifar10", cost="evaluations")
    >>> archs, fidelity, _ = RandomSearch().propose(problem, History.empty(3, 0, 6), {}, Streams([0, 1, 2]), 0)
    >>> archs.shape, fidelity.tolist()
    ((3, 6), [0, 0, 0])
    """

    epochs: int | None = None
    name: str = "rs"

    def propose(
        self, problem: Problem, history: History, slots: Slots, streams: Noise, n: int
    ) -> tuple[Array, Array, Slots]:
        """A uniform cell for every seed."""
        archs = uniform_cells(problem, streams, n)
        return archs, self.at_level(problem, len(archs)), slots
