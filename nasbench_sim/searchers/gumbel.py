"""Gumbel relaxations of a categorical choice: SNAS (soft, pathwise) and GDAS (hard, straight-through).

With g_k = -log(-log u_k) and pi = softmax(alpha), argmax_k(alpha_k + g_k) is a draw from pi (Gumbel-max), and
softmax((alpha + g) / tau) is its continuous version, one-hot as tau -> 0 (Jang et al. 2017; Maddison et al. 2017).
The papers write log pi where alpha stands here; both differ by a constant a decision, which neither the argmax nor the
softmax sees.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from nasbench_sim.errors import SpecError
from nasbench_sim.searchers.base import Estimate, View, over_options
from nasbench_sim.searchers.links import Link, Softmax
from nasbench_sim.searchers.relaxations import Plain
from nasbench_sim.spaces import Space

Array = npt.NDArray[Any]


def gumbel(uniform: Array) -> Array:
    """Standard Gumbel variables from uniforms on [0, 1), element by element; always finite.

    -log(-log(1 - u)): 1 - u is exact for uniforms of 24 bits and never 0, so that only u = 0 needs care; there half
    the spacing of the uniforms stands in, and g ends at 25 log 2 = 17.3.

    >>> gumbel(np.array([0.0, 0.5])).round(3).tolist()
    [17.329, 0.367]
    """
    exponential = np.maximum(-np.log(1 - uniform), uniform.dtype.type(2.0**-25))
    return np.asarray(-np.log(exponential))


def perturbed(view: View, purpose: str, alpha: Array, mask: Array | None) -> Array:
    """alpha + g `[S, D, K]` at this step's noise, -inf for pruned options: its order is a draw without replacement.

    The largest is a draw from softmax(alpha), the next one a draw from the rest, renormalised (Plackett-Luce).
    """
    scores = alpha + gumbel(view.streams.uniform(purpose, view.step, alpha.shape[1:]))
    return scores if mask is None else np.where(mask, scores, alpha.dtype.type(-np.inf))


def one_hot(options: Array, like: Array) -> Array:
    """Gates `[..., D, K]` of the cells `options[..., D]`, in the type and with the K of `like[..., K]`.

    >>> one_hot(np.array([[1, 0]]), np.zeros((1, 2, 3))).tolist()
    [[[0.0, 1.0, 0.0], [1.0, 0.0, 0.0]]]
    """
    return np.asarray((options[..., None] == np.arange(like.shape[-1])).astype(like.dtype))


def temperature(view: View, first: float, last: float) -> float:
    """tau of this epoch e of E: first + (last - first) e / (E - 1); `last` from the last epoch on."""
    horizon = view.state.horizon
    epoch = min(view.step // horizon.steps_per_epoch, horizon.epochs - 1)
    return first + (last - first) * epoch / max(horizon.epochs - 1, 1)


def against_none(space: Space, grad: Array) -> Array:
    """dL/dgate `[..., D, K]` of gates that are not tied to sum to one: grad minus its value at `none`.

    The gate of an option that is the only one of its edge trades against nothing at all, i.e. against `none`, whose own
    gate multiplies zeros and has gradient 0. A decision without `none` has no cell that lacks it: there it trades
    against the average of the decision's options, which is what a missing option stands for in the weight-sharing model
    (`landscapes.absence`), so that a gate has the advantage of its option over a uniform draw.

    >>> from nasbench_sim.spaces import Space
    >>> bare = Space("bare", ["a", "b"], [["p", "q"], ["r", "s", "t"]])
    >>> against_none(bare, np.array([[[1.0, 3.0, 9.0], [4.0, 5.0, 6.0]]]))[0].tolist()
    [[-1.0, 1.0, 7.0], [-1.0, 0.0, 1.0]]
    """
    decision, has_none = np.arange(space.D), space.none.any(axis=1)
    reference = grad[..., decision, space.none.argmax(axis=1)]
    if not has_none.all():
        there = np.where(space.mask, grad, grad.dtype.type(0))
        average = over_options(there)[..., 0] / space.counts.astype(grad.dtype)
        reference = np.where(has_none, reference, average)
    return np.asarray(grad - reference[..., None])


def _check(**temperatures: float) -> None:
    for name, value in temperatures.items():
        if not (np.isfinite(value) and value > 0):
            raise SpecError(f"{name} is a temperature, a positive number, got {value}")


@dataclass(frozen=True)
class GumbelSoftmax(Plain):
    """SNAS: theta = softmax((alpha + g) / tau), one draw a step, with its exact pathwise gradient (Xie et al. 2019).

    dL/dalpha = J_softmax(theta)^T dL/dtheta / tau at fixed noise; the shared weights train at the draw. tau falls
    linearly over the epochs from `tau_max` to `tau_min`.
    """

    tau_max: float = 10.0
    tau_min: float = 1.0
    link: Link = field(default_factory=Softmax)

    def __post_init__(self) -> None:
        _check(tau_max=self.tau_max, tau_min=self.tau_min)

    def estimate(self, view: View, alpha: Array, sd: Array | None, mask: Array | None) -> Estimate:
        """One forward and backward pass at a soft draw."""
        tau = alpha.dtype.type(temperature(view, self.tau_max, self.tau_min))
        scores = perturbed(view, "gumbel", alpha, mask) / tau
        theta = Softmax().forward(scores, None)
        loss, grad = view.look(theta)
        g = Softmax().pullback(scores, theta, grad) / tau
        return Estimate(loss, g, g * g, theta)


@dataclass(frozen=True)
class GumbelHard(Plain):
    """GDAS: a one-hot draw forwards, the gradient of softmax((alpha + g) / tau) backwards (Dong & Yang 2019).

    c = argmax(alpha + g); the cell c alone is run, so only the gate of c has a gradient G_c, taken against `none`
    (where a decision has none, against the average of its options, see `against_none`):
    dL/dalpha_j = p_j (delta_jc - p_c) G_c / tau with p = softmax((alpha + g) / tau). The shared weights of c alone
    train. A drawn `none` passes zeros on, so that its edge has no gradient in that step.
    """

    tau_max: float = 10.0
    tau_min: float = 0.1
    link: Link = field(default_factory=Softmax)

    def __post_init__(self) -> None:
        _check(tau_max=self.tau_max, tau_min=self.tau_min)

    def estimate(self, view: View, alpha: Array, sd: Array | None, mask: Array | None) -> Estimate:
        """One forward and backward pass through a single cell."""
        tau = alpha.dtype.type(temperature(view, self.tau_max, self.tau_min))
        scores = perturbed(view, "gumbel", alpha, mask)
        gates = one_hot(scores.argmax(axis=-1), alpha)
        loss, grad = view.look_at_cells(gates)
        reached = gates * against_none(view.landscape.space, grad)
        soft = Softmax().forward(scores / tau, None)
        g = Softmax().pullback(scores, soft, reached) / tau
        return Estimate(loss, g, g * g, gates)
