"""A landscape that shows nothing: for asking a relaxation what it would draw, without paying for a look."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from nasbench_sim.errors import SpecError
from nasbench_sim.landscapes.base import Horizon, LandscapeState, Paths, fresh_state
from nasbench_sim.spaces import Space

Array = npt.NDArray[Any]


class Blind:
    """Loss and gradient are zero everywhere, and no weights move.

    >>> from nasbench_sim.spaces import NB201
    >>> loss, grad = Blind(NB201(), np.dtype("float32")).loss_and_grad(None, np.ones((2, 6, 5)))
    >>> loss.shape, bool(grad.any())
    ((2,), False)
    """

    loss_name = "nothing"
    offers: frozenset[str] = frozenset({"weights"})

    def __init__(self, space: Space, dtype: np.dtype[Any]) -> None:
        self.space, self.dtype = space, dtype

    def init(self, seeds: Array, horizon: Horizon) -> LandscapeState:
        """A fresh state."""
        return fresh_state(self.space, seeds, horizon, self.dtype)

    def loss_and_grad(
        self, state: LandscapeState | None, theta: Array, *, discrete: bool = False
    ) -> tuple[Array, Array]:
        """Zeros."""
        return np.zeros(theta.shape[:-2], dtype=self.dtype), np.zeros(theta.shape, dtype=self.dtype)

    def unrolled(self, state: LandscapeState | None, theta: Array, xi: float) -> tuple[Array, Array]:
        """Zeros."""
        return self.loss_and_grad(state, theta)

    def proxy(self, name: str, archs: Array, *, dataset: str | None = None) -> Array:
        """Raises `SpecError`: there are none."""
        raise SpecError("a landscape that shows nothing has no proxies")

    def arch_loss(
        self, state: LandscapeState | None, archs: Array, *, batch: bool = False, own_batch: float = 0
    ) -> Array:
        """Zeros `[S, M]`."""
        return np.zeros(archs.shape[:2], dtype=self.dtype)

    def hessian(self, state: LandscapeState | None, theta: Array) -> Array:
        """Zeros."""
        n = self.space.D * self.space.K
        return np.zeros((len(theta), n, n), dtype=self.dtype)

    def gradient(self, state: LandscapeState | None, theta: Array) -> Array:
        """Zeros."""
        return np.zeros(theta.shape, dtype=self.dtype)

    def train_weights(
        self, state: LandscapeState, usage: Array, steps: int, paths: Paths | None = None
    ) -> LandscapeState:
        """Counts the steps."""
        return state._replace(step=state.step + steps)
