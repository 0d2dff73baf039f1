"""Random variables built from the counter-based streams: categorical picks and Dirichlet draws with a path."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import gammaincinv

from nasbench_sim.searchers.base import over_options
from nasbench_sim.streams import Streams

Array = npt.NDArray[Any]

_ROUNDS = 2  # proposals a gamma draw; each is accepted with p > 0.95 (0.98 at shape 2), the rest use the inverse
_BOOST = 1  # draws are made at shape a + 1, where the neglected acceptance term of the path is small


def pick(uniform: Array, theta: Array) -> npt.NDArray[np.int64]:
    """Options `[S, M, D]` by inverting the cumulative sums of `theta[S, D, K]` at `uniform[S, M, D]`.

    >>> pick(np.array([[[0.1], [0.7]]]), np.array([[[0.5, 0.5]]])).tolist()
    [[[0], [1]]]
    """
    out = np.zeros(uniform.shape, dtype=np.int8)  # options are few; small integers add fast
    running = np.zeros(theta.shape[:-1], dtype=theta.dtype)
    last = np.zeros(theta.shape[:-1], dtype=np.int64)
    for k in range(theta.shape[-1]):
        last = np.where(theta[..., k] > 0, k, last)
    for k in range(theta.shape[-1] - 1):
        running = running + theta[..., k]
        out += uniform >= running[:, None]
    # rounding can leave the cumulative sum below 1: never land on an option of probability 0 past the last active
    return np.minimum(out.astype(np.int64), last[:, None])


def _accepts(x: Array, uniform: Array, d: Array, slope: Array) -> Array:
    """Marsaglia & Tsang's acceptance of the proposal d (1 + slope x)^3."""
    v = (1 + slope * x) ** 3
    positive = np.maximum(v, np.finfo(np.float64).tiny)
    bound = 0.5 * x * x + d - d * v + d * np.log(positive)
    return np.asarray((v > 0) & (np.log(uniform) < bound))


def dirichlet_path(
    streams: Streams, purpose: str, step: int, concentration: Array, mask: Array | None
) -> tuple[Array, Array]:
    """A draw theta `[S, D, K]` ~ Dirichlet(c) and path `[S, D, K]` = d log z / dc of its gamma variables.

    theta = z / sum z, z_k ~ Gamma(c_k, 1). z is Marsaglia-Tsang at shape c + 1 times u^(1/c) (shape
    augmentation); d theta_k / d c_j = (delta_kj - theta_k) theta_j path_j. Options that are masked out
    have theta 0 and path 0. Computed in float64 and returned in the type of `concentration`.

    Source: Marsaglia & Tsang 2000; Naesseth et al., Reparameterization gradients through acceptance-rejection
    sampling, AISTATS 2017.
    """
    c = concentration.astype(np.float64)
    shape = (2 * _ROUNDS + _BOOST + 1, *c.shape[1:])
    uniform = streams.uniform(purpose, step, shape).astype(np.float64)
    uniform = np.maximum(uniform, 2.0**-25)  # float32 uniforms contain 0; half of their spacing is a fair stand-in
    normal = streams.normal(purpose, step, (_ROUNDS, *c.shape[1:])).astype(np.float64)
    d = c + (_BOOST - 1 / 3)
    slope = 1 / np.sqrt(9 * d)
    x = normal[:, 0].copy()
    # the squeeze of Marsaglia & Tsang accepts 92 % without a logarithm; the rest is looked at entry by entry
    square = x * x
    left = np.nonzero(uniform[:, 0] >= 1 - 0.0331 * square * square)
    for r in range(_ROUNDS):
        x[left] = normal[:, r][left]
        refused = ~_accepts(x[left], uniform[:, r][left], d[left], slope[left])
        left = tuple(i[refused] for i in left)
    root = 1 + slope * x
    base = d * root * root * root
    if len(left[0]):  # the exact inverse, at the few entries that need it
        base[left] = gammaincinv(c[left] + _BOOST, uniform[:, _ROUNDS][left])
        root[left] = np.cbrt(base[left] / d[left])
        x[left] = (root[left] - 1) / slope[left]
    # d base / dc at fixed x: base = d (1 + s x)^3 with ds/dd = -s / (2 d)
    path = (1 - 1.5 * slope * x / root) / d
    log_z = np.log(base)
    for i in range(_BOOST):
        share = np.log(uniform[:, _ROUNDS + 1 + i]) / (c + i)
        log_z += share
        path -= share / (c + i)
    if mask is not None:
        log_z, path = np.where(mask, log_z, -np.inf), np.where(mask, path, 0.0)
    z = np.exp(log_z - log_z.max(axis=-1, keepdims=True))
    theta = z / over_options(z)
    return theta.astype(concentration.dtype), path.astype(concentration.dtype)
