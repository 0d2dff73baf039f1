"""A landscape that notes what a search asks it: gradients, losses and forward weights, summed up between two looks.

It answers exactly what the landscape behind it answers, so that a watched search equals an unwatched one bit for bit.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from nasbench_sim.landscapes.base import Horizon, Landscape, LandscapeState, Paths

Array = npt.NDArray[Any]

#: what is summed a seed: name -> whether it has the shape `[D, K]` of theta (else it is a number)
SUMS = {
    "steps": False,  # weight steps
    "usage": True,  # forward weights of the weight steps, and their squares: 1 - sum_k of these is the mixing
    "usage_squared": True,
    "looks": False,  # architecture steps that saw a gradient
    "point": True,  # theta at which the gradients were taken, mean over the draws of a step
    "gradient": True,
    "gradient_squared": True,
    "losses": False,  # architecture steps that saw a loss
    "loss": False,
}


class Watched:
    """The landscape `inner`, watched. `drain(seeds)` gives the means since the last call and forgets them.

    Example
    -------
    >>> import numpy as np, nasbench_sim as nb
    >>> land = Watched(nb.TabularLandscape(
    ...     nb.open_table("nb201-analog"), dataset="cifar10", split="baseline", epochs="unstated", seed="single"
    ... ))
    >>> state = land.init(np.arange(2), nb.Horizon(epochs=1, steps_per_epoch=1))
    >>> theta = np.full((2, 6, 5), 0.2, dtype=np.float32)
    >>> _, grad = land.loss_and_grad(state, theta)
    >>> bool((land.drain(np.arange(2))["gradient"] == grad).all())
    True
    """

    def __init__(self, inner: Landscape) -> None:
        self.inner = inner
        self._shape = (inner.space.D, inner.space.K)
        self._sums: dict[int, dict[str, Array]] = {}

    def __getattr__(self, name: str) -> Any:
        """Everything that is not watched is the landscape's own."""
        if name == "inner":  # while an object is made without __init__
            raise AttributeError(name)
        return getattr(self.inner, name)

    def init(self, seeds: Array, horizon: Horizon) -> LandscapeState:
        """A fresh state, and nothing noted."""
        self._sums = {}
        return self.inner.init(seeds, horizon)

    def _add(self, state: LandscapeState | None, **values: Array) -> None:
        """Add `values[name][s]` to the sums of each seed of `state`."""
        if state is None:
            return
        for s, seed in enumerate(state.seeds.tolist()):
            sums = self._sums.setdefault(
                seed, {name: np.zeros(self._shape if wide else ()) for name, wide in SUMS.items()}
            )
            for name, value in values.items():
                sums[name] = sums[name] + value[s]

    def _seen(self, state: LandscapeState | None, theta: Array, found: tuple[Array, Array]) -> tuple[Array, Array]:
        loss, grad = (np.asarray(a, dtype=np.float64) for a in found)
        point = np.asarray(theta, dtype=np.float64)
        if theta.ndim == 4:
            loss, grad, point = loss.mean(axis=1), grad.mean(axis=1), point.mean(axis=1)
        one = np.ones(len(loss))
        self._add(
            state,
            looks=one,
            point=point,
            gradient=grad,
            gradient_squared=grad * grad,
            losses=one,
            loss=loss,
        )
        return found

    def loss_and_grad(
        self, state: LandscapeState | None, theta: Array, *, discrete: bool = False
    ) -> tuple[Array, Array]:
        """As the landscape's; noted."""
        return self._seen(state, theta, self.inner.loss_and_grad(state, theta, discrete=discrete))

    def unrolled(self, state: LandscapeState | None, theta: Array, xi: float) -> tuple[Array, Array]:
        """As the landscape's; noted."""
        return self._seen(state, theta, self.inner.unrolled(state, theta, xi))

    def arch_loss(
        self, state: LandscapeState | None, archs: Array, *, batch: bool = False, own_batch: float = 0
    ) -> Array:
        """As the landscape's; noted where it is a mini-batch's, the losses of an architecture step."""
        out = self.inner.arch_loss(state, archs, batch=batch, own_batch=own_batch)
        if batch:
            self._add(state, losses=np.ones(len(out)), loss=np.asarray(out, dtype=np.float64).mean(axis=1))
        return out

    def train_weights(
        self, state: LandscapeState, usage: Array, steps: int, paths: Paths | None = None
    ) -> LandscapeState:
        """As the landscape's; noted."""
        wide = np.asarray(usage, dtype=np.float64)
        squared = wide * wide
        if paths is not None:  # the cells are trained on one by one: nothing is mixed
            squared = wide
        self._add(
            state,
            steps=np.full(len(wide), float(steps)),
            usage=steps * wide,
            usage_squared=steps * squared,
        )
        return self.inner.train_weights(state, usage, steps, paths)

    def drain(self, seeds: Array) -> dict[str, Array]:
        """Means of `seeds[S]` since the last call, `[S]` or `[S, D, K]`, NaN where nothing was seen.

        `usage`, `usage_squared` over the weight steps; `point`, `gradient` and `gradient_sd` (over steps, n - 1) over
        the architecture steps; `loss`; `steps` and `looks` themselves.
        """
        empty = {name: np.zeros(self._shape if wide else ()) for name, wide in SUMS.items()}
        rows = [self._sums.get(seed, empty) for seed in np.asarray(seeds).tolist()]
        sums = {name: np.stack([row[name] for row in rows]) for name in SUMS}
        self._sums = {}

        def mean(name: str, count: str, less: float = 0.0) -> Array:
            n = sums[count] - less
            n = np.where(n > 0, n, np.nan)
            return np.asarray(sums[name] / (n[:, None, None] if SUMS[name] else n))

        out = {name: mean(name, "steps") for name in ("usage", "usage_squared")}
        out |= {name: mean(name, "looks") for name in ("point", "gradient")}
        looks = np.where(sums["looks"] > 1, sums["looks"], np.nan)[:, None, None]
        spread = sums["gradient_squared"] - looks * out["gradient"] ** 2
        out["gradient_sd"] = np.sqrt(np.maximum(spread, 0) / (looks - 1))
        return {**out, "loss": mean("loss", "losses"), "steps": sums["steps"], "looks": sums["looks"]}
