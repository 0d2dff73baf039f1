"""ENAS: cells that an LSTM controller writes train the shared weights; their validation rewards train the controller.

Both phases of an epoch run interleaved: after every few weight steps one controller step, so that the noise of each is
addressed by its own step number; with 391 weight and 50 controller steps an epoch, every 7 or 8.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from nasbench_sim.errors import SpecError
from nasbench_sim.landscapes.base import Landscape, LandscapeState, StreamCache
from nasbench_sim.searchers.base import Info, State
from nasbench_sim.searchers.controller import Controller, Trace
from nasbench_sim.searchers.gumbel import one_hot
from nasbench_sim.searchers.links import Softmax
from nasbench_sim.searchers.one_shot import SEARCH_BATCH, WithoutAlpha, at_least_one, best_on_own_batches
from nasbench_sim.spaces import Space

Array = npt.NDArray[Any]

AHEAD = 8  # cells written at a time for the weight steps to come; 7 or 8 pass between controller steps at 391 / 50
CHUNK = 32  # seeds whose controllers go through together: about 4 MB of intermediate results at the published size


@dataclass(frozen=True)
class ControllerSearcher(WithoutAlpha):
    """REINFORCE on an LSTM controller over shared weights (Pham et al., ICML 2018, section 2.2 and eq. 1).

    Per controller step, over `aggregate` cells, each with a validation batch of its own of `batch` images:

        R = 1 - loss + entropy_weight H(cell);   L = -mean_m log p(cell_m) (R_m - b_m);   Adam on L, norm clipped

    `baseline` b = d b' + (1 - d) R with d = `baseline_decay`, b' being the b of the sample before (`sample`, as in the
    paper) or of the last sample of the epoch before (`epoch`, as in the NAS-Bench-201 script, where b therefore stays
    near the reward of the first epoch). While there is no b', b = 1 - loss. As in the script, R carries its gradient.

    `alpha` is the log of the controller's marginal: the distributions met by the cells of the last controller step,
    averaged; 0 before the first. `slots`: weights `[S, P]`, their second moments, the cells written ahead.
    """

    controller: Controller = field(default_factory=Controller)
    lr: float = 1e-3
    beta2: float = 0.999
    eps: float = 1e-3
    clip: float = 5.0
    updates: int = 50
    aggregate: int = 20
    entropy_weight: float = 1e-4
    baseline_decay: float = 0.99
    baseline: Literal["epoch", "sample"] = "epoch"
    batch: int = 128
    evaluations: int = 100
    name: str = "enas"
    _streams: StreamCache = field(default_factory=StreamCache, repr=False, compare=False)

    def __post_init__(self) -> None:
        at_least_one(updates=self.updates, aggregate=self.aggregate, batch=self.batch, evaluations=self.evaluations)
        for name, value in (("lr", self.lr), ("eps", self.eps), ("clip", self.clip)):
            if not value > 0:
                raise SpecError(f"{name} is positive, got {value}")
        for name, value in (("beta2", self.beta2), ("baseline_decay", self.baseline_decay)):
            if not 0 <= value < 1:
                raise SpecError(f"{name} is in [0, 1), got {value}")
        if not self.entropy_weight >= 0:
            raise SpecError(f"entropy_weight is at least 0, got {self.entropy_weight}")
        if self.baseline not in ("epoch", "sample"):
            raise SpecError(f"baseline moves with every 'sample' or once an 'epoch', got {self.baseline!r}")

    def init(self, space: Space, seeds: Array, dtype: npt.DTypeLike = np.float32) -> State:
        """A fresh controller a seed; no cell written yet."""
        seeds = np.asarray(seeds, dtype=np.int64)
        w = self.controller.init(self._streams(seeds), space.K, dtype)
        slots = {
            "controller": w,
            "controller_v": np.zeros_like(w),
            "controller_power2": np.ones(len(seeds)),
            "baseline": np.zeros(len(seeds), dtype=dtype),
            "ahead": np.zeros((len(seeds), AHEAD, space.D), dtype=np.int8),
        }
        return self.start(space, seeds, dtype, slots)

    def step(self, state: State, landscape: Landscape, shared: LandscapeState) -> tuple[State, LandscapeState, Info]:
        """One weight step on a written cell; then, where one is due, one controller step."""
        number, per_epoch = int(state.step[0]), shared.horizon.steps_per_epoch
        due, since = self._schedule(number % per_epoch, per_epoch)
        slots = state.slots
        if since % AHEAD == 0:
            uniform = self._streams(state.seeds).uniform("ahead", number, (AHEAD, landscape.space.D))
            written = self._write(slots["controller"], uniform, landscape.space.mask)
            slots = {**slots, "ahead": np.concatenate([t.cells for t in written]).astype(np.int8)}
        cell = slots["ahead"][:, since % AHEAD].astype(np.int64)
        loss = landscape.arch_loss(shared, cell[:, None], batch=True)[:, 0]
        usage = one_hot(cell, state.alpha)
        shared = landscape.train_weights(shared, usage, 1)
        alpha = state.alpha
        if due:
            alpha, changed = self._learn(state, landscape, shared, last=number % per_epoch == per_epoch - 1)
            slots = {**slots, **changed}
        return state._replace(step=state.step + 1, alpha=alpha, slots=slots), shared, Info(loss, usage)

    def _schedule(self, step: int, per_epoch: int) -> tuple[bool, int]:
        """Whether a controller step follows weight step `step` of an epoch, and weight steps since the last one.

        They are spread evenly, at most one a weight step; the last follows the last weight step.
        """
        n = min(self.updates, per_epoch)
        before = step * n // per_epoch
        first = -(-before * per_epoch // n)  # the first weight step after `before` controller steps
        return (step + 1) * n // per_epoch > before, step - first

    def _write(self, w: Array, uniform: Array, mask: Array) -> list[Trace]:
        parts = [slice(i, i + CHUNK) for i in range(0, len(w), CHUNK)]
        return [self.controller.write(w[part], uniform[part], mask) for part in parts]

    def _learn(
        self, state: State, landscape: Landscape, shared: LandscapeState, *, last: bool
    ) -> tuple[Array, dict[str, Array]]:
        """One controller step: the new alpha and what changes in the slots; `last` of its epoch."""
        slots, mask, dtype = state.slots, landscape.space.mask, state.alpha.dtype
        shape = (self.aggregate, landscape.space.D)
        uniform = self._streams(state.seeds).uniform("samples", int(state.step[0]), shape)
        traces = self._write(slots["controller"], uniform, mask)
        cells, log_prob, entropy, marginal = (
            np.concatenate([getattr(t, name) for t in traces]) for name in ("cells", "log_prob", "entropy", "marginal")
        )
        plain = 1 - landscape.arch_loss(shared, cells, own_batch=self.batch / SEARCH_BATCH)
        epoch = int(state.step[0]) // shared.horizon.steps_per_epoch
        advantage, share, baseline = self.advantage(plain, entropy, slots["baseline"], epoch, state, last)
        on_log_prob = -advantage / dtype.type(self.aggregate)
        on_entropy = -log_prob * share * dtype.type(self.entropy_weight / self.aggregate)
        w, v = np.empty_like(slots["controller"]), np.empty_like(slots["controller"])
        power2 = slots["controller_power2"] * self.beta2
        for n, trace in enumerate(traces):
            part = slice(n * CHUNK, (n + 1) * CHUNK)
            old = slots["controller"][part]
            g = self.controller.gradient(old, trace, mask, on_log_prob[part], on_entropy[part])
            w[part], v[part] = self._adam(old, g, slots["controller_v"][part], power2[part])
        changed = {"controller": w, "controller_v": v, "controller_power2": power2, "baseline": baseline}
        alpha = np.where(mask, np.log(np.where(mask, marginal, 1)), 0)
        return alpha, changed

    def advantage(
        self, plain: Array, entropy: Array, before: Array, epoch: int, state: State, last: bool
    ) -> tuple[Array, Array, Array]:
        """R - b `[S, M]`, its slope in R `[S, M]` and the next baseline `[S]`, for `plain` = 1 - loss `[S, M]`."""
        as_ = plain.dtype.type
        reward = plain + as_(self.entropy_weight) * entropy
        keep, move = as_(self.baseline_decay), as_(1 - self.baseline_decay)
        if self.baseline == "epoch":
            if epoch == 0:  # b = 1 - loss: only the entropy term is left
                return reward - plain, np.ones_like(plain), plain[:, -1] if last else before
            b = before[:, None] - move * (before[:, None] - reward)
            return reward - b, np.full_like(plain, keep), b[:, -1] if last else before
        first = state.slots["controller_power2"] == 1  # no controller step yet
        share, advantage = np.full_like(plain, keep), np.empty_like(plain)
        share[first, 0] = 1
        for m in range(plain.shape[1]):
            moved = before - move * (before - reward[:, m])
            before = np.where(first, plain[:, m], moved) if m == 0 else moved
            advantage[:, m] = reward[:, m] - before
        return advantage, share, before

    def _adam(self, w: Array, g: Array, v: Array, power2: Array) -> tuple[Array, Array]:
        """Clip the norm, then Adam with betas (0, beta2), which needs no first moment: weights and second moments."""
        as_ = w.dtype.type
        norm = np.sqrt(np.einsum("sp,sp->s", g, g))
        step = g * np.minimum(as_(self.clip) / (norm + as_(1e-6)), as_(1))[:, None]
        v = v * as_(self.beta2)
        # in place: 20 us a seed, where fresh arrays of 2 MB each cost 150 to 280 in page faults
        scratch = step * step
        scratch *= as_(1 - self.beta2)
        v += scratch
        np.sqrt(np.multiply(v, (1 / (1 - power2)).astype(w.dtype)[:, None], out=scratch), out=scratch)
        scratch += as_(self.eps)
        step /= scratch
        step *= as_(self.lr)
        return np.subtract(w, step, out=step), v

    def derive(self, state: State, landscape: Landscape, shared: LandscapeState) -> Array:
        """The best of `evaluations` cells that the controller writes now `[S, D]`, each on a batch of its own."""
        shape = (self.evaluations, landscape.space.D)
        uniform = self._streams(state.seeds).uniform("candidates", int(state.step[0]), shape)
        written = self._write(state.slots["controller"], uniform, landscape.space.mask)
        cells = np.concatenate([t.cells for t in written])
        return best_on_own_batches(landscape, shared, cells, self.batch)

    def distribution(self, state: State) -> Array:
        """The controller's marginal `[S, D, K]` at its last step; uniform before the first."""
        return Softmax().forward(state.alpha, state.mask)
