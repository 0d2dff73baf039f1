"""Choosing members by their predictions on the validation split: ForwardSelect, and NES-RS on top of it.

Source: Zaidi et al., Neural ensemble search for uncertainty estimation and dataset shift, NeurIPS 2021, Algorithms 1-2;
automl/nes `beam_search` of width 1. Selecting on predictions of the test split is refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import numpy.typing as npt

from nasbench_sim.ensembles.greedy import select_pools, truth_table
from nasbench_sim.ensembles.metrics import TINY
from nasbench_sim.ensembles.predictions import Predictions
from nasbench_sim.errors import SpecError, unknown
from nasbench_sim.streams import Streams

Array = npt.NDArray[Any]
IntArray = npt.NDArray[np.int64]
Metric = Literal["nll", "accuracy"]

_TOGETHER = 32  # candidates a block: 2.5 MB in float64 for 10,000 samples
_SEEDS = 256  # pools drawn together: 26 MB of numbers for 6,466 models


class Selection(NamedTuple):
    """Members in the order in which they were chosen, int64 `[size]` rows of the predictions, and the ensemble's
    validation score after each, float64 `[size]` (nats for `nll`, percent for `accuracy`)."""

    members: IntArray
    scores: npt.NDArray[np.float64]


def forward_select(
    predictions: Predictions,
    size: int,
    *,
    metric: Metric = "nll",
    replacement: bool = False,
    pool: Sequence[int] | IntArray | None = None,
) -> Selection:
    """Greedy ensemble of `size` models: start at the best one, then add whichever improves the average most.

    At step m the candidate n of the pool minimises the NLL of (sum of the chosen + p_n) / m; the sum is kept, so a step
    costs one addition a candidate and sample, and is exact: the same additions in the same order as averaging anew.
    The likelihood needs the probability of the true class only. With a pool of N, `I` samples and `C` classes:

    - `nll`: size x N x I additions and logarithms, whatever C is (size 30 of 400 x 10,000: 1.2e8);
    - `accuracy`: size x N x I x C additions and comparisons; ties, which are many, go to the lower NLL.

    Further ties go to the lowest row. `replacement`: a model may be chosen again, which weighs it (Caruana et al.,
    ICML 2004); ForwardSelect is without. `pool`: rows to choose from, default all. Raises `SpecError`.

    >>> p = Predictions([[[0.9, 0.1], [0.6, 0.4]], [[0.8, 0.2], [0.6, 0.4]], [[0.2, 0.8], [0.1, 0.9]]], [0, 1],
    ...                 [0, 1, 2], "nb201", "cifar10", "valid", [-1, -1, -1], "toy")
    >>> forward_select(p, 2).members.tolist()  # the two best alone are 0 and 1
    [0, 2]
    """
    check_selectable(predictions, metric)
    rows = np.arange(len(predictions)) if pool is None else _pool(pool, len(predictions))
    if size < 1 or (not replacement and size > len(rows)):
        raise SpecError(f"size {size} of an ensemble from {len(rows)} models: choose 1..{len(rows)}, or more models")
    truth = predictions.truth[rows]
    right = _Hits(predictions, rows) if metric == "accuracy" else None
    running = np.zeros(truth.shape[1])
    free = np.ones(len(rows), dtype=bool)
    chosen, scores = [], []
    for m in range(1, size + 1):
        losses = _losses(running, truth, m)
        if right is None:
            best = int(np.where(free, losses, np.inf).argmin())
            scores.append(losses[best])
        else:
            hits = np.where(free, right.count(), -1)
            best = int(np.lexsort((losses, -hits))[0])
            scores.append(100 * hits[best] / truth.shape[1])
            right.add(best)
        running += truth[best]
        free[best] = replacement
        chosen.append(rows[best])
    return Selection(np.array(chosen, dtype=np.int64), np.array(scores, dtype=np.float64))


def _losses(running: Array, truth: Array, m: int) -> npt.NDArray[np.float64]:
    """NLL `[P]` in nats of every candidate's ensemble of m: running `[I]` + truth `[P, I]`."""
    out = np.empty(len(truth))
    buffer = np.empty((min(_TOGETHER, len(truth)), truth.shape[1]))
    for start in range(0, len(truth), _TOGETHER):
        some = truth[start : start + _TOGETHER]
        total = np.add(running, some, out=buffer[: len(some)])
        np.log(np.maximum(total, m * TINY, out=total), out=total)
        out[start : start + len(some)] = np.log(m) - total.mean(axis=1)
    return out


class _Hits:
    """How many samples each candidate's ensemble would get right; the running sum has all classes, `[I, C]`."""

    def __init__(self, predictions: Predictions, rows: IntArray) -> None:
        self._all, self._rows, self._labels = predictions.probabilities, rows, predictions.labels
        self._running = np.zeros(predictions.probabilities.shape[1:])

    def count(self) -> IntArray:
        """Right samples `[P]` with each candidate added."""
        total = np.empty_like(self._running)
        out = np.empty(len(self._rows), dtype=np.int64)
        for n, row in enumerate(self._rows):
            np.add(self._running, self._all[row], out=total)
            out[n] = np.count_nonzero(total.argmax(axis=1) == self._labels)
        return out

    def add(self, best: int) -> None:
        """The candidate at this place of the pool joins."""
        self._running += self._all[self._rows[best]]


