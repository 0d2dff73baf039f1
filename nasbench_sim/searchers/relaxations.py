"""What one mini-batch says about alpha: the continuous relaxations and Monte Carlo estimators of the field.

Each is a small frozen dataclass with a `link` (its mean distribution) and `estimate(view, alpha, sd, mask)`. One that
remembers something between steps (a baseline, edge weights) keeps it in slots of its own, see `Plain`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

from nasbench_sim.landscapes.base import Paths
from nasbench_sim.searchers.base import Estimate, Slots, View
from nasbench_sim.searchers.links import Concentration, Link, Softmax
from nasbench_sim.searchers.random_variables import dirichlet_path, pick

Array = npt.NDArray[Any]


class Relaxation(Protocol):
    """alpha -> `Estimate`; `sd` is the posterior standard deviation of alpha, or None."""

    @property
    def link(self) -> Link:
        """The mean distribution theta(alpha)."""

    def estimate(self, view: View, alpha: Array, sd: Array | None, mask: Array | None) -> Estimate:
        """Loss and gradient of one mini-batch at `alpha[S, D, K]`."""

    def init(self, alpha: Array) -> Slots:
        """Fresh memory for `alpha[S, D, K]`, in slots whose names no update uses."""

    def settle(self, view: View, before: Array, after: Array, memory: Slots) -> Array:
        """alpha `[S, D, K]` after the update moved it from `before` to `after`; `memory` is that of the estimate."""

    @property
    def requires(self) -> frozenset[str]:
        """What the landscape must offer beside a loss and its gradient."""

    @property
    def draws_blindly(self) -> bool:
        """Whether the forward weights depend on alpha and noise alone, not on what the landscape shows."""


class Plain:
    """Defaults of a relaxation that remembers nothing and leaves the update's result as it is."""

    def init(self, alpha: Array) -> Slots:
        """Nothing."""
        return {}

    def settle(self, view: View, before: Array, after: Array, memory: Slots) -> Array:
        """The update's result."""
        return after

    @property
    def requires(self) -> frozenset[str]:
        """Nothing."""
        return frozenset()

    @property
    def draws_blindly(self) -> bool:
        """Whether the forward weights depend on alpha and noise alone, not on what the landscape shows."""
        return True


@dataclass(frozen=True)
class Deterministic(Plain):
    """The loss at theta = link(alpha) itself: DARTS with the softmax (Liu et al. 2019, section 2.2)."""

    link: Link = field(default_factory=Softmax)

    def estimate(self, view: View, alpha: Array, sd: Array | None, mask: Array | None) -> Estimate:
        """One forward and backward pass at the mean."""
        theta = self.link.forward(alpha, mask)
        loss, grad = view.look(theta)
        g = self.link.pullback(alpha, theta, grad)
        return Estimate(loss, g, g * g, theta)


@dataclass(frozen=True)
class Gaussian(Plain):
    """M draws of alpha ~ N(mu, diag sd^2), each through the link: BaLeNAS (Zhang et al. 2021, eq. 9 and 18).

    `samples` M; `train_at`: forward weights of the weight step, link(mu) (`mean`) or the mean of the draws' theta
    (`sample`); `square_of`: the second moment is the mean over draws of g^2 (`each`, as in VAdam's code) or the
    square of the mean gradient (`mean`). The three are not stated in the paper.
    """

    samples: int = 1
    train_at: Literal["mean", "sample"] = "mean"
    square_of: Literal["each", "mean"] = "each"
    link: Link = field(default_factory=Softmax)

    def estimate(self, view: View, alpha: Array, sd: Array | None, mask: Array | None) -> Estimate:
        """Average over M reparameterised draws; they share the mini-batch."""
        if sd is None:
            raise ValueError("the gaussian relaxation needs an update with a posterior (vadam)")
        m = self.samples
        eps = view.streams.normal("posterior", view.step, (m, *alpha.shape[1:]))
        draws = alpha[:, None] + sd[:, None] * eps
        shared_mask = None if mask is None else mask[:, None]
        theta = self.link.forward(draws, shared_mask)
        loss, grad = view.look(theta)
        g = self.link.pullback(draws, theta, grad)
        mean, usage = average(g), average(theta)
        if self.train_at == "mean":
            usage = self.link.forward(alpha, mask)
        square = average(g * g) if self.square_of == "each" else mean * mean
        return Estimate(average(loss), mean, square, usage)


