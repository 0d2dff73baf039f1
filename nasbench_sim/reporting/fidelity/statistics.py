"""The numbers of a comparison of two sets of searches, each a closed form, and their errors by seeded resampling.

Every estimate carries two yardsticks. `low`, `high`: a 95 % percentile bootstrap over the seeds of both sides (1,000
resamples). `perfect`: what a perfect simulator would reach in 95 % of cases, given that only N supernets were recorded:
the same statistic between N of the simulated searches and all of them. Three recordings are few: a distance at or
below `perfect` is as good as these recordings can show.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
#: of values `[S, ...]` and `[N, ...]` at weights `[R, S]` and `[R, N]` (or one row for all) -> `[R]`
Statistic = Callable[[Array, Array, Array, Array], Array]
REPEATS = 1000


class Estimate(NamedTuple):
    """A statistic, its 95 % interval, and its 95 % bound under a perfect simulator; NaN where undefined."""

    value: float
    low: float
    high: float
    perfect: float


def rng(purpose: str) -> np.random.Generator:
    """Draws that depend on the purpose alone: equal inputs give equal intervals.

    >>> bool(rng("a").integers(9) == rng("a").integers(9))
    True
    """
    return np.random.Generator(np.random.Philox(key=int.from_bytes(hashlib.sha256(purpose.encode()).digest()[:16])))


def estimate(statistic: Statistic, simulated: Array, recorded: Array, purpose: str, higher: bool = False) -> Estimate:
    """`statistic` of `simulated[S, ...]` and `recorded[N, ...]` with its yardsticks; `higher`: more is better.

    >>> found = estimate(wasserstein, np.arange(9.0), np.array([4.0, 4.0]), "doctest")
    >>> round(found.value, 3), found.low < found.value < found.high, found.perfect > 0
    (2.222, True, True)
    """
    s, n = len(simulated), len(recorded)
    if not s or not n:
        return Estimate(math.nan, math.nan, math.nan, math.nan)
    draws, ideal = _draws(statistic, simulated, recorded, rng(purpose))
    low, high = _percentiles(draws, (2.5, 97.5))
    (perfect,) = _percentiles(ideal, (5.0 if higher else 95.0,))
    return Estimate(once(statistic, simulated, recorded), low, high, perfect)


def _draws(statistic: Statistic, simulated: Array, recorded: Array, random: np.random.Generator) -> tuple[Array, Array]:
    """The statistic of resampled seeds, and of as many simulated searches as were recorded; `[R]` each."""
    s, n = len(simulated), len(recorded)
    draws = statistic(simulated, recorded, resampled(random, s, s), resampled(random, n, n))
    return draws, statistic(simulated, simulated, even(s), resampled(random, s, n))


def pooled(statistic: Statistic, pairs: Sequence[tuple[Array, Array]], purpose: str) -> Estimate:
    """Root mean square of a distance over methods, `pairs` of (simulated, recorded), with the same yardsticks.

    >>> pairs = [(np.zeros(3), np.full(2, 3.0)), (np.zeros(3), np.full(2, 4.0))]
    >>> round(pooled(wasserstein, pairs, "doctest").value, 4)
    3.5355
    >>> pooled(wasserstein, [], "doctest").value
    nan
    """
    known = [pair for pair in pairs if len(pair[0]) and len(pair[1])]
    if not known:
        return Estimate(math.nan, math.nan, math.nan, math.nan)
    random = rng(purpose)
    draws, ideal = (
        np.sqrt(np.mean(np.square(found), axis=0))
        for found in zip(*(_draws(statistic, *pair, random) for pair in known), strict=True)
    )
    value = math.sqrt(sum(once(statistic, *pair) ** 2 for pair in known) / len(known))
    return Estimate(value, *_percentiles(draws, (2.5, 97.5)), *_percentiles(ideal, (95.0,)))


def once(statistic: Statistic, a: Array, b: Array) -> float:
    """`statistic` of `a[S, ...]` and `b[N, ...]`, every seed counted once.

    >>> once(wasserstein, np.array([90.0, 92.0]), np.array([91.0, 95.0]))
    2.0
    """
    return float(statistic(a, b, even(len(a)), even(len(b)))[0])


def even(n: int) -> Array:
    """Equal weights `[1, n]`."""
    return np.full((1, n), 1 / n)


def resampled(random: np.random.Generator, n: int, size: int) -> Array:
    """Weights `[REPEATS, n]` of `size` draws with replacement from n."""
    return np.asarray(random.multinomial(size, np.full(n, 1 / n), size=REPEATS) / size)


def _percentiles(values: Array, at: tuple[float, ...]) -> list[float]:
    known = values[~np.isnan(values)]
    return [float(np.percentile(known, q)) if len(known) else math.nan for q in at]


def wasserstein(a: Array, b: Array, wa: Array, wb: Array) -> Array:
    """Area between the distribution functions of `a[S]` and `b[N]` at weights `wa[R, S]`, `wb[R, N]`; `[R]`.

    In the unit of the values: the mean way that mass has to go. As `scipy.stats.wasserstein_distance` (tested), for all
    resamples at once.
    """
    at = np.concatenate([a, b])
    order = np.argsort(at, kind="stable")
    r = max(len(wa), len(wb))
    weights = np.concatenate([np.broadcast_to(wa, (r, len(a))), -np.broadcast_to(wb, (r, len(b)))], axis=1)
    gap = np.abs(np.cumsum(weights[:, order], axis=1)[:, :-1])
    return np.asarray(gap @ np.diff(at[order]))


def rmse_of_means(a: Array, b: Array, wa: Array, wb: Array) -> Array:
    """Root mean square over epochs of the difference of the weighted means of `a[S, E]` and `b[N, E]`; `[R]`.

    >>> once(rmse_of_means, np.array([[0.0, 1.0]]), np.array([[0.0, 0.0], [0.0, 0.0]])).__round__(4)
    0.7071
    """
    gap = wa @ a - wb @ b
    return np.asarray(np.sqrt((gap * gap).mean(axis=1)))


def one_hot(archs: Array, options: int) -> Array:
    """Cells `archs[N, D]` as `[N, D * options]` of 0 and 1."""
    return np.asarray((archs[:, :, None] == np.arange(options)).reshape(len(archs), -1).astype(np.float64))


def agreement(a: Array, b: Array, wa: Array, wb: Array) -> Array:
    """Share of decisions in which a search of `a[S, D]` and one of `b[N, D]` agree, on average over the pairs; `[R]`.

    >>> once(agreement, np.array([[0, 1], [0, 2]]), np.array([[0, 1]]))
    0.75
    """
    options, d = int(max(a.max(), b.max())) + 1, a.shape[1]
    return np.asarray(((wa @ one_hot(a, options)) * (wb @ one_hot(b, options))).sum(axis=1) / d)


def shares(archs: Array, options: int) -> Array:
    """How often each option was chosen, `[D, K]` of cells `archs[N, D]`."""
    return np.asarray(one_hot(archs, options).mean(axis=0).reshape(archs.shape[1], options))


def agreement_of_mode(a: Array, b: Array) -> float:
    """Share of decisions of `b[N, D]` that are the most frequent one of `a[S, D]` (the first of several).

    >>> agreement_of_mode(np.array([[0, 1], [0, 2], [1, 2]]), np.array([[0, 1]]))
    0.5
    """
    mode = shares(a, int(a.max()) + 1).argmax(axis=1)
    return float((b == mode).mean())


def chance_agreement(a: Array, b: Array) -> float:
    """What `agreement` would be if either side had its options in the shares it has, but on any decision.

    >>> chance_agreement(np.array([[0, 1]]), np.array([[1, 0]]))
    0.5
    """
    options = int(max(a.max(), b.max())) + 1
    return float((shares(a, options).mean(axis=0) * shares(b, options).mean(axis=0)).sum())


def agreement_within(a: Array) -> float:
    """`agreement` of two different searches of `a[N, D]`; NaN of a single one.

    >>> agreement_within(np.array([[0, 1], [0, 2]]))
    0.5
    """
    n = len(a)
    if n < 2:
        return math.nan
    same = (a[:, None] == a[None]).mean(axis=2)
    return float((same.sum() - n) / (n * (n - 1)))


def collapse_epochs(free: Array) -> list[int | None]:
    """First epoch (from 1) from which on at least 5 of 6 derived operations have no parameters, a seed; None: never.

    `free` bool `[N, E, D]`; of D decisions ceil(5 D / 6).

    >>> none, all_free = [False] * 6, [True] * 6
    >>> collapse_epochs(np.array([[none, all_free, none, all_free, [True] * 5 + [False]], [all_free] * 4 + [none]]))
    [4, None]
    """
    enough = free.sum(axis=2) >= math.ceil(5 * free.shape[2] / 6)
    since = np.logical_and.accumulate(enough[:, ::-1], axis=1).sum(axis=1)
    return [None if not n else int(free.shape[1] - n + 1) for n in since.tolist()]


def kendall(a: Array, b: Array) -> Array:
    """Kendall's tau-b of each row of `a[R, M]` and `b[R, M]`, NaN where a row is constant; `[R]`.

    >>> kendall(np.array([[1.0, 2.0, 3.0]]), np.array([[1.0, 3.0, 2.0]])).round(3)
    array([0.333])
    """
    i, j = np.triu_indices(a.shape[1], 1)
    up, over = np.sign(a[:, i] - a[:, j]), np.sign(b[:, i] - b[:, j])
    size = np.sqrt((np.abs(up).sum(axis=1) * np.abs(over).sum(axis=1)).astype(np.float64))
    tau: Array = np.divide((up * over).sum(axis=1), size, out=np.full(len(size), np.nan), where=size > 0)
    return tau


def ranking(simulated: Sequence[Array], recorded: Sequence[Array], purpose: str) -> Estimate:
    """Kendall's tau of the methods' means, `simulated[m][S]` against `recorded[m][N]`; `perfect` is a lower bound here.

    >>> ranking([np.array([1.0]), np.array([2.0])], [np.array([5.0]), np.array([6.0])], "doctest").value
    1.0
    """
    random = rng(purpose)

    def means(groups: Sequence[Array], like: Sequence[Array]) -> Array:
        pairs = zip(groups, like, strict=True)
        return np.stack([resampled(random, len(g), len(size)) @ g for g, size in pairs], axis=1)

    plain = [np.array([[g.mean() for g in groups]]) for groups in (simulated, recorded)]
    draws = kendall(means(simulated, simulated), means(recorded, recorded))
    ideal = kendall(np.repeat(plain[0], REPEATS, axis=0), means(simulated, recorded))
    low, high = _percentiles(draws, (2.5, 97.5))
    (perfect,) = _percentiles(ideal, (5.0,))
    return Estimate(float(kendall(*plain)[0]), low, high, perfect)
