"""Local search: from the best of some uniform cells to better neighbours, and again from elsewhere at an optimum."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from nasbench_sim.errors import SpecError
from nasbench_sim.searchers.blackbox.base import History, Method, Noise, Problem, Slots
from nasbench_sim.searchers.blackbox.cells import codes, draw, known, neighbours
from nasbench_sim.spaces import Space

Array = npt.NDArray[Any]

_TRIES = 8  # uniform cells drawn to find one that is new: with 1,000 of 15,625 seen, all eight are known with p = 3e-10


@dataclass(frozen=True)
class LocalSearch(Method):
    """First-improvement hill climbing with restarts, as in naszilla (White et al. 2021, `local_search`).

    Trains `initial` new uniform cells and starts at the best of them. Then it trains neighbours that were never trained
    (one decision changed, in random order) and moves to the first that is better. Where all neighbours are known and
    none trained from here was better, the cell is a local optimum: the search starts again with `initial` uniform
    cells. Cells known from earlier descents are neither trained again nor moved to.

    Memory: `centre` int8 `[S, D]` and its `centre_value` float32 `[S]` (-inf: none yet), `left` int64 `[S]` uniform
    cells still to be trained, `stops` int64 `[S]` local optima reached.
    """

    initial: int = 10
    epochs: int | None = None
    name: str = "local-search"

    def __post_init__(self) -> None:
        if self.initial < 1:
            raise SpecError(f"initial is at least 1, got {self.initial}")

    def init(self, space: Space, seeds: Array) -> Slots:
        """Nothing trained: the uniform cells come first."""
        s = len(seeds)
        return {
            "centre": np.zeros((s, space.D), dtype=np.int8),
            "centre_value": np.full(s, -np.inf, dtype=np.float32),
            "left": np.full(s, self.initial, dtype=np.int64),
            "stops": np.zeros(s, dtype=np.int64),
        }

    def propose(
        self, problem: Problem, history: History, slots: Slots, streams: Noise, n: int
    ) -> tuple[Array, Array, Slots]:
        """A uniform cell while starting, afterwards a neighbour of the centre."""
        space = problem.space
        slots = self._after(history, slots) if n else slots
        seen = codes(space, history.archs)
        near = neighbours(space, slots["centre"])
        fresh = ~known(codes(space, near), seen)
        order = streams.uniform("order", n, (near.shape[1],))
        choice = np.where(fresh, order, np.float32(-1)).argmax(axis=1)
        each = np.arange(len(choice))
        stuck = (slots["left"] == 0) & ~fresh.any(axis=1)
        left = np.where(stuck, self.initial, slots["left"])
        uniform = draw(space, streams.uniform("cell", n, (_TRIES, space.D)))
        new = ~known(codes(space, uniform), seen)
        archs = np.where((left > 0)[:, None], uniform[each, new.argmax(axis=1)], near[each, choice])
        value = np.where(stuck, np.float32(-np.inf), slots["centre_value"])
        after = {"centre": slots["centre"], "centre_value": value, "left": left, "stops": slots["stops"] + stuck}
        return archs, self.at_level(problem, len(archs)), after

    @staticmethod
    def _after(history: History, slots: Slots) -> Slots:
        """Memory once the last evaluation is known: it is the new centre where it was better."""
        value = history.value[:, -1]
        better = value > slots["centre_value"]
        return {
            "centre": np.where(better[:, None], history.archs[:, -1], slots["centre"]),
            "centre_value": np.where(better, value, slots["centre_value"]),
            "left": np.maximum(slots["left"] - 1, 0),
            "stops": slots["stops"],
        }
