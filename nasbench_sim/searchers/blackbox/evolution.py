"""Regularised (aging) evolution: the best of a small sample has a child, and the oldest dies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from nasbench_sim.errors import SpecError
from nasbench_sim.searchers.blackbox.base import History, Method, Noise, Problem, Slots, uniform_cells
from nasbench_sim.searchers.blackbox.cells import mutate
from nasbench_sim.spaces import Space

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class AgingEvolution(Method):
    """Real et al. 2019, algorithm 1: the population is the last `population` cells trained, whatever their accuracy.

    The first `population` cells are uniform. Then each evaluation draws `sample` members with replacement, takes the
    best (ties: the first drawn) as parent and trains the parent with one decision changed to another option. As the
    oldest dies with every birth, the history itself is the queue: there is no other memory.

    `mutate`: which edge is changed, any with equal probability ("edge") or first a node and then one of its inputs
    ("node", as the NAS-Bench-201 scripts do; edges into early nodes then change more often).
    """

    population: int = 10
    sample: int = 3
    mutate: Literal["edge", "node"] = "node"
    epochs: int | None = None
    name: str = "rea"

    def __post_init__(self) -> None:
        if self.population < 1 or self.sample < 1:
            raise SpecError(f"population and sample are at least 1, got {self.population} and {self.sample}")

    def propose(
        self, problem: Problem, history: History, slots: Slots, streams: Noise, n: int
    ) -> tuple[Array, Array, Slots]:
        """A uniform cell for the first population, afterwards a child."""
        space = problem.space
        if n < self.population:
            archs = uniform_cells(problem, streams, n)
        else:
            parents = self.parents(history, streams, n)
            archs = mutate(parents, space, streams.uniform("mutation", n, (2,)), self._weights(space))
        return archs, self.at_level(problem, len(archs)), slots

    def parents(self, history: History, streams: Noise, n: int) -> Array:
        """The parent `[S, D]` of evaluation n: best of `sample` draws from the youngest `population`."""
        drawn = streams.uniform("tournament", n, (self.sample,)).astype(np.float64)
        members = n - self.population + (drawn * self.population).astype(np.int64)
        each = np.arange(len(members))
        best = history.value[each[:, None], members].argmax(axis=1)
        return np.asarray(history.archs[each, members[each, best]])

    def _weights(self, space: Space) -> Array | None:
        """Probability of each decision, None for equal ones; raises `SpecError` where edges have no target node."""
        if self.mutate == "edge":
            return None
        return node_first(space)


def node_first(space: Space) -> npt.NDArray[np.float64]:
    """Probability `[D]` of each decision when a node is drawn first, then one of its decisions.

    A decision belongs to the node it is named after: `target<-source` to the target, `op of node 3` and `parents of
    node 3` to node 3. Raises `SpecError` where a decision is named after no node.

    >>> from nasbench_sim.spaces import get_space
    >>> node_first(get_space("nb201")).round(3).tolist()
    [0.333, 0.167, 0.167, 0.111, 0.111, 0.111]
    >>> node_first(get_space("nb1shot1-1")).round(3).tolist()
    [0.2, 0.2, 0.1, 0.1, 0.1, 0.1, 0.2]
    """
    nodes = [n.partition("<-")[0] if "<-" in n else n.rpartition(" of ")[2] for n in space.decisions]
    if any(node == name for node, name in zip(nodes, space.decisions, strict=True)):
        raise SpecError(
            f"the decisions of space {space.name} are neither edges 'target<-source' nor 'something of a node'; "
            "use mutate='edge'"
        )
    return np.array([1 / len(set(nodes)) / nodes.count(node) for node in nodes])
