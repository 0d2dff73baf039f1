"""From gradients to new architecture parameters: SGD, Adam and the variational VAdam.

An update is a frozen dataclass of hyperparameters with pure `init(alpha)`, `apply(alpha, estimate, slots)` and
`sd(slots)`; its memory lives in `slots` (arrays with leading axis S), including the clock of its bias correction, so
that a reset of one search restarts only that search.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

from nasbench_sim.errors import SpecError
from nasbench_sim.searchers.base import Estimate, Slots

Array = npt.NDArray[Any]


class Update(Protocol):
    """alpha and an estimate -> new alpha."""

    def init(self, alpha: Array) -> Slots:
        """Fresh memory for `alpha[S, D, K]`."""

    def apply(self, alpha: Array, estimate: Estimate, slots: Slots) -> tuple[Array, Slots]:
        """One step."""

    def sd(self, slots: Slots) -> Array | None:
        """Posterior standard deviation `[S, D, K]` of alpha, or None for a point estimate."""


def _positive(**values: float) -> None:
    for name, value in values.items():
        if not (np.isfinite(value) and value > 0):
            raise SpecError(f"{name} must be a positive number, got {value}")


def _betas(betas: tuple[float, float]) -> None:
    if len(betas) != 2 or not all(0 <= b < 1 for b in betas):
        raise SpecError(f"betas are two numbers in [0, 1), got {betas}")


def _unbias(power: Array, dtype: np.dtype[Any]) -> Array:
    """1 / (1 - beta^t) as `[S, 1, 1]`, from the running product `power[S]` = beta^t.

    Not `np.power(beta, t)`: its vector and scalar paths differ in the last bit, which would make a row depend on the
    size of its batch.
    """
    return (1 / (1 - power)).astype(dtype)[:, None, None]


def _clock(alpha: Array) -> Slots:
    """Powers beta1^0 and beta2^0 of the bias correction, float64 `[S]`."""
    return {"power1": np.ones(len(alpha)), "power2": np.ones(len(alpha))}


@dataclass(frozen=True)
class SGD:
    """alpha <- alpha - lr (g + weight_decay alpha), with heavy-ball momentum."""

    lr: float = 0.1
    momentum: float = 0.0
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        _positive(lr=self.lr)

    def init(self, alpha: Array) -> Slots:
        """Momentum buffer."""
        return {"m": np.zeros_like(alpha)}

    def apply(self, alpha: Array, estimate: Estimate, slots: Slots) -> tuple[Array, Slots]:
        """One step."""
        as_ = alpha.dtype.type
        m = as_(self.momentum) * slots["m"] + estimate.grad + as_(self.weight_decay) * alpha
        return alpha - as_(self.lr) * m, {"m": m}

    def sd(self, slots: Slots) -> Array | None:
        """A point estimate."""
        return None


@dataclass(frozen=True)
class Adam:
    """Adam with L2 added to the gradient (Kingma & Ba 2015; torch.optim.Adam), bias-corrected.

    Defaults are the architecture optimiser of DARTS on NAS-Bench-201: lr 3e-4, betas (0.5, 0.999), weight decay
    1e-3, eps 1e-8 (FACTS: AutoDL-Projects configs/nas-benchmark/algos).
    """

    lr: float = 3e-4
    betas: tuple[float, float] = (0.5, 0.999)
    weight_decay: float = 1e-3
    eps: float = 1e-8

    def __post_init__(self) -> None:
        _positive(lr=self.lr)
        _betas(self.betas)

    def init(self, alpha: Array) -> Slots:
        """First and second moments."""
        return {**_clock(alpha), "m": np.zeros_like(alpha), "v": np.zeros_like(alpha)}

    def apply(self, alpha: Array, estimate: Estimate, slots: Slots) -> tuple[Array, Slots]:
        """One step."""
        as_, (b1, b2) = alpha.dtype.type, self.betas
        power1, power2 = slots["power1"] * b1, slots["power2"] * b2
        g = estimate.grad + as_(self.weight_decay) * alpha
        m = as_(b1) * slots["m"] + as_(1 - b1) * g
        v = as_(b2) * slots["v"] + as_(1 - b2) * (g * g)
        root = np.sqrt(v * _unbias(power2, alpha.dtype))
        step = (m * _unbias(power1, alpha.dtype)) / (root + as_(self.eps))
        return alpha - as_(self.lr) * step, {"power1": power1, "power2": power2, "m": m, "v": v}

    def sd(self, slots: Slots) -> Array | None:
        """A point estimate."""
        return None


@dataclass(frozen=True)
class VAdam:
    """Natural-gradient variational inference in Adam's clothes: q(alpha) = N(mu, diag 1 / (N s + lambda)).

    With N = `train_size`, lambda = `prior_precision`, lambda~ = lambda / N and the gradient g of the *mean* loss:

    denominator "sqrt" (code and paper of Khan et al. 2018, algorithm 1):
        m <- b1 m + (1 - b1)(g + lambda~ mu);  s <- b2 s + (1 - b2) g^2;  mu <- mu - lr m^ / (sqrt(s^) + lambda~)
    denominator "plain" (BaLeNAS eq. 17-18: no root, no momentum, no bias correction):
        s <- (1 - rate) s + rate g^2;  mu <- mu - lr (g + lambda~ mu) / (s + lambda~)

    `s` starts at (init_precision - prior_precision) / N. `second_rate` is `rate` above (default: lr, as printed) or
    1 - b2 (default 1e-3). `noise_scale` multiplies the sd of the draws (0: no noise, 1: the posterior).

    Sources: Khan et al., ICML 2018 (arXiv 1806.04854); Zhang et al., BaLeNAS (arXiv 2111.13204), eq. 14-18.
    """

    lr: float = 3e-4
    betas: tuple[float, float] = (0.5, 0.999)
    train_size: int = 25_000
    prior_precision: float = 1.0
    init_precision: float = 1e4
    denominator: Literal["sqrt", "plain"] = "sqrt"
    second_rate: float | None = None
    noise_scale: float = 1.0

    def __post_init__(self) -> None:
        _positive(lr=self.lr, train_size=self.train_size, prior_precision=self.prior_precision)
        _betas(self.betas)
        if self.denominator not in ("sqrt", "plain"):
            raise SpecError(
                f"denominator is 'sqrt' (VAdam's code) or 'plain' (BaLeNAS eq. 17), got {self.denominator!r}"
            )
        if not self.init_precision >= self.prior_precision:
            raise SpecError(
                f"init_precision ({self.init_precision}) must be at least prior_precision ({self.prior_precision}): "
                "s = (init - prior) / N may not be negative"
            )
        if self.second_rate is not None and not 0 < self.second_rate <= 1:
            raise SpecError(f"second_rate must be in (0, 1], got {self.second_rate}")
        if not self.noise_scale >= 0:
            raise SpecError(f"noise_scale must be >= 0, got {self.noise_scale}")

    @property
    def _rate(self) -> float:
        if self.second_rate is not None:
            return self.second_rate
        return self.lr if self.denominator == "plain" else 1 - self.betas[1]

    def init(self, alpha: Array) -> Slots:
        """Momentum 0 and the initial precision."""
        s = np.full_like(alpha, (self.init_precision - self.prior_precision) / self.train_size)
        return {**_clock(alpha), "m": np.zeros_like(alpha), "s": s}

    def apply(self, alpha: Array, estimate: Estimate, slots: Slots) -> tuple[Array, Slots]:
        """One step; `estimate.square` is the second moment that enters the precision."""
        as_, (b1, _) = alpha.dtype.type, self.betas
        prior = as_(self.prior_precision / self.train_size)
        power1, power2 = slots["power1"] * b1, slots["power2"] * (1 - self._rate)
        clock = {"power1": power1, "power2": power2}
        g = estimate.grad + prior * alpha
        s = as_(1 - self._rate) * slots["s"] + as_(self._rate) * estimate.square
        if self.denominator == "plain":
            return alpha - as_(self.lr) * g / (s + prior), {**clock, "m": slots["m"], "s": s}
        m = as_(b1) * slots["m"] + as_(1 - b1) * g
        root = np.sqrt(s * _unbias(power2, alpha.dtype))
        step = (m * _unbias(power1, alpha.dtype)) / (root + prior)
        return alpha - as_(self.lr) * step, {**clock, "m": m, "s": s}

    def sd(self, slots: Slots) -> Array | None:
        """noise_scale / sqrt(N s + lambda), with the uncorrected s."""
        s = slots["s"]
        as_ = s.dtype.type
        out: Array = as_(self.noise_scale) / np.sqrt(as_(self.train_size) * s + as_(self.prior_precision))
        return out
