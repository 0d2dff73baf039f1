"""Weight sharing by single paths: the weights train on one uniform cell a step, and the cell is chosen at the end.

Parts of RSPS (no architecture parameters at all) and of SETN (alpha learns beside, and says which cells are looked at
in the end). Both train at the one-hot of a drawn cell: no option is favoured while the shared weights learn.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from nasbench_sim.errors import SpecError
from nasbench_sim.landscapes.base import Landscape, LandscapeState, StreamCache
from nasbench_sim.searchers.base import Estimate, Info, Slots, State, View
from nasbench_sim.searchers.gumbel import one_hot
from nasbench_sim.searchers.links import Link, Softmax
from nasbench_sim.searchers.random_variables import pick
from nasbench_sim.searchers.relaxations import Plain
from nasbench_sim.spaces import Space
from nasbench_sim.streams import Streams

Array = npt.NDArray[Any]

SEARCH_BATCH = 64  # images in the mini-batch whose noise the landscapes model (FACTS A.3: batch 64 in every search)


def at_least_one(**values: int) -> None:
    """Raise `SpecError` for a count below 1, by name."""
    for name, value in values.items():
        if value < 1:
            raise SpecError(f"{name} is at least 1, got {value}")


def uniform_over(mask: Array, dtype: npt.DTypeLike) -> Array:
    """The uniform distribution `[..., D, K]` over each decision's options."""
    return np.asarray(mask / mask.sum(axis=-1, keepdims=True)).astype(dtype)


def node_inputs(space: Space) -> list[list[int]]:
    """Decisions grouped by the node they feed: those named `j<-i` by j; a decision of another name stands alone.

    >>> from nasbench_sim.spaces import NB201
    >>> node_inputs(NB201())
    [[0], [1, 2], [3, 4, 5]]
    """
    groups: dict[str, list[int]] = {}
    for d, name in enumerate(space.decisions):
        groups.setdefault(name.split("<-")[0] if "<-" in name else f"decision {d}", []).append(d)
    return list(groups.values())


@lru_cache(maxsize=8)
def _node_choices(space: Space, avoid_empty: bool) -> tuple[tuple[list[int], Array], ...]:
    """For each node its decisions and every choice for them `[n, decisions]`, without the one that is all `none`."""
    out = []
    for group in node_inputs(space):
        counts = tuple(space.counts[group])
        choices = np.stack(np.unravel_index(np.arange(int(np.prod(counts))), counts), axis=1)
        empty = space.none[group, choices].all(axis=1)
        feeds_a_node = "<-" in space.decisions[group[0]]
        out.append((group, choices[~empty] if avoid_empty and feeds_a_node else choices))
    return tuple(out)


def uniform_cells(space: Space, streams: Streams, step: int, *, avoid_empty: bool) -> npt.NDArray[np.int64]:
    """One uniform cell a seed, `[S, D]`; `avoid_empty`: uniform over the cells in which every node has an input.

    `forward_urs` of the NATS-Bench scripts redraws a node's inputs while all of them are `none`; picking from the list
    of the other choices is the same distribution without redrawing.
    """
    nodes = _node_choices(space, avoid_empty)
    uniform = streams.uniform("path", step, (len(nodes),)).astype(np.float64)
    cells = np.empty((len(uniform), space.D), dtype=np.int64)
    for j, (group, choices) in enumerate(nodes):
        cells[:, group] = choices[(uniform[:, j] * len(choices)).astype(np.int64)]
    return cells


class WithoutAlpha:
    """What searches without architecture parameters have in common: alpha is 0, the distribution uniform to the end."""

    @property
    def requires(self) -> frozenset[str]:
        """Nothing beside a loss."""
        return frozenset()

    @staticmethod
    def start(space: Space, seeds: Array, dtype: npt.DTypeLike, slots: Slots) -> State:
        """Step 0 with every option active."""
        seeds = np.asarray(seeds, dtype=np.int64)
        alpha = np.zeros((len(seeds), space.D, space.K), dtype=dtype)
        mask = np.broadcast_to(space.mask, alpha.shape).copy()
        return State(seeds, np.zeros(len(seeds), dtype=np.int64), alpha, mask, slots)

    def end_epoch(self, state: State, epoch: int, archs: Array, eigenvalue: Array | None) -> State:
        """No rule of stopping."""
        return state

    def finished(self, state: State) -> Array:
        """It goes on to the last epoch."""
        return np.zeros(len(state.seeds), dtype=bool)

    def distribution(self, state: State) -> Array:
        """Uniform over each decision's options."""
        return uniform_over(state.mask, state.alpha.dtype)

    def hessian(self, state: State, landscape: Landscape, shared: LandscapeState) -> Array | None:
        """There is no alpha."""
        return None

    def curvature(self, state: State, landscape: Landscape, shared: LandscapeState) -> Array | None:
        """There is no alpha."""
        return None


