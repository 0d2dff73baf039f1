"""A landscape with a price on cells: the search loss plus weighted costs, in expectation, exactly.

    L'(theta) = L(theta) + sum_m weight_m E_theta[cost_m],    E_theta[c] = sum_arch c[arch] prod_d theta[d, arch_d]

The weight is in units of the loss (error as a fraction, or modelled nats) per unit of the cost (0.01 for
`latency_ms/pixel3` is 0.01 nats a millisecond). The expectation is multilinear like that of the accuracy, so value,
gradient and Hessian are exact; one form holds the weighted sum of all costs.

The penalty is the cell's own cost and nothing else: a cost is known without training, so it has no maturity, no noise
of a mini-batch, and `none` is as cheap in a mixture as in a cell. It does not depend on shared weights, hence the same
term stands in the unrolled loss.

Source: the expected latency as a differentiable term of the loss is that of ProxylessNAS (Cai, Zhu & Han, ICLR 2019,
section 3.3). Deviation: there the latency of a mixture is a sum of predictions by operation, weighted by theta; here it
is the expectation of the measured latency of whole cells. Both agree where the cost is a sum over operations, as
parameters and FLOPs are.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from nasbench_sim.errors import NotMeasured, SpecError, unknown
from nasbench_sim.landscapes.base import Horizon, Landscape, LandscapeState, Paths
from nasbench_sim.landscapes.multilinear import Multilinear
from nasbench_sim.spaces import Space
from nasbench_sim.tables.columns import FloatArray, family
from nasbench_sim.tables.table import Table

Array = npt.NDArray[Any]

#: metrics of which less is better, by family (a name that ends in a slash), with what the number is and its unit
COSTS: Mapping[str, tuple[str, str]] = {
    "params_m": ("parameters", "millions"),
    "flops_m": ("FLOPs", "millions"),
    "train_time_s": ("training time", "s"),
    "latency_ms/": ("latency on {}", "ms"),
    "energy_mj/": ("energy on {}", "mJ"),
}


def costs_of(table: Table, dataset: str) -> list[str]:
    """Names of a table's costs on a data set, sorted: metrics of which less is better; empty where there are none.

    >>> import nasbench_sim as nb
    >>> costs_of(nb.open_table("nb201-analog"), "cifar10")
    ['flops_m', 'params_m']
    """
    return sorted(name for name, where in table.metrics if where == dataset and family(name) in COSTS)


def cost_column(table: Table, dataset: str, name: str) -> FloatArray:
    """A cost `[A]` of every cell in the unit of its name, official index order, read-only.

    Raises `NotMeasured` for a name the table does not hold on this data set (the costs there are follow) or that was
    not measured for every cell, and `SpecError` for a metric that is no cost (a proxy, a number of runs).

    >>> import nasbench_sim as nb
    >>> f"{cost_column(nb.open_table('nb201-analog'), 'cifar10', 'params_m').max():.3f}"
    '1.532'
    """
    if dataset not in table.datasets():
        raise NotMeasured(f"table {table.name}: {unknown('data set', dataset, table.datasets())}")
    return checked_cost({n: c for (n, where), c in table.metrics.items() if where == dataset}, name, table.name)


def checked_cost(columns: Mapping[str, FloatArray], name: str, table: str) -> FloatArray:
    """The cost `[A]` of that name among all metrics of a data set of `table`; raises as `cost_column`."""
    if name not in columns or family(name) not in COSTS:
        known = sorted(n for n in columns if family(n) in COSTS)
        if name in columns:
            raise SpecError(f"{name} is not a cost, of which less is better; costs of {table}: {', '.join(known)}")
        raise NotMeasured(f"table {table}: {unknown('cost metric', name, known)}")
    out = columns[name]
    holes = int(np.isnan(out).sum())
    if holes:
        raise NotMeasured(
            f"table {table}: {name} was measured for {len(out) - holes} of {len(out)} cells, and a search needs the "
            "cost of every cell; choose another metric"
        )
    return out


class PenalisedLandscape:
    """Any landscape plus the expected cost of the cell.

    Parameters
    ----------
    landscape: what the search sees without a price.
    table, dataset: where the costs come from.
    penalty: cost metric -> weight, in units of the loss per unit of the metric. With all weights 0 every number is the
        bare landscape's, bit for bit.

    Raises `NotMeasured` and `SpecError` as `cost_column`, and `SpecError` for a weight that is negative or not finite.

    Example
    -------
    >>> import numpy as np, nasbench_sim as nb
    >>> table = nb.open_table("nb201-analog")
    >>> bare = nb.TabularLandscape(table, dataset="cifar10", split="baseline", epochs="unstated", seed="single")
    >>> land = PenalisedLandscape(bare, table, "cifar10", {"params_m": 0.05})
    >>> cell = np.full((1, 1, 6), 3)  # 3x3 convolutions everywhere: 1.53 million parameters
    >>> f"{(land.arch_loss(None, cell) - bare.arch_loss(None, cell))[0, 0]:.4f}"
    '0.0766'
    >>> land.loss_name
    'error (fraction) + 0.05 params_m'
    """

    def __init__(self, landscape: Landscape, table: Table, dataset: str, penalty: Mapping[str, float]) -> None:
        if landscape.space is not table.space and landscape.space.options != table.space.options:
            raise SpecError(
                f"the landscape's cells are of {landscape.space.name} and the costs of {table.name} are not"
            )
        total = np.zeros(table.space.size, dtype=np.float64)
        for name, weight in penalty.items():
            if not (math.isfinite(weight) and weight >= 0):
                raise SpecError(f"penalty {name}: a weight is a finite number >= 0, got {weight}")
            total += weight * cost_column(table, dataset, name).astype(np.float64)
        self.bare = landscape
        self.penalty = {name: float(weight) for name, weight in penalty.items() if weight > 0}
        if not np.abs(total).max() < np.finfo(landscape.dtype).max:
            raise SpecError(f"penalty {self.penalty} is beyond what {landscape.dtype} holds; give smaller weights")
        self._flat = total[table.space.rank].astype(landscape.dtype)
        self._form = Multilinear(self._flat.reshape(tuple(table.space.counts))) if self.penalty else None

    @property
    def space(self) -> Space:
        """The search space."""
        return self.bare.space

    @property
    def dtype(self) -> np.dtype[Any]:
        """float32 or float64: that of the bare landscape."""
        return self.bare.dtype

    @property
    def offers(self) -> frozenset[str]:
        """What the bare landscape offers."""
        return self.bare.offers

    @property
    def loss_name(self) -> str:
        """The bare landscape's loss and what is added to it, with the weights."""
        return " + ".join([self.bare.loss_name, *(f"{weight:g} {name}" for name, weight in self.penalty.items())])

    def expected_penalty(self, theta: Array) -> tuple[Array, Array]:
        """Penalty `[...]` in units of the loss and its gradient `[..., D, K]` at `theta[..., D, K]`."""
        if self._form is None:
            return np.zeros(theta.shape[:-2], dtype=self.dtype), np.zeros(theta.shape, dtype=self.dtype)
        value, grad = self._form.value_and_grad(theta.reshape(-1, *theta.shape[-2:]))
        return value.reshape(theta.shape[:-2]), grad.reshape(theta.shape)

    def _with_penalty(self, seen: tuple[Array, Array], theta: Array) -> tuple[Array, Array]:
        if self._form is None:  # not even + 0.0, which would turn -0.0 into 0.0
            return seen
        value, grad = self.expected_penalty(theta)
        return seen[0] + value, seen[1] + grad

    def init(self, seeds: Array, horizon: Horizon) -> LandscapeState:
        """Fresh shared weights of the bare landscape; the penalty has no state."""
        return self.bare.init(seeds, horizon)

    def loss_and_grad(
        self, state: LandscapeState | None, theta: Array, *, discrete: bool = False
    ) -> tuple[Array, Array]:
        """Loss `[S]` (or `[S, M]`) and gradient in theta, as the bare landscape shows them, plus the penalty's."""
        return self._with_penalty(self.bare.loss_and_grad(state, theta, discrete=discrete), theta)

    def unrolled(self, state: LandscapeState | None, theta: Array, xi: float) -> tuple[Array, Array]:
        """Loss and total gradient after one virtual weight step, plus the penalty's, which sees no weights."""
        return self._with_penalty(self.bare.unrolled(state, theta, xi), theta)

    def proxy(self, name: str, archs: Array, *, dataset: str | None = None) -> Array:
        """Proxy scores of the bare landscape `[S, M]`: they are no losses and carry no penalty."""
        return self.bare.proxy(name, archs, dataset=dataset)

    def arch_loss(
        self, state: LandscapeState | None, archs: Array, *, batch: bool = False, own_batch: float = 0
    ) -> Array:
        """Loss `[S, M]` of discrete `archs[S, M, D]` plus what each costs."""
        loss = self.bare.arch_loss(state, archs, batch=batch, own_batch=own_batch)
        if self._form is None:
            return loss
        return np.asarray(loss + self._flat.take(archs @ self.space.radix))

    def hessian(self, state: LandscapeState | None, theta: Array) -> Array:
        """Hessian `[S, D*K, D*K]` in theta; a cost that is a sum over operations bends nothing along the simplex."""
        out = self.bare.hessian(state, theta)
        return out if self._form is None else out + self._form.hessian(theta).reshape(out.shape)

    def gradient(self, state: LandscapeState | None, theta: Array) -> Array:
        """Noise-free gradient `[S, D, K]`, penalty included."""
        out = self.bare.gradient(state, theta)
        return out if self._form is None else out + self.expected_penalty(theta)[1]

    def train_weights(
        self, state: LandscapeState, usage: Array, steps: int, paths: Paths | None = None
    ) -> LandscapeState:
        """Shared weights after `steps` updates: those of the bare landscape (training does not look at costs)."""
        return self.bare.train_weights(state, usage, steps, paths)
