"""Cells by the batch: drawing, mutating, neighbours, and whether a cell was seen; everything row by row."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from nasbench_sim.spaces import Space

Array = npt.NDArray[Any]


def draw(space: Space, uniform: Array) -> npt.NDArray[np.int8]:
    """Uniform cells `[..., D]` from uniform numbers on [0, 1) `[..., D]`.

    >>> from nasbench_sim.spaces import get_space
    >>> draw(get_space("nb201"), np.array([0.0, 0.19, 0.2, 0.5, 0.79, 0.999])).tolist()
    [0, 0, 1, 2, 3, 4]
    """
    return (uniform.astype(np.float64) * space.counts).astype(np.int8)


@lru_cache(maxsize=8)
def _moves(counts: tuple[int, ...]) -> tuple[Array, Array]:
    """Decision `[M]` and shift `[M]` of every move to a neighbour: option -> (option + shift) mod K_d."""
    pairs = [(d, shift) for d, k in enumerate(counts) for shift in range(1, k)]
    return np.array([d for d, _ in pairs]), np.array([s for _, s in pairs])


def neighbours(space: Space, archs: Array) -> npt.NDArray[np.int8]:
    """The M cells `[S, M, D]` that differ from `archs[S, D]` in exactly one decision (M = 24 in nb201).

    >>> from nasbench_sim.spaces import get_space
    >>> near = neighbours(get_space("nb201"), np.array([[3, 3, 3, 1, 3, 3]]))
    >>> near.shape, near[0, 0].tolist()
    ((1, 24, 6), [4, 3, 3, 1, 3, 3])
    """
    where, shift = _moves(tuple(space.counts.tolist()))
    out = np.repeat(archs.astype(np.int8)[:, None], len(where), axis=1)
    each = np.arange(len(where))
    out[:, each, where] = (out[:, each, where] + shift) % space.counts[where]
    return out


def mutate(archs: Array, space: Space, uniform: Array, weights: Array | None = None) -> npt.NDArray[np.int8]:
    """`archs[S, D]` with one decision changed to another of its options; `uniform[S, 2]` picks decision and option.

    `weights` `[D]`: probability of each decision, uniform where None.
    """
    u = uniform.astype(np.float64)
    if weights is None:
        where = (u[:, 0] * space.D).astype(np.int64)
    else:
        where = (u[:, :1] >= np.cumsum(weights)[:-1]).sum(axis=1)
    each = np.arange(len(archs))
    counts = space.counts[where]
    shift = 1 + (u[:, 1] * (counts - 1)).astype(np.int64)
    out = archs.astype(np.int8)
    out[each, where] = (out[each, where] + shift) % counts
    return out


def codes(space: Space, archs: Array) -> npt.NDArray[np.int64]:
    """Mixed-radix code `[...]` of legal cells `[..., D]`, unchecked; the sum runs over the decisions in their order."""
    out = archs[..., 0].astype(np.int64) * space.radix[0]
    for d in range(1, space.D):
        out = out + archs[..., d].astype(np.int64) * space.radix[d]
    return np.asarray(out)


def known(wanted: Array, seen: Array) -> npt.NDArray[np.bool_]:
    """bool `[S, M]`: which of the codes `wanted[S, M]` are among `seen[S, n]` of the same row."""
    return np.asarray((wanted[:, :, None] == seen[:, None, :]).any(axis=2))


def one_hot(space: Space, archs: Array) -> npt.NDArray[np.float64]:
    """Indicators `[n, D * K]` of the options of `archs[n, D]`: two cells are sqrt(2 x differing decisions) apart.

    >>> from nasbench_sim.spaces import get_space
    >>> a, b = one_hot(get_space("nb201"), np.array([[3, 3, 3, 1, 3, 3], [3, 3, 3, 1, 3, 2]]))
    >>> float(((a - b) ** 2).sum())
    2.0
    """
    return np.asarray(np.eye(space.K)[archs].reshape(len(archs), -1))
