"""What is added to the loss as a function of alpha alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from scipy.special import gammaln, psi

from nasbench_sim.errors import SpecError
from nasbench_sim.searchers.base import View, over_options
from nasbench_sim.searchers.links import Concentration

Array = npt.NDArray[Any]


class Regulariser(Protocol):
    """r(alpha), given by its gradient."""

    def gradient(self, view: View, alpha: Array, mask: Array | None) -> Array:
        """dr/dalpha `[S, D, K]`; 0 for pruned options."""


@dataclass(frozen=True)
class DirichletKL:
    """r = scale * sum_d KL(Dir(c_d) || Dir(1)) with c = elu(alpha) + 1, in nats: `reg_type=kl` of DrNAS.

    With n active options at a decision and C = sum c:

        KL = lnG(C) - sum lnG(c_k) - lnG(n) + sum (c_k - 1)(psi(c_k) - psi(C))
        dKL/dc_k = (c_k - 1) psi'(c_k) - (C - n) psi'(C)

    Pruned options are no part of either Dirichlet. `scale` 1e-3 in the code of DrNAS (Chen et al., ICLR 2021;
    xiangning-chen/DrNAS 201-space). Raises `SpecError` for a negative scale.

    >>> alpha = np.zeros((1, 2, 5))  # c = 1: both Dirichlets are uniform
    >>> DirichletKL().value(alpha, None).tolist(), float(abs(DirichletKL().slope(alpha, None)).max())
    ([0.0], 0.0)
    """

    scale: float = 1e-3

    def __post_init__(self) -> None:
        if not (np.isfinite(self.scale) and self.scale >= 0):
            raise SpecError(f"scale of the KL is a number >= 0, got {self.scale}")

    def value(self, alpha: Array, mask: Array | None) -> Array:
        """r `[S]` at `alpha[S, D, K]`, float64."""
        c, on = self._concentration(alpha, mask)
        total, n = over_options(c), over_options(on.astype(np.float64))
        one = np.where(on, c, 1.0)  # lnG(1) = 0 and (1 - 1) = 0: a pruned option adds nothing
        pull = over_options((one - 1) * (psi(one) - psi(total)))
        kl = gammaln(total) - over_options(gammaln(one)) - gammaln(n) + pull
        return np.asarray(self.scale * over_options(kl[..., 0])[..., 0])

    def slope(self, alpha: Array, mask: Array | None) -> Array:
        """dr/dalpha `[S, D, K]`, in the type of alpha."""
        c, on = self._concentration(alpha, mask)
        total, n = over_options(c), over_options(on.astype(np.float64))
        one = np.where(on, c, 1.0)
        by_c = (one - 1) * trigamma(one) - (total - n) * trigamma(total)
        slope = by_c * Concentration.slope(alpha.astype(np.float64))
        return np.where(on, self.scale * slope, 0.0).astype(alpha.dtype)

    def gradient(self, view: View, alpha: Array, mask: Array | None) -> Array:
        """dr/dalpha `[S, D, K]`; a function of alpha alone."""
        return self.slope(alpha, mask)

    @staticmethod
    def _concentration(alpha: Array, mask: Array | None) -> tuple[Array, Array]:
        """c in float64, 0 for pruned options, and which options are active."""
        on = np.ones(alpha.shape, dtype=bool) if mask is None else np.broadcast_to(mask, alpha.shape)
        return np.where(on, Concentration.value(alpha.astype(np.float64)), 0.0), on


def trigamma(x: Array) -> Array:
    """psi'(x), x > 0, to a relative 1e-11: six steps of psi'(x) = 1/x^2 + psi'(x + 1), then Stirling's series.

    SciPy has it as the Hurwitz zeta function, 142 ns a value where this takes 12: 5 us a seed-step on NB201.

    >>> float(abs(trigamma(np.array([1.0])) - np.pi**2 / 6).max()) < 1e-11
    True
    """
    out = np.zeros_like(x)
    for _ in range(_SHIFTS):
        out = out + 1 / (x * x)
        x = x + 1
    r = 1 / x
    s = r * r
    # 1/x + 1/(2 x^2) + sum B_2k / x^(2k+1), up to B_10 / x^11
    series = 1 / 6 + s * (-1 / 30 + s * (1 / 42 + s * (-1 / 30 + s * (5 / 66))))
    return np.asarray(out + r + s / 2 + r * s * series)


_SHIFTS = 6
