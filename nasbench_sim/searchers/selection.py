"""Which discrete cell a distribution stands for: the mode, or the best of some cells drawn from it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from nasbench_sim.errors import SpecError
from nasbench_sim.searchers.base import View
from nasbench_sim.searchers.links import Softmax

Array = npt.NDArray[Any]


class Selection(Protocol):
    """alpha -> cells `[S, D]`; `sd` is the posterior standard deviation of alpha, or None."""

    @property
    def requires(self) -> frozenset[str]:
        """What the landscape or table must offer, e.g. `proxy/synflow`."""

    def select(self, view: View, alpha: Array, sd: Array | None, mask: Array) -> Array:
        """The cells of `alpha[S, D, K]`; options with `mask` False are not candidates."""


def mode(alpha: Array, mask: Array) -> Array:
    """The option with the largest alpha at each decision, `[..., D, K] -> [..., D]`."""
    return np.asarray(np.where(mask, alpha, -np.inf).argmax(axis=-1))


@dataclass(frozen=True)
class Argmax:
    """The option with the largest alpha at each decision, `none` included, as in the NAS-Bench-201 scripts."""

    requires: frozenset[str] = frozenset()

    def select(self, view: View, alpha: Array, sd: Array | None, mask: Array) -> Array:
        """The mode."""
        return mode(alpha, mask)


@dataclass(frozen=True)
class ProxySample:
    """The cell with the best zero-cost proxy among `samples` cells drawn from q (BaLeNAS-TF, section 4.3).

    Each draw is alpha ~ q = N(mu, sd^2), its cell the argmax. A cell whose proxy was never computed (published ones
    exist only where every operation is reachable; the shipped `synflow-mean` for every cell) is no candidate; where
    none of the draws has one, the mode. `dataset`: whose proxies, default the searched data set's.
    """

    samples: int = 100
    proxy: str = "synflow-mean"
    dataset: str | None = None

    def __post_init__(self) -> None:
        if self.samples < 1:
            raise SpecError(f"a sample has at least 1 cell, got {self.samples}")

    @property
    def requires(self) -> frozenset[str]:
        """The proxy's column."""
        return frozenset({f"proxy/{self.proxy}" + (f"@{self.dataset}" if self.dataset else "")})

    def select(self, view: View, alpha: Array, sd: Array | None, mask: Array) -> Array:
        """Draw, score, keep the best."""
        if sd is None:
            raise ValueError("sampling from the posterior needs an update with a posterior (vadam)")
        eps = view.streams.normal("selection", view.step, (self.samples, *alpha.shape[1:]))
        cells = mode(alpha[:, None] + sd[:, None] * eps, mask[:, None])
        scores = view.landscape.proxy(self.proxy, cells, dataset=self.dataset)
        known = np.isfinite(scores)
        best = np.where(known, scores, -np.inf).argmax(axis=1)
        seed = np.arange(len(cells))
        some = np.asarray(known.any(axis=1))
        return np.where(some[:, None], cells[seed, best], mode(alpha, mask))


@dataclass(frozen=True)
class AtMostSkips:
    """The mode with at most `skips` skip connections: the weakest give way to the next best option of their edge.

    Skips are ranked by their softmax probability. An edge on which nothing but the skip is left keeps it. Source:
    P-DARTS (Chen et al., ICCV 2019, section 3.3), M = 2 in the normal cell of 8 operations. Raises `SpecError` for a
    negative number.
    """

    skips: int = 2
    requires: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        if self.skips < 0:
            raise SpecError(f"a cell has at least 0 skip connections, got {self.skips}")

    def select(self, view: View, alpha: Array, sd: Array | None, mask: Array) -> Array:
        """Lower the weakest skips until the number fits."""
        skip = view.landscape.space.skip
        cells, others = mode(alpha, mask), mask & ~skip
        chosen = np.asarray(skip[np.arange(len(skip)), cells])
        theta = Softmax().forward(alpha, mask)
        strength = np.where(skip, theta, 0).max(axis=-1)
        # an edge that cannot give way counts as the strongest of all
        strength = np.where(chosen, np.where(others.any(axis=-1), strength, np.inf), -np.inf)
        order = np.argsort(-strength, axis=1, kind="stable")
        rank = np.empty_like(order)
        np.put_along_axis(rank, order, np.broadcast_to(np.arange(order.shape[1]), order.shape), axis=1)
        lowered = chosen & (rank >= self.skips) & np.isfinite(strength)
        return np.where(lowered, mode(alpha, others), cells)
