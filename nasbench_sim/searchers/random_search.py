"""Random sampling: uniform cells, the best of them by the landscape's own loss."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from nasbench_sim.errors import SpecError
from nasbench_sim.landscapes.base import Landscape, LandscapeState, StreamCache
from nasbench_sim.searchers.base import Info, State
from nasbench_sim.searchers.random_variables import pick
from nasbench_sim.spaces import Space

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class RandomSearcher:
    """The best of `evaluations` uniform cells, drawn evenly over the search.

    Whenever a cell is drawn, all cells so far are scored on the mini-batch of that moment, so that losses under
    unlike shared weights are never compared; after the last step all have been scored on one batch (RSPS). The
    shared weights train under uniform usage. `slots` hold the best cell; `alpha` stays 0: the distribution is
    uniform to the end.
    """

    evaluations: int = 100
    name: str = "random"
    _streams: StreamCache = field(default_factory=StreamCache, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.evaluations < 1:
            raise SpecError(f"evaluations is at least 1, got {self.evaluations}")

    @property
    def requires(self) -> frozenset[str]:
        """Nothing beside a loss."""
        return frozenset()

    def init(self, space: Space, seeds: Array, dtype: npt.DTypeLike = np.float32) -> State:
        """No cell seen yet: the first is drawn at step 0."""
        seeds = np.asarray(seeds, dtype=np.int64)
        s = len(seeds)
        alpha = np.zeros((s, space.D, space.K), dtype=dtype)
        mask = np.broadcast_to(space.mask, alpha.shape).copy()
        return State(seeds, np.zeros(s, dtype=np.int64), alpha, mask, {"best": np.zeros((s, space.D), dtype=np.int64)})

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

    def end_epoch(self, state: State, epoch: int, archs: Array, eigenvalue: Array | None) -> State:
        """No rule of stopping."""
        return state

    def derive(self, state: State, landscape: Landscape, shared: LandscapeState) -> Array:
        """The best cell so far `[S, D]`."""
        return np.asarray(state.slots["best"])

    def finished(self, state: State) -> Array:
        """It goes on to the last epoch."""
        return np.zeros(len(state.seeds), dtype=bool)

    def distribution(self, state: State) -> Array:
        """Uniform over each decision's options."""
        return np.asarray(state.mask / state.mask.sum(axis=-1, keepdims=True)).astype(state.alpha.dtype)

    def hessian(self, state: State, landscape: Landscape, shared: LandscapeState) -> Array | None:
        """There is no alpha."""
        return None
