"""From architecture parameters to the simplex: theta = link(alpha), its pull-back and its second derivatives.

A link works a decision at a time on the last axis; pruned options (mask False) have theta 0 and gradient 0.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from nasbench_sim.searchers.base import over_options

Array = npt.NDArray[Any]


class Link(Protocol):
    """theta = link(alpha) on `[..., D, K]`."""

    def forward(self, alpha: Array, mask: Array | None) -> Array:
        """theta `[..., D, K]`, each row on the simplex."""

    def pullback(self, alpha: Array, theta: Array, grad: Array) -> Array:
        """dL/dalpha given `theta = forward(alpha)` and `grad` = dL/dtheta."""

    def jets(self, alpha: Array, mask: Array | None) -> tuple[Array, Array, Array]:
        """theta `[S, D, K]`, Jacobian `[S, D, k, i]` and second derivatives `[S, D, k, i, j]`, float64."""


class Softmax:
    """theta_k = exp(alpha_k) / sum_j exp(alpha_j): the continuous relaxation of DARTS (Liu et al. 2019, eq. 2).

    >>> Softmax().forward(np.zeros((1, 2, 4)), None)[0, 0].tolist()
    [0.25, 0.25, 0.25, 0.25]
    """

    def forward(self, alpha: Array, mask: Array | None) -> Array:
        """Softmax over the active options, shifted by the row maximum so that no exponent overflows."""
        x = alpha if mask is None else np.where(mask, alpha, alpha.dtype.type(-np.inf))
        top = x[..., 0]
        for k in range(1, x.shape[-1]):
            top = np.maximum(top, x[..., k])
        e = np.exp(x - top[..., None])
        return np.asarray(e / over_options(e))

    def pullback(self, alpha: Array, theta: Array, grad: Array) -> Array:
        """theta * (grad - <theta, grad>)."""
        return np.asarray(theta * (grad - over_options(theta * grad)))

    def jets(self, alpha: Array, mask: Array | None) -> tuple[Array, Array, Array]:
        """d theta_k/d alpha_i = theta_k (delta_ki - theta_i), and its derivative."""
        theta = self.forward(alpha.astype(np.float64), mask)
        eye = np.eye(theta.shape[-1])
        first = theta[..., :, None] * (eye - theta[..., None, :])
        dev = eye - theta[..., None, :]  # [..., k, i]
        second = theta[..., :, None, None] * (dev[..., :, :, None] * dev[..., :, None, :] - first[..., None, :, :])
        return theta, first, second


class Concentration:
    """theta = c / sum c with c = elu(alpha) + 1: the mean of the Dirichlet of DrNAS (Chen et al., ICLR 2021)."""

    @staticmethod
    def value(alpha: Array) -> Array:
        """c = alpha + 1 where alpha > 0, else exp(alpha); always positive."""
        return np.where(alpha > 0, alpha + 1, np.exp(np.minimum(alpha, 0))).astype(alpha.dtype)

    @staticmethod
    def slope(alpha: Array) -> Array:
        """dc/dalpha = min(1, exp(alpha))."""
        return np.exp(np.minimum(alpha, 0))

    def forward(self, alpha: Array, mask: Array | None) -> Array:
        """Mean of the Dirichlet over the active options."""
        c = self.value(alpha)
        if mask is not None:
            c = np.where(mask, c, alpha.dtype.type(0))
        return c / over_options(c)

    def pullback(self, alpha: Array, theta: Array, grad: Array) -> Array:
        """(grad - <theta, grad>) dc/dalpha / sum c; zero for pruned options, where theta is 0."""
        inner = grad - over_options(theta * grad)
        total = over_options(np.where(theta > 0, self.value(alpha), alpha.dtype.type(0)))
        return np.where(theta > 0, inner * self.slope(alpha) / total, alpha.dtype.type(0))

    def jets(self, alpha: Array, mask: Array | None) -> tuple[Array, Array, Array]:
        """First and second derivatives through c; c'' = exp(alpha) where alpha < 0, else 0."""
        a = alpha.astype(np.float64)
        on = np.ones(a.shape, dtype=bool) if mask is None else mask
        c = np.where(on, self.value(a), 0.0)
        total = over_options(c)[..., None]
        theta = c / total[..., 0]
        slope = np.where(on, self.slope(a), 0.0)
        curve = np.where(on & (a < 0), np.exp(np.minimum(a, 0)), 0.0)
        eye = np.eye(a.shape[-1])
        by_c = (eye - theta[..., :, None]) / total  # [..., k, i]
        cross = -(eye[:, :, None] + eye[:, None, :] - 2 * theta[..., :, None, None]) / total[..., None] ** 2
        second = cross * slope[..., None, :, None] * slope[..., None, None, :]
        second = second + (by_c * curve[..., None, :])[..., None] * eye
        return theta, by_c * slope[..., None, :], second
