"""PNAS: simple cells first, and a predictor trained on them that says which larger ones to train."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from nasbench_sim.errors import SpecError
from nasbench_sim.searchers.blackbox.base import History, Method, Noise, Problem, Slots, stream_seed
from nasbench_sim.searchers.blackbox.cells import codes, one_hot
from nasbench_sim.searchers.blackbox.encodings import Target, edges, targets
from nasbench_sim.searchers.blackbox.optional import need
from nasbench_sim.spaces import Space

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class ProgressiveSearch(Method):
    """Liu et al. 2018, algorithm 1, with a cell's intermediate nodes as its blocks.

    Level 0 trains every cell without an intermediate node (only the edge from input to output; all other edges are
    `none`): 5 in nb201. Level b takes the `beam` best cells trained so far that use nodes up to b - 1, adds node b in
    every way, lets the predictor score these children and trains the best `beam`. After the last level it goes on with
    the `beam` best-scored untrained cells of the whole space until the budget is spent.

    The predictor is refitted before each batch: the mean of `members` models, each on 4/5 of the results. It sees
    one-hot edges and how often each operation occurs; the counts carry what small cells say over to edges that they do
    not have. Target: see `encodings.targets`.

    Memory: `queue` int8 `[S, beam, D]` cells that wait, `waiting` int64 `[S]` how many, `level` int64 `[S]`.
    """

    beam: int = 20
    members: int = 5
    predictor: Literal["mlp", "ridge"] = "mlp"
    target: Target = "log-error"
    epochs: int | None = None
    name: str = "pnas"

    def __post_init__(self) -> None:
        if self.beam < 1 or self.members < 1:
            raise SpecError(f"beam and members are at least 1, got {self.beam} and {self.members}")
        need("sklearn", self.name)

    def levels(self, problem: Problem) -> tuple[int, ...]:
        """One fidelity; raises `SpecError` where cells cannot grow node by node."""
        blocks(problem.space)
        return super().levels(problem)

    def init(self, space: Space, seeds: Array) -> Slots:
        """The cells of level 0 wait."""
        first = grow(space, _nothing(space)[None], 0)
        room = max(self.beam, len(first))
        queue = np.zeros((len(seeds), room, space.D), dtype=np.int8)
        queue[:, : len(first)] = first
        whole = np.ones(len(seeds), dtype=np.int64)
        return {"queue": queue, "waiting": len(first) * whole, "level": 0 * whole}

    def propose(
        self, problem: Problem, history: History, slots: Slots, streams: Noise, n: int
    ) -> tuple[Array, Array, Slots]:
        """The next cell of the queue; an empty queue is filled by the predictor first."""
        queue, waiting, level = (slots[k].copy() for k in ("queue", "waiting", "level"))
        for s in np.nonzero(waiting == 0)[0]:
            level[s] += 1
            seed = int(stream_seed(streams, "predictor", n)[s])
            batch = self._batch(problem.space, history.archs[s], history.value[s], int(level[s]), seed)
            queue[s, : len(batch)], waiting[s] = batch, len(batch)
        archs = queue[:, 0].copy()
        after = {"queue": np.roll(queue, -1, axis=1), "waiting": waiting - 1, "level": level}
        return archs, self.at_level(problem, len(archs)), after

    def _batch(self, space: Space, archs: Array, value: Array, level: int, seed: int) -> Array:
        """The cells `[<= beam, D]` to train at a level, best first."""
        target = targets(value, self.target)
        if level < len(blocks(space)):
            small = np.nonzero(size(space, archs) < level)[0]
            parents = archs[small[np.argsort(target[small], kind="stable")[: self.beam]]]
            options = grow(space, np.unique(parents, axis=0), level)
        else:
            options = space.all.astype(np.int8)
        options = options[~np.isin(codes(space, options), codes(space, archs))]
        if not len(options):  # everything was trained: the search stays at its best
            return np.asarray(archs[target.argmin()][None])
        score = self.predict(space, archs, target, options, seed)
        return np.asarray(options[np.argsort(score, kind="stable")[: self.beam]])

    def predict(self, space: Space, archs: Array, target: Array, options: Array, seed: int) -> npt.NDArray[np.float64]:
        """Mean prediction `[c]` of the ensemble for `options[c, D]` after `archs[n, D]` had `target[n]`."""
        scale = float(target.std()) or 1.0
        x, y = features(space, archs), (target - target.mean()) / scale
        wanted = features(space, options)
        total = np.zeros(len(options))
        order = np.random.default_rng(seed).permutation(len(y))
        for member, left_out in enumerate(np.array_split(order, self.members)):
            keep = np.setdiff1d(order, left_out) if self.members > 1 and len(y) >= self.members else np.sort(order)
            model = self._model(seed + member)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # one of an ensemble may stop at its number of iterations
                model.fit(x[keep], y[keep])
            total += model.predict(wanted)
        return total / self.members

    def _model(self, seed: int) -> Any:
        if self.predictor == "ridge":
            return need("sklearn.linear_model", self.name).Ridge(alpha=1.0)
        network = need("sklearn.neural_network", self.name).MLPRegressor
        sizes = {"hidden_layer_sizes": (30,), "solver": "lbfgs", "alpha": 1.0, "max_iter": 200}
        return network(**sizes, random_state=seed % 2**32)


def features(space: Space, archs: Array) -> npt.NDArray[np.float64]:
    """One-hot edges and counts of the operations, `[n, D K + K]`."""
    hot = one_hot(space, archs)
    return np.concatenate([hot, hot.reshape(len(hot), space.D, space.K).sum(axis=1)], axis=1)


def blocks(space: Space) -> list[list[int]]:
    """Decisions that come with each block: first the edge input -> output, then intermediate node after node.

    Raises `SpecError` for a space whose decisions are not edges with the option `none`.

    >>> from nasbench_sim.spaces import get_space
    >>> blocks(get_space("nb201"))
    [[3], [0, 4], [1, 2, 5]]
    """
    if not space.none.any(axis=1).all():
        raise SpecError(f"pnas grows cells by edges that are `none` at first, and space {space.name} has none")
    arrows = edges(space)
    last = max(target for target, _ in arrows)
    newest = [max(source, target if target < last else 0) for target, source in arrows]
    return [[d for d, node in enumerate(newest) if node == block] for block in range(last)]


def _nothing(space: Space) -> npt.NDArray[np.int8]:
    """The cell `[D]` without any edge."""
    return np.asarray(space.none.argmax(axis=1), dtype=np.int8)


def size(space: Space, archs: Array) -> npt.NDArray[np.int64]:
    """Block of the newest node in use `[n]`: the largest b such that an edge of block b is not `none`, else 0."""
    used = archs != _nothing(space)
    out = np.zeros(len(archs), dtype=np.int64)
    for number, decisions in enumerate(blocks(space)):
        out = np.where(used[:, decisions].any(axis=1), number, out)
    return out


def grow(space: Space, parents: Array, block: int) -> npt.NDArray[np.int8]:
    """Every cell `[m, D]` that differs from one of `parents[n, D]` in the edges of one block only."""

    def children() -> Iterator[Array]:
        decisions = blocks(space)[block]
        for options in product(*(range(int(space.counts[d])) for d in decisions)):
            cells = parents.astype(np.int8)
            cells[:, decisions] = options
            yield cells

    return np.concatenate(list(children()))
