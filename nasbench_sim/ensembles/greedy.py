"""Forward selection for many pools at once: what `selection.forward_select` does by NLL, thousands of times.

The NLL of an ensemble depends on the probability of the true class alone, so the table that all repetitions share is
`[N, I]` float32 (6,466 models x 2,000 images: 52 MB, against 517 MB with 10 classes). A repetition copies the rows of
its pool once (400: 3.2 MB, which stays in cache over the steps). The logarithm lies below its tangents: for any a > 0

    log(r + p)  <=  log a + (r + p) / a - 1,      r: sum of the chosen, p: a candidate, each on one image,

so that one matrix-vector product in float32 bounds what every candidate can reach. With a = r + the mean of the few
that looked best a step ago, most candidates are ruled out (of 400 made-up networks all but 2.3 on average). The rest
are scored in float32, and those within `MARGIN` of the best anew in float64, each alone. The choice is therefore that
of float64 arithmetic and does not depend on what else is in the batch.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from nasbench_sim.ensembles.metrics import TINY

Array = npt.NDArray[Any]
IntArray = npt.NDArray[np.int64]

#: of the sum over images of |log|: float32 errs by at most 2^-23 in a logarithm and, added in 8 lanes or more, by
#: I / 8 x 2^-24 in a sum (2,000 images: 1.5e-5); twice that and more, as two candidates are compared
MARGIN, IMAGES = 4e-5, 2000
_HEAD = 4  # candidates whose mean is where the tangents touch
_TOGETHER = 32  # candidates a block: 256 KB in float32 for 2,000 images, in the second-level cache


def margin(images: int) -> float:
    """`MARGIN` up to `IMAGES` images, in proportion above: a longer sum errs by more.

    >>> margin(500), margin(10_000)
    (4e-05, 0.0002)
    """
    return MARGIN * max(1.0, images / IMAGES)


class TruthTable(NamedTuple):
    """Probability of the true class, float32 `[N, I]`, at least 2^-126, and each model's own NLL, float64 `[N]`."""

    p: npt.NDArray[np.float32]
    alone: npt.NDArray[np.float64]


class Greedy(NamedTuple):
    """Members `[S, size]` in the order in which they were chosen, and the validation NLL after each, `[S, size]`."""

    members: IntArray
    scores: npt.NDArray[np.float64]


def truth_table(probabilities: Array, labels: IntArray) -> TruthTable:
    """The table of `probabilities[N, I, C]` and true classes `labels[I]`.

    >>> table = truth_table(np.array([[[0.5, 0.5]], [[0.25, 0.75]]], dtype=np.float32), np.array([1]))
    >>> table.p.tolist(), table.alone.round(4).tolist()
    ([[0.5], [0.75]], [0.6931, 0.2877])
    """
    p = probabilities[:, np.arange(len(labels)), labels].astype(np.float32, order="C")  # numpy indexes into [I, N]
    np.maximum(p, np.float32(TINY), out=p)
    nothing = np.zeros(p.shape[1])
    return TruthTable(p, np.array([_exact(nothing, row, 1) for row in p]))


def select_pools(table: TruthTable, pools: IntArray, size: int) -> Greedy:
    """ForwardSelect of `size` members from every pool `[S, P]` (rows of the table, each once a pool, size <= P).

    The first `k` members are those of an ensemble of `k`. Ties go to the first place in the pool. Cost: S x size x P x
    I multiplications (1,000 x 4 x 400 x 2,000: 3.2e9), logarithms for the few candidates that the bound leaves.

    >>> p = np.array([[0.9, 0.4], [0.8, 0.4], [0.2, 0.9]], dtype=np.float32)
    >>> table = TruthTable(p, -np.log(p).mean(axis=1))
    >>> select_pools(table, np.array([[0, 1, 2], [1, 2, 0]]), 2).members.tolist()
    [[0, 2], [0, 2]]
    """
    members = np.empty((len(pools), size), dtype=np.int64)
    scores = np.empty((len(pools), size))
    known: dict[bytes, int] = {}
    candidates = np.empty((pools.shape[1], table.p.shape[1]), dtype=np.float32)
    for s, pool in enumerate(np.ascontiguousarray(pools)):
        same = known.setdefault(pool.tobytes(), s)
        if same != s:  # a pool of all models is the same in every repetition
            members[s], scores[s] = members[same], scores[same]
            continue
        np.take(table.p, pool, axis=0, out=candidates, mode="clip")  # "raise" would copy twice
        _select(candidates, table.alone[pool], pool, members[s], scores[s])
    return Greedy(members, scores)


def _select(candidates: Array, alone: Array, pool: IntArray, members: Array, scores: Array) -> None:
    """One repetition: `candidates[P, I]`, their own NLL `[P]`; fills `members[size]` and `scores[size]`."""
    best = int(alone.argmin())
    running = np.zeros(candidates.shape[1])
    free = np.ones(len(pool), dtype=bool)
    guess = alone
    for m in range(len(members)):
        if m:
            guess, some = _promising(running.astype(np.float32), candidates, free, guess, m + 1)
            rough = guess[some]
            near = some[rough <= rough.min() + margin(len(running)) * (1 + 2 * np.log(m + 1) + rough.min())]
            exact = np.array([_exact(running, candidates[n], m + 1) for n in near])
            best, scores[m] = int(near[exact.argmin()]), exact.min()
        else:
            scores[0] = alone[best]
        running += candidates[best]
        free[best] = False
        members[m] = pool[best]


def _promising(running: Array, candidates: Array, free: Array, guess: Array, m: int) -> tuple[Array, IntArray]:
    """What candidates' ensembles of `m` reach, `[P]`: their NLL in float32 for those returned as places, ascending,
    a lower bound of it for the others, which cannot be the best. `guess`: NLLs of the last step, for a good start.
    """
    head = np.argsort(np.where(free, guess, np.inf), kind="stable")[: min(_HEAD, int(free.sum()))]
    at = running + candidates[head].mean(axis=0)
    slope = 1 / at
    known = _rough(running, candidates[head], m).min()
    with np.errstate(over="ignore"):  # an image that all of the head get wrong: no bound, every candidate is tried
        gained = (candidates @ slope + running @ slope).astype(np.float64) / len(at)
    bound = np.log(m) - (float(np.log(at).mean(dtype=np.float64)) - 1 + gained)
    slack = margin(len(at)) * (gained + 1 + 2 * np.log(m + 1) + known)
    some = np.nonzero(free & ~(bound > known + slack))[0]
    bound[some] = _rough(running, candidates[some], m)
    return bound, some


def _rough(running: Array, candidates: Array, m: int) -> Array:
    """NLL `[P]` of every candidate's ensemble of `m`, in float32."""
    out = np.empty(len(candidates), dtype=np.float32)
    ones = np.ones(len(running), dtype=np.float32)
    buffer = np.empty((min(_TOGETHER, len(candidates)), candidates.shape[1]), dtype=np.float32)
    for start in range(0, len(candidates), _TOGETHER):
        some = candidates[start : start + _TOGETHER]
        total = np.add(running, some, out=buffer[: len(some)])
        out[start : start + len(some)] = np.log(total, out=total) @ ones
    return np.asarray(np.log(m) - out.astype(np.float64) / len(running))


def _exact(running: Array, candidate: Array, m: int) -> float:
    """NLL of one candidate's ensemble of `m` in float64; the same numbers wherever it stands."""
    return float(np.log(m) - np.log(running + candidate).mean())
