"""SVGD with regularised diversity (SVGD-RD) on the relaxed architecture posterior, with closed-form gradients.

NES-BS (Shu et al., Neural ensemble search via Bayesian sampling, UAI 2022) samples the n members together as particles
of q* = argmin_q KL(q || p) + n delta E_{x, x' ~ q}[k(x, x')]. A particle is x `[D, K]`, one real number an option.

Relaxed posterior: each decision d is a mixture of Gaussians at the one-hot vectors e_k,

    p(x) = prod_d sum_k theta_dk N(x_d; e_k, width^2 I),
    grad_d log p(x) = (r_d - x_d) / width^2,     r_d = softmax_k(log theta_dk + x_dk / width^2),

because |x_d - e_k|^2 = |x_d|^2 - 2 x_dk + 1. The steepest descent of the objective in the kernel's space moves x_i by

    phi(x_i) = 1/n sum_j { k_ij [grad log p(x_j) - 2 delta sum_l grad_j k_jl] + grad_j k_ji },   grad_j k_jl the
    gradient in x_j of k(x_j, x_l) = exp(-|x_j - x_l|^2 / 2h^2), i.e. -(x_j - x_l) k_jl / h^2:

the first term and the last are SVGD (Liu & Wang, NeurIPS 2016, eq. 8), the middle one is the first variation of
n delta E[k] (delta > 0 pushes particles apart, delta < 0 pulls them together, 0 is SVGD).

Arrays are `[n, D, K, B]`: B independent sets last, so that every sum runs over leading axes in a fixed order.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from nasbench_sim.errors import SpecError

Array = npt.NDArray[Any]

BLOCK = 64  # sets a block: 3 particles of 30 numbers are 46 KB, in the second-level cache
_LANES = 16  # blocks are whole vector registers: in a scalar tail the last bit of exp may differ


def log_posterior_gradient(x: Array, log_theta: Array, width: float) -> Array:
    """grad log p(x), `[n, D, K, B]`, for `log_theta[D, K, B]` (-inf: an option without probability).

    >>> x = np.array([1.0, 0.0]).reshape(1, 1, 2, 1)
    >>> log_posterior_gradient(x, np.log([[0.5], [0.5]])[None], 0.1).ravel().round(6).tolist()  # at a mode
    [0.0, 0.0]
    """
    logits = log_theta + x / width**2
    top = logits[:, :, 0]
    for k in range(1, logits.shape[2]):
        top = np.maximum(top, logits[:, :, k])
    weight = np.exp(logits - top[:, :, None])
    total = weight[:, :, 0].copy()
    for k in range(1, weight.shape[2]):
        total += weight[:, :, k]
    return np.asarray((weight / total[:, :, None] - x) / width**2)


def direction(x: Array, gradient: Array, delta: float, lengthscale: float | None) -> Array:
    """phi `[n, D, K, B]` for particles x with `gradient` = grad log p(x); `lengthscale` h, None: median heuristic.

    The heuristic is 2 h^2 = median over pairs of |x_i - x_j|^2 / log n (Liu & Wang, section 5), taken anew each step.
    Cost: n (n - 1) / 2 distances of D K numbers a set, and n^2 D K multiplications.
    """
    n = len(x)
    if n == 1:
        return gradient
    first, second = np.triu_indices(n, 1)
    flat = x.reshape(n, -1, x.shape[-1])
    apart = flat[first] - flat[second]  # [P, DK, B]
    square = apart[:, 0] * apart[:, 0]
    for c in range(1, apart.shape[1]):
        square += apart[:, c] * apart[:, c]
    two_h2 = _median(square) / np.log(n) if lengthscale is None else np.full(square.shape[1], 2 * lengthscale**2)
    two_h2 = np.where(two_h2 > 0, two_h2, 1.0)  # identical particles: there is no force between them at any scale
    kernel = np.ones((n, n, square.shape[1]))
    kernel[first, second] = kernel[second, first] = np.exp(-square / two_h2)
    slope = kernel * (2 / two_h2)  # -grad_i k_ij = (x_i - x_j) slope_ij
    spread = np.zeros_like(flat)  # -sum_l grad_j k_jl: the way away from the others
    for j in range(n):
        spread += (flat - flat[j]) * slope[:, j, None]
    force = gradient.reshape(flat.shape) + (2 * delta) * spread
    phi = spread.copy()  # sum_j grad_j k_ji = -sum_j grad_i k_ij
    for j in range(n):
        phi += kernel[:, j, None] * force[j]
    return np.asarray((phi / n).reshape(x.shape))


def _median(x: Array) -> Array:
    """Median over axis 0; sorting and one addition, the same for every column."""
    ordered = np.sort(x, axis=0)
    return np.asarray((ordered[(len(x) - 1) // 2] + ordered[len(x) // 2]) / 2)


def svgd_rd(
    start: Array,
    theta: Array,
    *,
    delta: float = 0.0,
    width: float = 0.5,
    lengthscale: float | None = None,
    steps: int = 500,
    step_size: float = 0.05,
) -> npt.NDArray[np.float64]:
    """Particles `[B, n, D, K]` after `steps` moves x <- x + step_size phi(x) from `start[B, n, D, K]`.

    `theta[B, D, K]`: the posterior of each set; set b alone gives the bits of row b of a batch. Raises `SpecError`
    where the moves do not stay finite: with step_size > 2 width^2 even one particle swings further out each step.

    >>> start = np.zeros((1, 1, 1, 2))
    >>> svgd_rd(start, np.array([[[0.9, 0.1]]])).round(2).tolist()  # one particle climbs to the nearest mode
    [[[[1.0, 0.0]]]]
    """
    sets = len(start)
    out = np.empty(start.shape, dtype=np.float64)
    with np.errstate(divide="ignore"):
        logs = np.log(theta.astype(np.float64))
    for begin in range(0, sets, BLOCK):
        count = min(BLOCK, sets - begin)
        padded = -(-count // _LANES) * _LANES
        index = np.minimum(np.arange(begin, begin + padded), begin + count - 1)  # the last set fills the block
        x = np.ascontiguousarray(np.moveaxis(start[index].astype(np.float64), 0, -1))
        log_theta = np.ascontiguousarray(np.moveaxis(logs[index], 0, -1))
        with np.errstate(over="ignore", invalid="ignore"):
            for _ in range(steps):
                x = x + step_size * direction(x, log_posterior_gradient(x, log_theta, width), delta, lengthscale)
        if not np.isfinite(x).all():
            raise SpecError(f"SVGD left the finite numbers at step_size {step_size}, delta {delta}; lower one of them")
        out[begin : begin + count] = np.moveaxis(x, -1, 0)[:count]
    return out
