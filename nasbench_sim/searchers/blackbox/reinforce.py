"""REINFORCE: a softmax policy over each edge, trained by policy gradient on the accuracies that it earns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from nasbench_sim.errors import SpecError
from nasbench_sim.searchers.base import Estimate
from nasbench_sim.searchers.blackbox.base import History, Method, Noise, Problem, Slots
from nasbench_sim.searchers.links import Softmax
from nasbench_sim.searchers.random_variables import pick
from nasbench_sim.searchers.updates import Adam
from nasbench_sim.spaces import Space
from nasbench_sim.streams import Streams

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Reinforce(Method):
    """Williams 1992 with the settings of NAS-Bench-201: cell ~ prod_d Cat(softmax(alpha_d)), one cell a step.

    After each evaluation with accuracy R (percent, as the scripts feed it):

        b <- EMA of R with bias correction, R itself included (momentum `ema`)
        grad = -(R - b) d log p(cell) / d alpha = -(R - b) (onehot(cell) - theta);   alpha <- Adam(grad)

    The search returns the best cell it trained, not the mode of the policy. Memory: `alpha` float32 `[S, D, K]`,
    Adam's moments, and numerator and denominator of the EMA, float64 `[S]`.
    """

    lr: float = 0.01
    betas: tuple[float, float] = (0.9, 0.999)
    ema: float = 0.9
    init_sd: float = 1e-3
    epochs: int | None = None
    name: str = "reinforce"

    def __post_init__(self) -> None:
        if not 0 <= self.ema < 1:
            raise SpecError(f"ema (the baseline's momentum) is in [0, 1), got {self.ema}")
        if not self.init_sd >= 0:
            raise SpecError(f"init_sd is at least 0, got {self.init_sd}")
        self._adam()

    def _adam(self) -> Adam:
        return Adam(self.lr, self.betas, weight_decay=0.0)

    def init(self, space: Space, seeds: Array) -> Slots:
        """alpha ~ init_sd * N(0, 1), moments and baseline 0."""
        alpha = np.float32(self.init_sd) * Streams(seeds).normal("policy", 0, (space.D, space.K))
        alpha = np.where(space.mask, alpha, np.float32(0))
        moments = {f"adam_{name}": array for name, array in self._adam().init(alpha).items()}
        zero = np.zeros(len(alpha))
        return {"alpha": alpha, **moments, "ema_sum": zero, "ema_weight": zero.copy()}

    def propose(
        self, problem: Problem, history: History, slots: Slots, streams: Noise, n: int
    ) -> tuple[Array, Array, Slots]:
        """Learn from evaluation n - 1, then draw a cell from the policy."""
        space = problem.space
        if n:
            slots = self.learn(space, slots, history.archs[:, -1], history.value[:, -1])
        theta = self.policy(space, slots)
        archs = pick(streams.uniform("action", n, (1, space.D)), theta)[:, 0].astype(np.int8)
        return archs, self.at_level(problem, len(archs)), slots

    def policy(self, space: Space, slots: Slots) -> Array:
        """Probabilities theta `[S, D, K]`; options that a decision does not have have none."""
        return Softmax().forward(slots["alpha"], space.mask)

    def learn(self, space: Space, slots: Slots, archs: Array, reward: Array) -> Mapping[str, Array]:
        """Memory after `archs[S, D]` earned `reward[S]` (percent)."""
        alpha, r = slots["alpha"], reward.astype(np.float64)
        total = self.ema * slots["ema_sum"] + (1 - self.ema) * r
        weight = self.ema * slots["ema_weight"] + (1 - self.ema)
        grad = self.gradient(self.policy(space, slots), archs, r - total / weight)
        moments: Slots = {k.removeprefix("adam_"): v for k, v in slots.items() if k.startswith("adam_")}
        alpha, moments = self._adam().apply(alpha, Estimate(reward, grad, grad, grad), moments)
        return {
            "alpha": np.where(space.mask, alpha, np.float32(0)),
            **{f"adam_{name}": array for name, array in moments.items()},
            "ema_sum": total,
            "ema_weight": weight,
        }

    @staticmethod
    def gradient(theta: Array, archs: Array, advantage: Array) -> Array:
        """-(advantage) d log p(cell)/d alpha `[S, D, K]`, the gradient of the loss -(advantage) log p(cell)."""
        chosen = archs[..., None] == np.arange(theta.shape[-1])
        return np.asarray(-advantage[:, None, None].astype(theta.dtype) * (chosen - theta))
