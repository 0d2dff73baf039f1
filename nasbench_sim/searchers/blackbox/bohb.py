"""BOHB: Hyperband's brackets, filled with cells from a density model instead of uniform ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from nasbench_sim.errors import SpecError
from nasbench_sim.searchers.blackbox.base import History, Noise, Problem, stream_seed, uniform_cells
from nasbench_sim.searchers.blackbox.halving import Hyperband
from nasbench_sim.searchers.blackbox.optional import need
from nasbench_sim.searchers.blackbox.tpe import suggest

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class BOHB(Hyperband):
    """Falkner et al. 2018: Hyperband with new cells from a joint TPE on the results at the highest usable fidelity.

    Usable is one that has `min_points` + 2 evaluations (None: min_points = D + 1, the paper's d + 1). With probability
    `random_fraction`, and while no fidelity has enough, a cell is uniform. `samples`: draws from the good density of
    which the one with the best ratio is trained.
    """

    samples: int = 4
    random_fraction: float = 0.0
    min_points: int | None = None
    name: str = "bohb"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.samples < 1:
            raise SpecError(f"samples is at least 1, got {self.samples}")
        if not 0 <= self.random_fraction <= 1:
            raise SpecError(f"random_fraction is in [0, 1], got {self.random_fraction}")
        if self.min_points is not None and self.min_points < 1:
            raise SpecError(f"min_points is at least 1, got {self.min_points}")
        need("optuna", self.name)

    def fresh(self, problem: Problem, history: History, streams: Noise, n: int) -> Array:
        """New cells `[S, D]`: the model's where there is one, else uniform."""
        archs = uniform_cells(problem, streams, n)
        seeds = stream_seed(streams, "tpe", n)
        explore = streams.uniform("explore", n, (1,))[:, 0] < self.random_fraction
        enough = (problem.space.D + 1 if self.min_points is None else self.min_points) + 2
        for s in np.nonzero(~explore)[0]:
            level = model_level(history.fidelity[s], enough)
            if level >= 0:
                seen = history.fidelity[s] == level
                archs[s] = suggest(
                    problem.space,
                    history.archs[s, seen],
                    history.value[s, seen],
                    seed=int(seeds[s]),
                    samples=self.samples,
                    joint=True,
                    method=self.name,
                )
        return archs


def model_level(fidelity: Array, enough: int) -> int:
    """The highest fidelity (index) with at least `enough` of the evaluations `fidelity[n]`, -1 where none has.

    >>> model_level(np.array([0, 0, 0, 1]), 3), model_level(np.array([0, 1]), 3)
    (0, -1)
    """
    levels, counts = np.unique(fidelity, return_counts=True)
    return int(levels[counts >= enough].max(initial=-1))