@dataclass(frozen=True)
class RandomPool:
    """NES-RS: a pool of `pool` models drawn without replacement (None: all there are), then ForwardSelect of `size`.

    Drawing a pool from models that are there stands for training `pool` random architectures; the spread over seeds
    is that of which models were trained. With the whole file as the pool all seeds select the same members.
    """

    size: int = 3
    pool: int | None = None
    metric: Metric = "nll"

    def __post_init__(self) -> None:
        if self.size < 1:
            raise SpecError(f"size is at least 1, got {self.size}")
        if self.pool is not None and self.pool < self.size:
            raise SpecError(f"a pool of {self.pool} models has no ensemble of {self.size}; raise pool or lower size")

    def select(self, predictions: Predictions, seeds: Sequence[int] | IntArray, theta: Array | None = None) -> IntArray:
        """Members `[S, size]`, rows of `predictions`, in the order in which they were chosen.

        `theta` has no place here and is refused: NES-RS draws architectures uniformly.
        """
        if theta is not None:
            raise SpecError("nes-rs draws its pool uniformly and takes no theta; use nes-bs for a distribution")
        check_selectable(predictions, self.metric)
        n = len(predictions)
        k = n if self.pool is None else self.pool
        if max(k, self.size) > n:
            raise SpecError(f"{n} models are fewer than the {max(k, self.size)} asked for; lower pool or size")
        pools = np.sort(draw_pools(seeds, n, k), axis=1)
        if self.metric == "nll":
            table = truth_table(predictions.probabilities, predictions.labels)
            return select_pools(table, pools, self.size).members
        found: dict[bytes, IntArray] = {}
        for pool in pools:  # seeds with the same pool have the same members
            if pool.tobytes() not in found:
                found[pool.tobytes()] = forward_select(predictions, self.size, metric=self.metric, pool=pool).members
        return np.stack([found[pool.tobytes()] for pool in pools])


def draw_pools(seeds: Sequence[int] | IntArray, n: int, k: int) -> IntArray:
    """For every seed `k` of `n` models without replacement, `[S, k]`, in the order in which they are drawn.

    >>> draw_pools([4], 6, 3).tolist() == draw_pools([3, 4], 6, 6)[1:, :3].tolist()
    True
    """
    listed = streams_of(seeds).seeds
    out = np.empty((len(listed), k), dtype=np.int64)
    for start in range(0, len(listed), _SEEDS):
        draws = Streams(listed[start : start + _SEEDS]).uniform("nes-rs pool", 0, (2, n)).astype(np.float64)
        keys = draws[:, 0] + draws[:, 1] * 2.0**-24  # 48 bits: ties among thousands of models would favour low rows
        out[start : start + _SEEDS] = np.argsort(keys, axis=1, kind="stable")[:, :k]
    return out


def nes_rs(
    predictions: Predictions,
    seeds: Sequence[int] | IntArray,
    *,
    size: int = 3,
    pool: int | None = None,
    metric: Metric = "nll",
) -> IntArray:
    """NES-RS for every seed: members `[S, size]`; see `RandomPool`. Raises `SpecError`.

    >>> p = Predictions([[[0.9, 0.1]], [[0.7, 0.3]], [[0.2, 0.8]]], [0], [5, 6, 7], "nb201", "cifar10", "valid",
    ...                 [-1, -1, -1], "toy")
    >>> nes_rs(p, range(2), size=2).tolist()
    [[0, 1], [0, 1]]
    """
    return RandomPool(size, pool, metric).select(predictions, seeds)


def check_selectable(predictions: Predictions, metric: str) -> None:
    """Raise `SpecError` where members must not be selected on these predictions, or not by this metric."""
    if metric not in get_args(Metric):
        raise SpecError(unknown("metric", metric, get_args(Metric)))
    if predictions.split != "valid":
        raise SpecError(
            f"members are selected on validation predictions, these are of the {predictions.split} split; "
            "give the file of the valid split, and this one for the report"
        )


def streams_of(seeds: Sequence[int] | IntArray) -> Streams:
    """The noise of these seeds; raises `SpecError` for none or a negative one."""
    listed = [int(s) for s in seeds]
    if not listed or min(listed) < 0:
        raise SpecError("seeds are integers >= 0, at least one")
    return Streams(listed)


def _pool(pool: Sequence[int] | IntArray, n: int) -> IntArray:
    rows = np.asarray(pool)
    if rows.ndim != 1 or not len(rows) or rows.dtype.kind not in "iu" or rows.min() < 0 or rows.max() >= n:
        raise SpecError(f"a pool is a list of rows 0..{n - 1} of the predictions")
    if len(np.unique(rows)) != len(rows):
        raise SpecError("a pool lists a row twice")
    return rows.astype(np.int64)
