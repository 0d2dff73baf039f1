"""NSGA-II: a population of cells, kept for what no other cell beats in error and in costs together. Engine: pymoo.

Of N minimised objectives (validation error in percent, then the costs), x dominates y where it is nowhere worse and
somewhere better. A generation of P cells is merged with the P before it; the better half by (rank of the front,
crowding distance) survives; parents win binary tournaments by the same order and are crossed and mutated.

pymoo does all of this: sampling, sorting, survival, tournaments, uniform crossover, random choice of options. What is
ours is that no pymoo object outlives a call: the state of pymoo between two generations is the population before the
last merge (numbers of evaluations), the objectives (in the history) and a random generator, which here is made anew for
every generation from (seed, generation). So `slots` hold arrays only, a resumed search equals an uninterrupted one bit
for bit, and each seed is alone with its own generator.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import numpy as np
import numpy.typing as npt

from nasbench_sim.errors import SpecError
from nasbench_sim.landscapes.penalised import checked_cost
from nasbench_sim.searchers.blackbox.base import History, Method, Noise, Slots, stream_seed
from nasbench_sim.searchers.blackbox.cells import codes
from nasbench_sim.searchers.blackbox.optional import INSTALL, need
from nasbench_sim.searchers.blackbox.problem import Problem
from nasbench_sim.spaces import Space

Array = npt.NDArray[Any]

LARGEST = 1_000  # cells of a population; the initial one is drawn without repeats from the 15,625 of nb201


def need_pymoo(what: str) -> None:
    """Raise `SpecError` saying which extra to install where pymoo is absent or draws from NumPy's global generator.

    It did up to 0.6.1.5, so that searches would depend on what ran before them.
    """
    need("pymoo", what)
    have = version("pymoo")
    if tuple(int(part) for part in have.split(".")[:3] if part.isdecimal()) < (0, 6, 2):
        raise SpecError(f"{what} needs pymoo 0.6.2 or later, and {have} is installed; {INSTALL}")


def non_dominated(objectives: Array) -> npt.NDArray[np.bool_]:
    """bool `[N]`: which rows of minimised `objectives[N, M]` no other row dominates; of equal rows all are kept.

    >>> non_dominated(np.array([[1.0, 4.0], [2.0, 2.0], [2.0, 3.0], [3.0, 1.0]])).tolist()
    [True, True, False, True]
    """
    from pymoo.util.nds.non_dominated_sorting import NonDominatedSorting

    out = np.zeros(len(objectives), dtype=np.bool_)
    out[NonDominatedSorting().do(np.asarray(objectives, dtype=np.float64), only_non_dominated_front=True)] = True
    return out


@dataclass(frozen=True)
class NSGA2(Method):
    """NSGA-II over validation error and one or more costs, at one fidelity.

    `metrics`: the costs to keep low; `population`: P, cells a generation; `epochs`: the fidelity of the error, None
    for the cheapest; `crossover`: probability that a pair of parents is crossed; `mutation`: probability that a
    decision of a child is drawn anew from all its options, None for 1/D. The incumbent is the cell of least error, as
    for other methods; the set that the search is about is `front` in the record's `final_state`.
    """

    metrics: tuple[str, ...] = ("params_m",)
    population: int = 20
    epochs: int | None = None
    crossover: float = 0.9
    mutation: float | None = None
    name: str = "nsga2"

    def __post_init__(self) -> None:
        need_pymoo(self.name)
        if not self.metrics or len(set(self.metrics)) != len(self.metrics):
            raise SpecError(f"metrics are one or more different costs, got {list(self.metrics)}")
        if not 4 <= self.population <= LARGEST:
            raise SpecError(f"population is 4 to {LARGEST} cells, got {self.population}")
        for what, value in (("crossover", self.crossover), ("mutation", self.mutation)):
            if value is not None and not 0 <= value <= 1:
                raise SpecError(f"{what} is a probability in [0, 1], got {value}")

    def levels(self, problem: Problem) -> tuple[int, ...]:
        """The one fidelity of `epochs`; raises `NotMeasured` for a cost that the table does not hold."""
        for name in self.metrics:
            checked_cost(problem.metrics, name, problem.table)
        if self.population > problem.space.size:
            raise SpecError(f"a population of {self.population} is more than {problem.space.name} has cells")
        return super().levels(problem)

    def init(self, space: Space, seeds: Array) -> Slots:
        """`parents` int64 `[S, P]`: evaluations that survived so far; `queue` int8 `[S, P, D]`: this generation."""
        shape = (len(seeds), self.population)
        return {"parents": np.full(shape, -1, dtype=np.int64), "queue": np.full((*shape, space.D), -1, dtype=np.int8)}

    def propose(
        self, problem: Problem, history: History, slots: Slots, streams: Noise, n: int
    ) -> tuple[Array, Array, Slots]:
        """The next cell of the generation; at its end the survivors are chosen and the next one is bred."""
        generation, place = divmod(n, self.population)
        if place == 0:
            bred = _Breeder(self, problem)
            objectives = self.objectives(problem, history)
            parents, queue = slots["parents"].copy(), slots["queue"].copy()
            for s, seed in enumerate(stream_seed(streams, "nsga2", generation)):
                random = np.random.default_rng(int(seed))
                rivals = np.concatenate([parents[s], np.arange(n - self.population, n)])
                rivals = rivals[rivals >= 0]
                parents[s], queue[s] = bred.generation(history.archs[s], objectives[s], rivals, random)
            slots = {"parents": parents, "queue": queue}
        return slots["queue"][:, place], self.at_level(problem, len(history.archs)), slots

    def objectives(self, problem: Problem, history: History) -> npt.NDArray[np.float64]:
        """Error in percent and costs `[S, N, 1 + M]` of every evaluation, all to be minimised; NaN where not made."""
        made = np.arange(history.value.shape[1]) < history.count[:, None]
        index = problem.space.rank[codes(problem.space, np.maximum(history.archs, 0))]
        costs = [checked_cost(problem.metrics, name, problem.table)[index] for name in self.metrics]
        out = np.stack([100.0 - history.value.astype(np.float64), *(c.astype(np.float64) for c in costs)], axis=2)
        return np.where(made[..., None], out, np.nan)

    def outcome(self, problem: Problem, history: History) -> Mapping[str, Array]:
        """`front` bool `[S, N]`: evaluations that no other one of the search dominates; of a cell made twice the first.

        By what the search saw: validation error at its own fidelity, and the costs.
        """
        front = np.zeros(history.value.shape, dtype=np.bool_)
        objectives, cells = self.objectives(problem, history), codes(problem.space, np.maximum(history.archs, 0))
        for s, count in enumerate(history.count):
            first = np.unique(cells[s, :count], return_index=True)[1]
            front[s, first] = non_dominated(objectives[s, first])
        return {"front": front}


class _Breeder:
    """pymoo's parts for one space: what happens between two generations, on arrays."""

    def __init__(self, method: NSGA2, problem: Problem) -> None:
        from pymoo.algorithms.moo.nsga2 import NSGA2 as Algorithm
        from pymoo.core.duplicate import DefaultDuplicateElimination
        from pymoo.core.problem import Problem as Pymoo
        from pymoo.core.variable import Choice
        from pymoo.operators.crossover.ux import UX
        from pymoo.operators.mutation.rm import ChoiceRandomMutation
        from pymoo.operators.sampling.rnd import IntegerRandomSampling

        space = problem.space
        self.space = space
        self.problem = Pymoo(
            vars={name: Choice(options=list(range(k))) for name, k in zip(space.decisions, space.counts, strict=True)},
            n_obj=1 + len(method.metrics),
            xl=np.zeros(space.D, dtype=np.int64),
            xu=space.counts - 1,
        )
        # the mutation makes object arrays, which distances are not computed on
        distinct = DefaultDuplicateElimination(func=lambda pop: pop.get("X").astype(np.float64))
        self.algorithm = Algorithm(
            pop_size=method.population,
            sampling=IntegerRandomSampling(),
            crossover=UX(prob=method.crossover),
            mutation=ChoiceRandomMutation(prob_var=1 / space.D if method.mutation is None else method.mutation),
            eliminate_duplicates=distinct,
        )
        # the crowded comparison of the paper; pymoo's own default looks at dominance within the pair, not at ranks
        self.algorithm.tournament_type = "comp_by_rank_and_crowding"

    def generation(
        self, archs: Array, objectives: Array, rivals: Array, random: np.random.Generator
    ) -> tuple[Array, Array]:
        """Survivors `[P]` of the evaluations `rivals` and their children `[P, D]`; from no rivals the first population.

        The initial population has no survivors: -1.
        """
        from pymoo.core.population import Population

        wanted = self.algorithm.pop_size
        self.algorithm.random_state = random
        about = {"algorithm": self.algorithm, "random_state": random}
        if not len(rivals):
            first = self.algorithm.initialization.do(self.problem, wanted, **about)
            return np.full(wanted, -1), self._filled(first.get("X"), random)
        pool = Population.new(X=archs[rivals].astype(np.int64), F=objectives[rivals], number=rivals)
        kept = self.algorithm.survival.do(self.problem, pool, n_survive=wanted, **about)
        children = self.algorithm.mating.do(self.problem, kept, wanted, **about)
        return kept.get("number").astype(np.int64), self._filled(children.get("X"), random)

    def _filled(self, cells: Array, random: np.random.Generator) -> npt.NDArray[np.int8]:
        """Exactly P different cells `[P, D]`: pymoo drops repeats (among 20 uniform cells of 15,625: p = 1.2 %)."""
        out = np.asarray(cells, dtype=np.int8).reshape(-1, self.space.D)
        while len(out) < self.algorithm.pop_size:
            new = random.integers(0, self.space.counts, (1, self.space.D)).astype(np.int8)
            if not (out == new).all(axis=1).any():
                out = np.concatenate([out, new])
        return out
