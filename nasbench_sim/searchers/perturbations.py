"""Forward weights moved away from theta(alpha): random smoothing, adversarial directions, and dropped skips."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from nasbench_sim.errors import SpecError
from nasbench_sim.searchers.base import Estimate, View, over_options
from nasbench_sim.searchers.links import Link, Softmax
from nasbench_sim.searchers.relaxations import Deterministic, Plain
from nasbench_sim.searchers.stages import into_stage, stage_of

Array = npt.NDArray[Any]


class Moved(NamedTuple):
    """theta + delta back on the simplex: the point `theta` `[S, D, K]`, where the clip left it free, and its sum."""

    theta: Array
    free: Array
    total: Array

    def pullback(self, grad: Array) -> Array:
        """dL/dtheta at fixed delta, given `grad` at the moved point: (grad - <theta', grad>) / total where free."""
        inner = (grad - over_options(self.theta * grad)) / self.total
        return np.where(self.free, inner, grad.dtype.type(0))


def move(theta: Array, delta: Array, mask: Array | None) -> Moved:
    """clip(theta + delta, 0, 1), divided by its sum; where everything is clipped to 0, the largest entry alone.

    Source: `clip` of xiangning-chen/SmoothDARTS. Pruned options stay at 0.

    >>> move(np.array([[[0.5, 0.5]]]), np.array([[[0.3, -0.7]]]), None).theta.tolist()
    [[[1.0, 0.0]]]
    """
    zero, one = theta.dtype.type(0), theta.dtype.type(1)
    raw = theta + delta
    if mask is not None:
        raw = np.where(mask, raw, -one)  # below theta - epsilon for every epsilon < 1
    kept = np.clip(raw, zero, one)
    total = over_options(kept)
    lost = total == 0
    if lost.any():
        largest = np.arange(raw.shape[-1]) == raw.argmax(axis=-1)[..., None]
        kept = np.where(lost, largest.astype(theta.dtype), kept)
        total = np.where(lost, one, total)
    return Moved(kept / total, (raw > 0) & (raw < 1), total)


@dataclass(frozen=True)
class Perturbed(Plain):
    """SDARTS: the loss is looked at, and the shared weights train, at theta + delta with |delta| <= epsilon(t).

    mode "rs":  delta ~ U[-epsilon, epsilon] a step (random smoothing): the gradient's expectation is that of the
                smoothed loss E_delta L(theta + delta)
    mode "adv": delta = argmax L(theta + delta), by `steps` of sign ascent of `2 epsilon / steps` from a random start
                (PGD); where that ends below L(theta), delta = 0: the loss is never below that of DARTS

    epsilon(t) = epsilon (start + (1 - start) epoch / epochs). `where`: "both" steps see theta + delta, or the
    "weights" alone, as printed; there the perturbation reaches alpha only through trained weights, which a
    table-based landscape models by their maturity and nothing else.

    Source: Chen & Hsieh, ICML 2020 (arXiv 2002.05283); settings of xiangning-chen/SmoothDARTS. Deviation: the ascent
    follows the slope along the simplex (grad - <theta, grad>); a mixture's loss in a table is not scale-free as that
    of batch-normalised edges nearly is. Raises `SpecError` for impossible settings.
    """

    mode: Literal["rs", "adv"] = "rs"
    epsilon: float = 0.3
    start: float = 0.1
    steps: int = 7
    where: Literal["both", "weights"] = "both"
    link: Link = field(default_factory=Softmax)

    def __post_init__(self) -> None:
        if self.mode not in ("rs", "adv"):
            raise SpecError(f"SDARTS mode is rs (random smoothing) or adv (adversarial), got {self.mode!r}")
        if self.where not in ("both", "weights"):
            raise SpecError(f"the perturbed step is 'both' or 'weights', got {self.where!r}")
        if not 0 <= self.epsilon < 1:
            raise SpecError(f"epsilon is a distance on the simplex in [0, 1), got {self.epsilon}")
        if not 0 <= self.start <= 1:
            raise SpecError(f"start is the share of epsilon in the first epoch, in [0, 1], got {self.start}")
        if self.steps < 1:
            raise SpecError(f"the ascent takes at least 1 step, got {self.steps}")

    @property
    def draws_blindly(self) -> bool:
        """Not where the perturbation climbs the loss."""
        return self.mode != "adv"

    def radius(self, view: View) -> float:
        """epsilon(t) of this step's epoch."""
        epochs, steps_per_epoch = view.state.horizon
        done = min(view.step // steps_per_epoch / epochs, 1.0)
        return self.epsilon * (self.start + (1 - self.start) * done)

    def estimate(self, view: View, alpha: Array, sd: Array | None, mask: Array | None) -> Estimate:
        """One pass (rs), or 2 + `steps` of them (adv); plain DARTS where epsilon is 0."""
        radius = self.radius(view)
        if radius == 0:
            return Deterministic(self.link).estimate(view, alpha, sd, mask)
        theta = self.link.forward(alpha, mask)
        noise = view.streams.uniform("perturbation", view.step, alpha.shape[1:])
        delta = (noise * np.float32(2 * radius) - np.float32(radius)).astype(theta.dtype)
        if self.mode == "adv":
            loss, grad, usage = self._ascend(view, theta, delta, radius, mask)
        else:
            loss, grad, usage = self._look(view, theta, move(theta, delta, mask))
        g = self.link.pullback(alpha, theta, grad)
        return Estimate(loss, g, g * g, usage)

    def _look(self, view: View, theta: Array, moved: Moved) -> tuple[Array, Array, Array]:
        """Loss, gradient in theta and forward weights of a given perturbation."""
        if self.where == "weights":
            return (*view.look(theta), moved.theta)
        loss, grad = view.look(moved.theta)
        return loss, moved.pullback(grad), moved.theta

    def _ascend(
        self, view: View, theta: Array, delta: Array, radius: float, mask: Array | None
    ) -> tuple[Array, Array, Array]:
        """Sign ascent from `delta`, undone in the rows where it has not raised the loss."""
        as_ = theta.dtype.type
        bound, size = as_(radius), as_(2 * radius / self.steps)
        loss_before, grad_before = view.look(theta)
        at = move(theta, delta, mask)
        for _ in range(self.steps):
            _, grad = view.look(at.theta)
            uphill = np.sign(grad - over_options(at.theta * grad))
            at = move(theta, np.clip(at.theta + size * uphill - theta, -bound, bound), mask)
        loss, grad = view.look(at.theta)
        up = loss >= loss_before
        usage = np.where(up[:, None, None], at.theta, theta)
        if self.where == "weights":
            return loss_before, grad_before, usage
        pulled = np.where(up[:, None, None], at.pullback(grad), grad_before)
        return np.where(up, loss, loss_before), pulled, usage


@dataclass(frozen=True)
class SkipDropout(Plain):
    """theta = softmax(alpha) without the skips of some edges, each dropped with probability p(t): P-DARTS.

    p(t) starts each of `len(rates)` stages at the stage's rate r and falls, u in [0, 1) being the share of the stage:

        p = r (1 - u)                          while u < warmup (only the shared weights train)
        p = r exp(-decay (u - warmup))         after it

    What is left of an edge is renormalised; an edge whose only option is the skip keeps it.

    Source: Chen et al., ICCV 2019 (arXiv 1904.12760), section 3.3; schedule of chenxin061/pdarts, exp(-0.2 epoch) in
    stages of 25 epochs, hence `decay` 5 a stage. Deviation: the code drops single activations of the skip's output and
    scales up the others; a table has no activations, so that the edge's whole skip is dropped.
    """

    rates: tuple[float, ...] = (0.0, 0.4, 0.7)
    warmup: float = 0.4
    decay: float = 5.0
    link: Link = field(default_factory=Softmax)

    def __post_init__(self) -> None:
        if not self.rates or not all(0 <= r < 1 for r in self.rates):
            raise SpecError(f"dropout rates are numbers in [0, 1), one a stage, got {self.rates}")
        if not self.decay >= 0:
            raise SpecError(f"the decay of the dropout rate is >= 0 a stage, got {self.decay}")

    def rate(self, view: View) -> float:
        """p(t) of this step."""
        stages = len(self.rates)
        full = self.rates[stage_of(view.step, view.state.horizon.steps, stages)]
        u = into_stage(view, stages)
        return float(full * (1 - u if u < self.warmup else np.exp(-self.decay * (u - self.warmup))))

    def estimate(self, view: View, alpha: Array, sd: Array | None, mask: Array | None) -> Estimate:
        """Draw, drop, and one pass at what is left."""
        rate = self.rate(view)
        if rate > 0:
            space = view.landscape.space
            active = np.broadcast_to(space.mask, alpha.shape) if mask is None else mask
            drop = view.streams.uniform("skip dropout", view.step, (alpha.shape[1],)) < rate
            left = active & ~(space.skip & drop[..., None])
            mask = np.where(left.any(axis=-1, keepdims=True), left, active)
        return Deterministic(self.link).estimate(view, alpha, sd, mask)
