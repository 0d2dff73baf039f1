"""The exact expectation of a table: no weight sharing, no noise. The oracle and the noise-free control."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from nasbench_sim.errors import SpecError
from nasbench_sim.landscapes.base import Horizon, LandscapeState, Paths, fresh_state
from nasbench_sim.landscapes.multilinear import Multilinear
from nasbench_sim.tables.table import Epochs, Seed, Table

Array = npt.NDArray[Any]


class TabularLandscape:
    """Expected error of the table's cells under a factorised architecture distribution.

    loss(theta) = sum_arch (1 - accuracy[arch] / 100) prod_d theta[d, arch_d], an error as a fraction of 1.

    Every gradient method finds near-optimal cells on it: it is the control, not the simulation of a supernet.

    Parameters
    ----------
    table: the benchmark. dataset, split, epochs, seed: the key of the accuracy a search may see; an architecture
        that was never measured under it raises `NotMeasured`.
    dtype: float32 (default) or float64.

    Example
    -------
    >>> import numpy as np, nasbench_sim as nb
    >>> land = nb.TabularLandscape(
    ...     nb.open_table("nb201-analog"), dataset="cifar10", split="baseline", epochs="unstated", seed="single"
    ... )
    >>> theta = np.full((1, 6, 5), 0.2)
    >>> loss, grad = land.loss_and_grad(None, theta)
    >>> loss.shape, grad.shape
    ((1,), (1, 6, 5))
    """

    loss_name = "error (fraction)"
    offers: frozenset[str] = frozenset()

    def __init__(
        self,
        table: Table,
        *,
        dataset: str,
        split: str,
        epochs: Epochs,
        seed: Seed = "mean",
        dtype: npt.DTypeLike = np.float32,
    ) -> None:
        self.space = table.space
        self.dtype = np.dtype(dtype)
        values = table.values(dataset=dataset, split=split, epochs=epochs, seed=seed)
        error = 1.0 - values.astype(np.float64)[self.space.rank] / 100.0
        self._flat = error.astype(self.dtype)
        self._table, self._dataset = table, dataset
        self._form = Multilinear(self.tensor)

    @property
    def tensor(self) -> Array:
        """The loss of every architecture, shape `counts`, radix order."""
        return self._flat.reshape(tuple(self.space.counts))

    def init(self, seeds: Array, horizon: Horizon) -> LandscapeState:
        """State for `seeds[S]`: only the step counter moves."""
        return fresh_state(self.space, seeds, horizon, self.dtype)

    def loss_and_grad(
        self, state: LandscapeState | None, theta: Array, *, discrete: bool = False
    ) -> tuple[Array, Array]:
        """Exact loss `[...]` and gradient `[..., D, K]` at `theta[..., D, K]`; `state` is not looked at.

        A mixture's loss is the expectation over its cells, so that gates of a single cell are no special case.
        """
        lead = theta.shape[:-2]
        loss, grad = self._form.value_and_grad(theta.reshape(-1, *theta.shape[-2:]))
        return loss.reshape(lead), grad.reshape(theta.shape)

    def unrolled(self, state: LandscapeState | None, theta: Array, xi: float) -> tuple[Array, Array]:
        """Raises `SpecError`: a table has no weights to unroll."""
        raise SpecError("a second-order gradient goes through shared weights, and a plain table has none")

    def proxy(self, name: str, archs: Array, *, dataset: str | None = None) -> Array:
        """Proxy scores `[S, M]` of `archs[S, M, D]`; NaN where never computed. Raises `NotMeasured`."""
        column = self._table.proxy(name, dataset=dataset or self._dataset)
        return np.asarray(column[self.space.rank][archs @ self.space.radix])

    def gradient(self, state: LandscapeState | None, theta: Array) -> Array:
        """Exact gradient `[S, D, K]`."""
        return self.loss_and_grad(state, theta)[1]

    def hessian(self, state: LandscapeState | None, theta: Array) -> Array:
        """Exact Hessian `[S, D*K, D*K]` in theta."""
        n = self.space.D * self.space.K
        return self._form.hessian(theta).reshape(len(theta), n, n)

    def arch_loss(
        self, state: LandscapeState | None, archs: Array, *, batch: bool = False, own_batch: float = 0
    ) -> Array:
        """Error `[S, M]` of `archs[S, M, D]`: a gather from the same tensor (a table has no mini-batches)."""
        return self._flat.take(archs @ self.space.radix)

    def train_weights(
        self, state: LandscapeState, usage: Array, steps: int, paths: Paths | None = None
    ) -> LandscapeState:
        """Counts the steps; there are no shared weights."""
        return state._replace(step=state.step + steps)
