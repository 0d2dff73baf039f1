"""Tree-structured Parzen estimator: optuna's sampler, asked once an evaluation on a study made from the history."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from nasbench_sim.errors import SpecError
from nasbench_sim.searchers.blackbox.base import (
    History,
    Method,
    Noise,
    Problem,
    Slots,
    stream_seed,
    uniform_cells,
)
from nasbench_sim.searchers.blackbox.optional import need
from nasbench_sim.spaces import Space

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class TreeParzen(Method):
    """Bergstra et al. 2011: draw `samples` cells from the density of the good cells l(x), train that of largest l/g.

    The study is made anew from the history at every evaluation and its sampler seeded from (seed, n), so that there is
    nothing to remember and a resumed search is the uninterrupted one. `joint` False: a density a decision, as in the
    paper; True: one over all decisions together. Good are the best ceil(n / 10) cells, at most 25 (optuna's rule).
    """

    initial: int = 10
    samples: int = 24
    joint: bool = False
    epochs: int | None = None
    name: str = "tpe"

    def __post_init__(self) -> None:
        if self.initial < 1 or self.samples < 1:
            raise SpecError(f"initial and samples are at least 1, got {self.initial} and {self.samples}")
        need("optuna", self.name)

    def propose(
        self, problem: Problem, history: History, slots: Slots, streams: Noise, n: int
    ) -> tuple[Array, Array, Slots]:
        """A uniform cell for the first `initial`, afterwards the sampler's."""
        archs = uniform_cells(problem, streams, n)
        if n >= self.initial:
            seeds = stream_seed(streams, "tpe", n)
            for s in range(len(archs)):
                archs[s] = suggest(
                    problem.space,
                    history.archs[s],
                    history.value[s],
                    seed=int(seeds[s]),
                    samples=self.samples,
                    joint=self.joint,
                    method=self.name,
                )
        return archs, self.at_level(problem, len(archs)), slots


def suggest(
    space: Space, archs: Array, value: Array, *, seed: int, samples: int, joint: bool, method: str
) -> npt.NDArray[np.int8]:
    """The cell `[D]` that optuna's TPE proposes after `archs[n, D]` had validation accuracy `value[n]` in percent.

    >>> from nasbench_sim.spaces import get_space
    >>> good, bad = [[3, 3, 3, 1, 3, 3]] * 5, [[0] * 6] * 45
    >>> values = np.array([90.0] * 5 + [10.0] * 45)
    >>> cell = suggest(get_space("nb201"), np.array(good + bad), values, seed=0, samples=24, joint=True, method="tpe")
    >>> int((cell == good[0]).sum()) >= 4
    True
    """
    optuna = need("optuna", method)
    choices = {
        f"{d}": optuna.distributions.CategoricalDistribution(list(range(k)))
        for d, k in enumerate(space.counts.tolist())
    }
    with _quiet(optuna):
        sampler = optuna.samplers.TPESampler(
            n_startup_trials=0, n_ei_candidates=samples, multivariate=joint, seed=seed % 2**32
        )
        study = optuna.create_study(direction="maximize", sampler=sampler)
        study.add_trials(
            optuna.trial.create_trial(
                params=dict(zip(choices, arch, strict=True)), distributions=choices, value=accuracy
            )
            for arch, accuracy in zip(archs.tolist(), value.astype(np.float64).tolist(), strict=True)
        )
        params = study.ask(choices).params
    return np.array([params[name] for name in choices], dtype=np.int8)


@contextmanager
def _quiet(optuna: Any) -> Iterator[None]:
    """No line a study on the console, no word on what a later version will drop; as it was afterwards."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        optuna.logging.set_verbosity(before)