@dataclass(frozen=True)
class Dirichlet(Plain):
    """One draw theta ~ Dirichlet(elu(alpha) + 1) a step, with pathwise gradients (DrNAS; BPNAS slides).

    Deviation: the path derivative is that of Marsaglia-Tsang with shape augmentation (Naesseth et al. 2017), whose
    neglected acceptance term is tested to be below 1 % here; torch uses the implicit derivative.
    """

    link: Link = field(default_factory=Concentration)

    def estimate(self, view: View, alpha: Array, sd: Array | None, mask: Array | None) -> Estimate:
        """Loss and gradient at one draw; the shared weights train at the draw."""
        concentration = Concentration.value(alpha)
        theta, path = dirichlet_path(view.streams, "dirichlet", view.step, concentration, mask)
        loss, grad = view.look(theta)
        # d theta_k / d c_j = (delta_kj - theta_k) theta_j path_j, so the pull-back is the softmax one times path
        g = Softmax().pullback(alpha, theta, grad) * path * Concentration.slope(alpha)
        return Estimate(loss, g, g * g, theta)


@dataclass(frozen=True)
class ImportanceWeighted(Plain):
    """PARSEC: K cells from prod_d Cat(softmax(alpha_d)), weighted by their likelihood (Casale et al. 2019, section 5).

    omega_k = exp(-loss_k / temperature), normalised in log space; gradient of -log p(y | X, pi) in alpha is
    sum_k omega_k (pi - onehot(cell_k)); the shared weights train at sum_k omega_k onehot(cell_k), the same cells and
    weights (Algorithm 1, lines 13-17).
    """

    samples: int = 16
    temperature: float = 1 / 64
    link: Link = field(default_factory=Softmax)

    @property
    def draws_blindly(self) -> bool:
        """No: a cell's weight is its likelihood."""
        return False

    def estimate(self, view: View, alpha: Array, sd: Array | None, mask: Array | None) -> Estimate:
        """Sample, weigh, differentiate."""
        pi = self.link.forward(alpha, mask)
        cells = pick(view.streams.uniform("cells", view.step, (self.samples, alpha.shape[1])), pi)
        losses = view.landscape.arch_loss(view.state, cells, batch=True)
        omega = self.weights(losses)
        usage = _expected(omega, cells, pi.shape[-1])
        g = pi - usage
        return Estimate(average(losses), g, g * g, usage, paths=Paths(cells, omega))

    def weights(self, losses: Array) -> Array:
        """Normalised importance weights `[S, K]` of `losses[S, K]`; the best cell's exponent is 0: no overflow."""
        scaled = -(losses - losses.min(axis=1, keepdims=True)) / losses.dtype.type(self.temperature)
        w = np.exp(scaled)
        total = w[:, 0]
        for k in range(1, w.shape[1]):
            total = total + w[:, k]
        return np.asarray(w / total[:, None])


def average(x: Array) -> Array:
    """Mean over axis 1 in a fixed order."""
    out = x[:, 0]
    for m in range(1, x.shape[1]):
        out = out + x[:, m]
    return np.asarray(out / x.dtype.type(x.shape[1]))


def _expected(omega: Array, cells: Array, options: int) -> Array:
    """sum_k omega[s, k] onehot(cells[s, k, d]), `[S, D, options]`, added in the order of k."""
    s, _, d = cells.shape
    place = cells + np.arange(0, d * options, options) + np.arange(0, s * d * options, d * options)[:, None, None]
    weight = np.broadcast_to(omega[..., None], cells.shape)
    total = np.bincount(place.ravel(), weights=weight.ravel(), minlength=s * d * options)
    return np.asarray(total.reshape(s, d, options).astype(omega.dtype))
