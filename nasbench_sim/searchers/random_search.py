"""Random sampling: uniform cells, the best of them by the landscape's own loss."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from nasbench_sim.landscapes.base import Landscape, LandscapeState, StreamCache
from nasbench_sim.searchers.base import Info, State
from nasbench_sim.searchers.one_shot import WithoutAlpha, at_least_one
from nasbench_sim.searchers.random_variables import pick
from nasbench_sim.spaces import Space

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class RandomSearcher(WithoutAlpha):
    """The best of `evaluations` uniform cells, drawn evenly over the search.

    Whenever a cell is drawn, all cells so far are scored on the mini-batch of that moment, so that losses under
    unlike shared weights are never compared; after the last step all have been scored on one batch. The shared
    weights train under uniform usage, every option a little each step. `slots` hold the best cell.

    The control beside `rsps` (`one_shot.SinglePathSearcher`): its weights see the mean of what single paths are draws
    of, and all its cells share one mini-batch, so that two cells are compared with the noise of their differences only.
    """

    evaluations: int = 100
    name: str = "random"
    _streams: StreamCache = field(default_factory=StreamCache, repr=False, compare=False)

    def __post_init__(self) -> None:
        at_least_one(evaluations=self.evaluations)

    def init(self, space: Space, seeds: Array, dtype: npt.DTypeLike = np.float32) -> State:
        """No cell seen yet: the first is drawn at step 0."""
        return self.start(space, seeds, dtype, {"best": np.zeros((len(seeds), space.D), dtype=np.int64)})

    def step(self, state: State, landscape: Landscape, shared: LandscapeState) -> tuple[State, LandscapeState, Info]:
        """Train at uniform usage; when a new cell falls due, draw it and score all cells so far."""
        number, total = int(state.step[0]), shared.horizon.steps
        theta = self.distribution(state)
        # cell j falls due at step j * total / evaluations, the first at once
        before, now = (-(-n * self.evaluations // total) for n in (number, number + 1))
        now = min(now, self.evaluations)
        slots = state.slots
        loss = np.full(len(state.seeds), np.nan, dtype=state.alpha.dtype)
        if now > before:
            uniform = self._streams(state.seeds).uniform("cells", 0, (self.evaluations, theta.shape[1]))
            cells = pick(uniform[:, :now], theta)
            losses = landscape.arch_loss(shared, cells, batch=True)
            first = losses.argmin(axis=1)
            seed = np.arange(len(cells))
            loss = losses[seed, first]
            slots = {"best": cells[seed, first]}
        shared = landscape.train_weights(shared, theta, 1)
        return state._replace(step=state.step + 1, slots=slots), shared, Info(loss, theta)

    def derive(self, state: State, landscape: Landscape, shared: LandscapeState) -> Array:
        """The best cell so far `[S, D]`."""
        return np.asarray(state.slots["best"])
