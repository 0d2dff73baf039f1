"""Sampled paths: the binary gates of ProxylessNAS, by two-path gradients or by REINFORCE.

Both keep one path of a decision in memory at a time. The first differentiates through the gates of two sampled paths,
the second needs no gradient of the network at all.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from nasbench_sim.errors import SpecError
from nasbench_sim.searchers.base import Estimate, Slots, View, over_options
from nasbench_sim.searchers.gumbel import one_hot, perturbed
from nasbench_sim.searchers.links import Link, Softmax
from nasbench_sim.searchers.random_variables import pick
from nasbench_sim.searchers.relaxations import Plain, average

Array = npt.NDArray[Any]

PAIR = "gates_pair"  # slot: bool [S, D, K], the two paths sampled last
BASELINE = "reward_baseline"  # slot: [S], running mean of the reward


@dataclass(frozen=True)
class BinaryGates:
    """ProxylessNAS (Cai et al. 2019, section 3.2.1): two paths a decision, drawn from pi without replacement.

    The first drawn path a has law pi and its gate is open; the other, b, is evaluated for its gate's gradient only.
    With q = softmax of (alpha_a, alpha_b), dL/dalpha_a = q_a q_b (dL/dg_a - dL/dg_b) = -dL/dalpha_b. After the update
    both alphas are shifted together so that exp(alpha_a) + exp(alpha_b) is what it was: the probabilities of all other
    paths stay as they are. The shared weights of the open path alone train.
    """

    link: Link = field(default_factory=Softmax)

    @property
    def requires(self) -> frozenset[str]:
        """Nothing beside a loss and its gradient."""
        return frozenset()

    @property
    def draws_blindly(self) -> bool:
        """The open paths are drawn before anything is looked at."""
        return True

    def init(self, alpha: Array) -> Slots:
        """No pair sampled yet."""
        return {PAIR: np.zeros(alpha.shape, dtype=bool)}

    def estimate(self, view: View, alpha: Array, sd: Array | None, mask: Array | None) -> Estimate:
        """One forward pass through the open paths, gate gradients of the pairs."""
        scores = perturbed(view, "gates", alpha, mask)
        opened = one_hot(scores.argmax(axis=-1), alpha)
        nothing = alpha.dtype.type(-np.inf)
        rest = np.where(opened > 0, nothing, scores)
        other = one_hot(rest.argmax(axis=-1), alpha) * (rest > nothing)  # none where one option is left
        pair = (opened + other) > 0
        loss, grad = view.look_at_cells(opened)
        g = Softmax().pullback(alpha, Softmax().forward(alpha, pair), grad)
        return Estimate(loss, g, g * g, opened, {PAIR: pair})

    def settle(self, view: View, before: Array, after: Array, memory: Slots) -> Array:
        """Unsampled alphas as before; the sampled two shifted by log(sum exp(after) / sum exp(before)) over the pair.

        So momentum and weight decay do not reach unsampled paths either: the paper treats them as absent.
        """
        pair = memory[PAIR]
        moved = np.where(pair, after - before, before.dtype.type(0))
        growth = over_options(Softmax().forward(before, pair) * np.exp(moved))
        return np.asarray(np.where(pair, after - np.log(growth), before))


@dataclass(frozen=True)
class PolicyGradient(Plain):
    """REINFORCE over cells ~ prod_d Cat(softmax(alpha_d)) with a running baseline (Cai et al. 2019, section 3.3.2).

    reward R = -loss of the mini-batch; dL/dalpha = -1/M sum_m (R_m - b) (onehot(cell_m) - pi), without bias because b
    holds earlier steps only. Then b <- rate mean(R) + (1 - rate) b, from 0. The shared weights train at the first of
    the M cells, one path a mini-batch.
    """

    samples: int = 10
    baseline_rate: float = 0.9
    link: Link = field(default_factory=Softmax)

    def __post_init__(self) -> None:
        if self.samples < 1:
            raise SpecError(f"samples is at least 1, got {self.samples}")
        if not 0 < self.baseline_rate <= 1:
            raise SpecError(f"baseline_rate is the share of the newest reward, in (0, 1], got {self.baseline_rate}")

    def init(self, alpha: Array) -> Slots:
        """Baseline 0."""
        return {BASELINE: np.zeros(len(alpha), dtype=alpha.dtype)}

    def estimate(self, view: View, alpha: Array, sd: Array | None, mask: Array | None) -> Estimate:
        """Sample, score on one mini-batch, weigh the score functions."""
        pi = self.link.forward(alpha, mask)
        cells = pick(view.streams.uniform("cells", view.step, (self.samples, alpha.shape[1])), pi)
        losses = view.landscape.arch_loss(view.state, cells, batch=True)
        old, reward = view.memory[BASELINE], average(-losses)
        each = self.draws(pi, cells, -losses - old[:, None])
        rate = alpha.dtype.type(self.baseline_rate)
        kept = {BASELINE: rate * reward + (1 - rate) * old}
        return Estimate(-reward, average(each), average(each * each), one_hot(cells[:, 0], alpha), kept)

    @staticmethod
    def draws(pi: Array, cells: Array, advantage: Array) -> Array:
        """Gradient `[S, M, D, K]` of each draw: -advantage[S, M] (onehot(cells[S, M, D]) - pi[S, D, K]).

        >>> pi = np.array([[[0.25, 0.75]]])
        >>> PolicyGradient.draws(pi, np.array([[[1]]]), np.array([[2.0]])).tolist()
        [[[[0.5, -0.5]]]]
        """
        return np.asarray((pi[:, None] - one_hot(cells, pi)) * advantage[..., None, None])
