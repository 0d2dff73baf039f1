"""Which options stay in the race: nothing pruned, or the rule of BPNAS."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from nasbench_sim.errors import SpecError
from nasbench_sim.searchers.base import View, over_options
from nasbench_sim.searchers.links import Concentration, Link
from nasbench_sim.searchers.random_variables import dirichlet_path

Array = npt.NDArray[Any]


class Cut(NamedTuple):
    """What a rule decided: `mask` bool `[S, D, K]` after it, `reset` bool `[S, D]`: rows of alpha to restart."""

    mask: Array
    reset: Array


class Pruning(Protocol):
    """A rule that looks at alpha once a step."""

    def into_stage(self, view: View) -> float:
        """Share of the present stage that lies behind this step, in [0, 1); without stages: of the search."""

    def apply(self, view: View, alpha: Array, mask: Array, link: Link) -> Cut | None:
        """The cut of this step, or None where no search prunes."""


class OneStage:
    """A rule without stages: the whole search is one."""

    def into_stage(self, view: View) -> float:
        """Share of the search that lies behind this step."""
        return view.done


@dataclass(frozen=True)
class NoPruning(OneStage):
    """Every option stays until the end."""

    def apply(self, view: View, alpha: Array, mask: Array, link: Link) -> Cut | None:
        """Nothing."""
        return None


@dataclass(frozen=True)
class BPNASRule(OneStage):
    """Drop the weakest option once the distribution has moved `delta` away from uniform, then restart alpha.

    If || theta(alpha_m) - 1 / |gamma_m| ||_2 >= delta for an edge m: set Gamma = 0 at the argmin of alpha, reset alpha
    (BPNAS slides, algorithm). At most one cut a step and search: the edge furthest from uniform triggers.

    What the slides leave open, each a parameter:
    delta: the threshold. On n active options the distance is at most sqrt(1 - 1/n): 0.71 for n = 2.
    theta: `mean` of Dirichlet(elu(alpha) + 1), or `sample` (then a delta below about 0.5 fires by noise).
    scope: the argmin runs over the triggering `edge`, or over `all` active entries as printed.
    reset: `all` edges restart, only the cut `edge`, or `none`.
    c: strength of the prior exp(-c |gamma|). None: the printed rule, in which c appears nowhere. A number adds the MAP
       test: cut only if the log posterior does not fall, train_size * (loss after - loss before) <= c.
    """

    delta: float = 0.01
    theta: Literal["mean", "sample"] = "mean"
    scope: Literal["edge", "all"] = "edge"
    reset: Literal["all", "edge", "none"] = "all"
    c: float | None = None
    train_size: int = 25_000

    def __post_init__(self) -> None:
        if not 0 < self.delta < 1:
            raise SpecError(f"delta is a distance on the simplex in (0, 1), got {self.delta}")
        for name, value, allowed in (
            ("theta", self.theta, ("mean", "sample")),
            ("scope", self.scope, ("edge", "all")),
            ("reset", self.reset, ("all", "edge", "none")),
        ):
            if value not in allowed:
                raise SpecError(f"BPNAS {name} is one of {', '.join(allowed)}, got {value!r}")

    def apply(self, view: View, alpha: Array, mask: Array, link: Link) -> Cut | None:
        """One look at every edge of every search."""
        if self.theta == "sample":
            theta, _ = dirichlet_path(view.streams, "rule", view.step, Concentration.value(alpha), mask)
        else:
            theta = link.forward(alpha, mask)
        active = over_options(mask.astype(alpha.dtype))
        gap = np.where(mask, theta - 1 / active, alpha.dtype.type(0))
        distance = over_options(gap * gap)[..., 0]  # squared, [S, D]
        distance = np.where(active[..., 0] > 1, distance, alpha.dtype.type(-1))
        edge = distance.argmax(axis=1)
        seed = np.arange(len(alpha))
        fires = distance[seed, edge] >= alpha.dtype.type(self.delta) ** 2
        if not fires.any():
            return None
        # an edge keeps its last option, so only edges with two or more are candidates
        candidates = mask & (active > 1)
        if self.scope == "edge":
            here = np.zeros(mask.shape[:2], dtype=bool)
            here[seed, edge] = True
            candidates = candidates & here[..., None]
        scores = np.where(candidates, alpha, np.inf).reshape(len(alpha), -1)
        worst = scores.argmin(axis=1)
        cut = mask.reshape(len(alpha), -1).copy()
        cut[seed[fires], worst[fires]] = False
        new = cut.reshape(mask.shape)
        if self.c is not None:
            fires &= self._posterior_allows(view, alpha, mask, new, link)
            new = np.where(fires[:, None, None], new, mask)
            if not fires.any():
                return None
        reset = np.zeros(mask.shape[:2], dtype=bool)
        if self.reset == "all":
            reset[fires] = True
        elif self.reset == "edge":
            reset[seed[fires], worst[fires] // mask.shape[2]] = True
        return Cut(new, reset)

    def _posterior_allows(self, view: View, alpha: Array, old: Array, new: Array, link: Link) -> Array:
        assert self.c is not None
        pair = np.stack([link.forward(alpha, old), link.forward(alpha, new)], axis=1)
        loss, _ = view.look(pair)
        allowed: Array = (loss[:, 1] - loss[:, 0]).astype(np.float64) * self.train_size <= self.c
        return allowed
