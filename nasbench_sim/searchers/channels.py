"""Partial channels and edge normalisation: PC-DARTS.

A fraction 1/K of an edge's channels goes through the mixture of operations, the rest bypasses it untouched; a second
set of architecture parameters, beta, weighs the edges that enter a node (Xu et al., ICLR 2020, eq. 2 and 3).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from nasbench_sim.errors import SpecError
from nasbench_sim.landscapes.absence import may_lack
from nasbench_sim.searchers.base import Estimate, Slots, View, over_options
from nasbench_sim.searchers.links import Link, Softmax
from nasbench_sim.searchers.updates import Adam, Update
from nasbench_sim.spaces import Space

Array = npt.NDArray[Any]

EDGE = "edge"  # slot: beta [S, D, 1]; those of its update are called edge_<name>


@lru_cache(maxsize=16)
def incoming(decisions: tuple[str, ...], space: str) -> tuple[tuple[int, ...], ...]:
    """Groups of decisions that enter one node, from names `node<-source`; raises `SpecError` for other names.

    Where no decision is an edge (parents are decisions of their own, weighed by their theta already) every decision
    stands alone: its weight is 1, and beta has no gradient.

    >>> incoming(("1<-0", "2<-0", "2<-1"), "small")
    ((0,), (1, 2))
    >>> incoming(("op of node 1", "parents of node 2"), "small")
    ((0,), (1,))
    """
    if not _edges(decisions):
        return tuple((number,) for number in range(len(decisions)))
    groups: dict[str, list[int]] = {}
    for number, name in enumerate(decisions):
        match = re.fullmatch(r"(\w+)<-\w+", name)
        if match is None:
            raise SpecError(
                f"edge normalisation weighs the edges that enter a node, and {space} has decision {name!r}, which is "
                "not of the form node<-source; use edge_normalisation=False"
            )
        groups.setdefault(match.group(1), []).append(number)
    return tuple(tuple(group) for group in groups.values())


def _edges(decisions: tuple[str, ...]) -> bool:
    return any("<-" in name for name in decisions)


@lru_cache(maxsize=16)
def bypass(space: Space, channels: int, dtype: str) -> tuple[Array, Array]:
    """Share `[D, 1]` of theta that is mixed, and what passes beside it `[D, K]`: (1 - 1/K) onehot(skip).

    Without a skip connection no option is the bypassed signal: it stands for the average of the options, a constant
    that alpha does not move, so that theta counts for 1/K of the block as published. A decision without operations (the
    parents of a node) has no channels to choose from: all of its theta counts.

    >>> from nasbench_sim.spaces import get_space
    >>> share, past = bypass(get_space("nb1shot1-1"), 4, "float64")
    >>> share[:3, 0].tolist(), past[:3, :3].tolist()
    ([0.25, 0.25, 1.0], [[0.25, 0.25, 0.25], [0.25, 0.25, 0.25], [0.0, 0.0, 0.0]])
    """
    as_ = np.dtype(dtype).type
    has_skip = space.skip.any(axis=1, keepdims=True)
    operations = np.asarray(space.skip.any(axis=1) | may_lack(space))
    share = np.where(operations[:, None], as_(1 / channels), as_(1))
    average = space.mask.astype(dtype) / space.counts[:, None].astype(dtype)
    return share, (1 - share) * np.where(has_skip, space.skip.astype(dtype), average)


def edge_weights(beta: Array, groups: tuple[tuple[int, ...], ...]) -> tuple[Array, Array]:
    """w `[S, D, 1]` = softmax of beta over a node's edges, relative to its largest; and where the largest is.

    w_i = exp(beta_i - max beta). What a node sums is batch-normalised by what follows, so that only ratios of edge
    weights act: the strongest edge counts in full, an edge of w < 1 for that share.

    >>> w, first = edge_weights(np.log(np.array([[[2.0], [1.0], [4.0]]])), ((0,), (1, 2)))
    >>> w[0, :, 0].round(6).tolist(), first[0, :, 0].tolist()
    ([1.0, 0.25, 1.0], [True, False, True])
    """
    top, largest = np.empty_like(beta), np.zeros(beta.shape, dtype=bool)
    for group in groups:
        best = beta[:, group[0]]
        for d in group[1:]:
            best = np.maximum(best, beta[:, d])
        taken = np.zeros(best.shape, dtype=bool)  # of equal edges the first is the largest
        for d in group:
            top[:, d] = best
            largest[:, d] = (beta[:, d] == best) & ~taken
            taken |= largest[:, d]
    return np.exp(beta - top), largest


def edge_gradient(grad: Array, weights: Array, largest: Array, groups: tuple[tuple[int, ...], ...]) -> Array:
    """dL/dbeta `[S, D, 1]` from `grad` = dL/dw `[S, D, 1]`; sums to 0 over a node's edges."""
    out = weights * grad
    for group in groups:
        total = out[:, group[0]]
        for d in group[1:]:
            total = total + out[:, d]
        for d in group:
            out[:, d] = out[:, d] - np.where(largest[:, d], total, 0)
    return np.asarray(out)