@dataclass(frozen=True)
class SinglePathSearcher(WithoutAlpha):
    """RSPS: train on one uniform cell a step; return the best of `evaluations` fresh uniform cells.

    Nothing is learned but the shared weights, so `State` is the step number alone. Each candidate is scored on a
    validation batch of its own of `eval_batch` images: candidates' noises are independent, unlike in `random`.
    Candidates are drawn at the moment of asking, so the history is that of searches which end there.
    Source: Li & Talwalkar, UAI 2019, section 3.
    """

    evaluations: int = 100
    eval_batch: int = 512
    avoid_empty: bool = True
    name: str = "rsps"
    _streams: StreamCache = field(default_factory=StreamCache, repr=False, compare=False)

    def __post_init__(self) -> None:
        at_least_one(evaluations=self.evaluations, eval_batch=self.eval_batch)

    def init(self, space: Space, seeds: Array, dtype: npt.DTypeLike = np.float32) -> State:
        """Nothing drawn yet."""
        return self.start(space, seeds, dtype, {})

    def step(self, state: State, landscape: Landscape, shared: LandscapeState) -> tuple[State, LandscapeState, Info]:
        """Draw a cell, note its loss, train its weights."""
        space = landscape.space
        cell = uniform_cells(space, self._streams(state.seeds), int(state.step[0]), avoid_empty=self.avoid_empty)
        loss = landscape.arch_loss(shared, cell[:, None], batch=True)[:, 0]
        usage = one_hot(cell, state.alpha)
        return state._replace(step=state.step + 1), landscape.train_weights(shared, usage, 1), Info(loss, usage)

    def derive(self, state: State, landscape: Landscape, shared: LandscapeState) -> Array:
        """The best of `evaluations` cells drawn now `[S, D]`."""
        shape = (self.evaluations, landscape.space.D)
        uniform = self._streams(state.seeds).uniform("candidates", int(state.step[0]), shape)
        cells = pick(uniform, self.distribution(state))
        return best_on_own_batches(landscape, shared, cells, self.eval_batch)


def best_on_own_batches(landscape: Landscape, shared: LandscapeState, cells: Array, eval_batch: int) -> Array:
    """The cell `[S, D]` of `cells[S, M, D]` with the least loss, each on a batch of its own of `eval_batch` images."""
    losses = landscape.arch_loss(shared, cells, own_batch=eval_batch / SEARCH_BATCH)
    return np.asarray(cells[np.arange(len(cells)), losses.argmin(axis=1)])


@dataclass(frozen=True)
class UniformPath(Plain):
    """SETN's two steps: alpha at the joint softmax mixture as in DARTS, the shared weights on one uniform cell.

    Usage is the one-hot of a cell that does not depend on alpha: an option that falls behind goes on being trained.
    Source: Dong & Yang, ICCV 2019, section 3; `search_func` of the NAS-Bench-201 script.
    """

    link: Link = field(default_factory=Softmax)

    def estimate(self, view: View, alpha: Array, sd: Array | None, mask: Array | None) -> Estimate:
        """Loss and gradient at the mean; usage at a uniform draw among the active options."""
        theta = self.link.forward(alpha, mask)
        loss, grad = view.look(theta)
        g = self.link.pullback(alpha, theta, grad)
        active = np.broadcast_to(view.landscape.space.mask, alpha.shape) if mask is None else mask
        uniform = view.streams.uniform("path", view.step, (1, alpha.shape[1]))
        cell = pick(uniform, uniform_over(active, alpha.dtype))[:, 0]
        return Estimate(loss, g, g * g, one_hot(cell, alpha))


def most_likely(alpha: Array, mask: Array, n: int) -> tuple[npt.NDArray[np.int64], Array]:
    """The `n` most likely cells `[S, n, D]` of prod_d softmax(alpha_d), best first, and their scores `[S, n]`.

    A score is sum_d alpha[d, cell_d], the log-probability up to a constant a seed. -inf where a seed has fewer cells.
    Exact, one decision at a time: with both lists in falling order, the pair of the i-th best beginning and the k-th
    best option can be among the n best only if i k <= n, since i k pairs are at least as good. 228 sums a decision on
    NAS-Bench-201 at n = 100, instead of 15,625 cells.

    >>> cells, score = most_likely(np.array([[[0.0, 1.0], [0.5, 0.0]]]), np.ones((1, 2, 2), bool), 3)
    >>> cells.tolist(), score.tolist()
    ([[[1, 0], [1, 1], [0, 0]]], [[1.5, 1.0, 0.5]])
    """
    scores = np.where(mask, alpha, alpha.dtype.type(-np.inf))
    order = np.argsort(-scores, axis=-1, kind="stable")
    falling = np.take_along_axis(scores, order, axis=-1)
    seed = np.arange(len(alpha))[:, None]
    cells = np.zeros((len(alpha), 1, 0), dtype=np.int64)
    total = np.zeros((len(alpha), 1), dtype=alpha.dtype)
    for d in range(alpha.shape[1]):
        rank = np.arange(1, total.shape[1] + 1)[:, None] * np.arange(1, alpha.shape[2] + 1)
        i, k = np.nonzero(rank <= n)
        sums = total[:, i] + falling[:, d, k]
        best = np.argsort(-sums, axis=1, kind="stable")[:, :n]
        total = sums[seed, best]
        cells = np.concatenate([cells[seed, i[best]], order[seed, d, k[best]][..., None]], axis=2)
    return cells, total


@dataclass(frozen=True)
class BestOfTop:
    """Of the `candidates` most likely cells, the one with the least loss, each on a validation batch of its own.

    SETN's selection; `candidates=1` is the argmax. Batches have `eval_batch` images.
    """

    candidates: int = 100
    eval_batch: int = 512
    requires: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        at_least_one(candidates=self.candidates, eval_batch=self.eval_batch)

    def select(self, view: View, alpha: Array, sd: Array | None, mask: Array) -> Array:
        """Enumerate, score, keep the best; pruned options are in no candidate."""
        cells, score = most_likely(alpha, mask, self.candidates)
        # a seed with fewer cells than candidates repeats its best one
        cells = np.where(np.isneginf(score)[..., None], cells[:, :1], cells)
        return best_on_own_batches(view.landscape, view.state, cells, self.eval_batch)