@dataclass(frozen=True)
class PartialChannels:
    """PC-DARTS: theta' = w (theta / K + (1 - 1/K) onehot(skip)) + (1 - w) onehot(none), theta = softmax(alpha).

    `channels` K: one in K channels is mixed, and the bypass of the others is a skip connection without parameters; see
    `bypass` for decisions without one.
    `edge_normalisation`: w of `edge_weights`; an edge acts as `none` for the share 1 - w. Else w = 1, as in spaces
    whose decisions are no edges: there the parents of a node are weighed by theta already.
    `update`: of beta, from `warmup` (a share of the search) on. beta starts as sqrt(K) times the mean of alpha over an
    edge's options: N(0, 1e-3^2) as published, and independent of theta, which that mean does not enter.

    Both gradients go through theta': dL/dtheta = w/K dL/dtheta', dL/dw = <theta/K + (1 - 1/K) skip - none, dL/dtheta'>.
    The shared weights train at w theta + (1 - w) onehot(none): those of the channels that are mixed.
    Raises `SpecError` at the first step on a space of edges some of which have no `none`, with edge normalisation.
    """

    channels: int = 4
    edge_normalisation: bool = True
    update: Update = field(default_factory=lambda: Adam(lr=6e-4))
    warmup: float = 0.0
    link: Link = field(default_factory=Softmax)

    def __post_init__(self) -> None:
        if self.channels < 1:
            raise SpecError(f"channels (K: one in K channels is mixed) is at least 1, got {self.channels}")

    @property
    def requires(self) -> frozenset[str]:
        """Nothing beside a loss and its gradient."""
        return frozenset()

    @property
    def draws_blindly(self) -> bool:
        """Forward weights are those of alpha and beta."""
        return True

    def init(self, alpha: Array) -> Slots:
        """beta and its update's memory; nothing without edge normalisation."""
        if not self.edge_normalisation:
            return {}
        beta = over_options(alpha) / alpha.dtype.type(np.sqrt(alpha.shape[-1]))
        return {EDGE: beta, **_named(self.update.init(beta))}

    def settle(self, view: View, before: Array, after: Array, memory: Slots) -> Array:
        """The update's result."""
        return after

    def mixed(self, space: Space, theta: Array) -> Array:
        """theta / K + (1 - 1/K) onehot(skip), of the shape of `theta[..., D, K]`; see `bypass`."""
        share, past = bypass(space, self.channels, theta.dtype.name)
        return np.asarray(theta * share + past)

    def estimate(self, view: View, alpha: Array, sd: Array | None, mask: Array | None) -> Estimate:
        """One forward and backward pass at theta'; past the warm-up beta moves by its own Adam."""
        space = view.landscape.space
        share, _ = bypass(space, self.channels, alpha.dtype.name)
        theta = self.link.forward(alpha, mask)
        mixed = self.mixed(space, theta)
        if not self.edge_normalisation or not _edges(space.decisions):
            loss, grad = view.look(mixed)
            g = self.link.pullback(alpha, theta, grad * share)
            return Estimate(loss, g, g * g, theta)
        none, groups = _none(space).astype(alpha.dtype), incoming(space.decisions, space.name)
        weights, largest = edge_weights(view.memory[EDGE], groups)
        missing = (1 - weights) * none
        loss, grad = view.look(weights * mixed + missing)
        g = self.link.pullback(alpha, theta, grad * (weights * share))
        by_weight = over_options(grad * (mixed - none))
        slope = edge_gradient(by_weight, weights, largest, groups)
        usage = weights * theta + missing
        return Estimate(loss, g, g * g, usage, self._moved(view, slope))

    def _moved(self, view: View, slope: Array) -> Slots:
        """beta and its update's memory after this step; as they were while only the shared weights train."""
        if view.done < self.warmup:
            return {}
        beta = view.memory[EDGE]
        slots = {name: view.memory[f"{EDGE}_{name}"] for name in self.update.init(beta)}
        moved, changed = self.update.apply(beta, Estimate(slope, slope, slope * slope, slope), slots)
        return {EDGE: moved, **_named(changed)}


def _named(slots: Slots) -> dict[str, Array]:
    """Slots of beta's update under names that alpha's update does not use."""
    return {f"{EDGE}_{name}": value for name, value in slots.items()}


def _none(space: Space) -> Array:
    if not space.none.any(axis=1).all():
        raise SpecError(
            f"an edge of small weight acts as `none` in part, which {space.name} does not have at every decision; "
            "use edge_normalisation=False"
        )
    return space.none
