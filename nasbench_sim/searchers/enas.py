"""ENAS: cells that an LSTM controller writes train the shared weights; their validation rewards train the controller.

Both phases of an epoch run interleaved: after every few weight steps one controller step, so that the noise of each is
addressed by its own step number; with 391 weight and 50 controller steps an epoch, every 7 or 8.
"""

from __future__ import annotations

from collections.abc import Iterator
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
from nasbench_sim.searchers.lstm import Tape
from nasbench_sim.searchers.one_shot import SEARCH_BATCH, WithoutAlpha, at_least_one, best_on_own_batches
from nasbench_sim.spaces import Space

Array = npt.NDArray[Any]

AHEAD = 8  # cells written at a time for the weight steps to come; 7 or 8 pass between controller steps at 391 / 50
CHUNK = 25  # seeds whose controllers go through together: 10 MB of intermediate results at the published size


class Drafts:
    """The traces written last, by chunks of seeds, and memory for them. A cache of a pure function, not state."""

    def __init__(self) -> None:
        self._key: tuple[Any, ...] = ()
        self._w: Array | None = None
        self._traces: list[Trace] = []
        self._tapes: dict[int, tuple[tuple[Any, ...], Tape]] = {}

    def __call__(self, controller: Controller, w: Array, uniform: Array, mask: Array, learn: int) -> list[Trace]:
        """Cells at `uniform[S, M, D]`, the first `learn` of them with what it takes to learn from them."""
        key = (controller, uniform.tobytes(), mask.tobytes(), learn)
        if self._w is not w or self._key != key:
            self._w, self._key, self._traces = None, (), []
            for n, part in enumerate(chunks(len(w))):
                shape = uniform[part].shape
                made_for = (controller, shape, mask.shape, w.dtype, learn)
                if n not in self._tapes or self._tapes[n][0] != made_for:
                    self._tapes[n] = made_for, controller.tape(shape, mask.shape[1], w.dtype, learn)
                self._traces.append(controller.write(w[part], uniform[part], mask, self._tapes[n][1]))
            self._w, self._key = w, key
        return self._traces


def chunks(seeds: int) -> Iterator[slice]:
    """The seeds in groups of `CHUNK`."""
    return (slice(i, i + CHUNK) for i in range(0, seeds, CHUNK))


@dataclass(frozen=True)
class ControllerSearcher(WithoutAlpha):
    """REINFORCE on an LSTM controller over shared weights (Pham et al., ICML 2018, section 2.2 and eq. 1).

    Per controller step, over `aggregate` cells, each with a validation batch of its own of `batch` images:

        R = 1 - loss + entropy_weight H(cell);   L = -mean_m log p(cell_m) (R_m - b_m);   Adam on L, norm clipped

    `baseline` b = d b' + (1 - d) R with d = `baseline_decay`, b' being the b of the sample before (`sample`, as in the
    paper) or of the last sample of the epoch before (`epoch`, as in the NAS-Bench-201 script, where b therefore stays
    near the reward of the first epoch). While there is no b', b = 1 - loss. As in the script, R carries its gradient.

    `alpha` is the log of the controller's marginal: the distributions met by the cells of the last controller step,
    averaged; 0 before the first. `slots`: weights `[S, P]`, their second moments, the cells written ahead. One and the
    same controller writes these and the next controller step's samples, so they are written together.
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
    _drafts: Drafts = field(default_factory=Drafts, repr=False, compare=False)

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
        since, left = self._schedule(number % per_epoch, per_epoch)
        slots, place = state.slots, since % AHEAD
        if place == 0:
            slots = {**slots, "ahead": self._ahead(state, landscape, number, left)}
        cell = slots["ahead"][:, place].astype(np.int64)
        loss = landscape.arch_loss(shared, cell[:, None], batch=True)[:, 0]
        usage = one_hot(cell, state.alpha)
        shared = landscape.train_weights(shared, usage, 1)
        alpha = state.alpha
        if left == 0:
            traces = self._samples(state, landscape, number - place, place)
            alpha, changed = self._learn(state, landscape, shared, traces, last=number % per_epoch == per_epoch - 1)
            slots = {**slots, **changed}
        return state._replace(step=state.step + 1, alpha=alpha, slots=slots), shared, Info(loss, usage)

    def _schedule(self, step: int, per_epoch: int) -> tuple[int, int]:
        """Weight steps made since the last controller step, and to come before the next, at weight step `step`.

        Controller steps are spread evenly over an epoch, at most one a weight step; one follows the last weight step.
        """
        n = min(self.updates, per_epoch)
        before = step * n // per_epoch
        first, next_first = (-(-i * per_epoch // n) for i in (before, before + 1))
        return step - first, next_first - 1 - step

    def _ahead(self, state: State, landscape: Landscape, number: int, left: int) -> Array:
        """Cells `[S, AHEAD, D]` for weight step `number` and those after it; a controller step is `left` steps away."""
        if left < AHEAD:
            traces = self._samples(state, landscape, number, left)
            return np.concatenate([t.cells[:, self.aggregate :] for t in traces]).astype(np.int8)
        uniform = self._streams(state.seeds).uniform("ahead", number, (AHEAD, landscape.space.D))
        return self._cells(state, uniform, landscape.space.mask).astype(np.int8)

    def _samples(self, state: State, landscape: Landscape, number: int, left: int) -> list[Trace]:
        """The controller step's `aggregate` cells, then those for the weight steps from `number` on."""
        d, streams = landscape.space.D, self._streams(state.seeds)
        samples = streams.uniform("samples", number + left, (self.aggregate, d))
        uniform = np.concatenate([samples, streams.uniform("ahead", number, (AHEAD, d))], axis=1)
        return self._drafts(self.controller, state.slots["controller"], uniform, landscape.space.mask, self.aggregate)

    def _cells(self, state: State, uniform: Array, mask: Array) -> Array:
        w = state.slots["controller"]
        return np.concatenate([self.controller.cells(w[part], uniform[part], mask) for part in chunks(len(w))])

    def _learn(
        self, state: State, landscape: Landscape, shared: LandscapeState, traces: list[Trace], *, last: bool
    ) -> tuple[Array, dict[str, Array]]:
        """One controller step: the new alpha and what changes in the slots; `last` of its epoch."""
        slots, mask, dtype = state.slots, landscape.space.mask, state.alpha.dtype
        cells, log_prob, entropy, marginal = (
            np.concatenate([getattr(t, name) for t in traces]) for name in ("cells", "log_prob", "entropy", "marginal")
        )
        plain = 1 - landscape.arch_loss(shared, cells[:, : self.aggregate], own_batch=self.batch / SEARCH_BATCH)
        epoch = int(state.step[0]) // shared.horizon.steps_per_epoch
        advantage, share, baseline = self.advantage(plain, entropy, slots["baseline"], epoch, state, last)
        on_log_prob = -advantage / dtype.type(self.aggregate)
        on_entropy = -log_prob * share * dtype.type(self.entropy_weight / self.aggregate)
        old_w, old_v = slots["controller"], slots["controller_v"]
        w, v = np.empty_like(old_w), np.empty_like(old_v)
        power2 = slots["controller_power2"] * self.beta2
        for part, trace in zip(chunks(len(w)), traces, strict=True):
            g = self.controller.gradient(old_w[part], trace, mask, on_log_prob[part], on_entropy[part])
            self._adam(old_w[part], g, old_v[part], power2[part], w[part], v[part])
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

    def _adam(self, w: Array, g: Array, v: Array, power2: Array, new_w: Array, new_v: Array) -> None:
        """Clip the norm, then Adam with betas (0, beta2), which needs no first moment; all `[S, P]`, into `new_*`.

        step = lr g / (sqrt(v / (1 - power2)) + eps), numerator and denominator times sqrt(1 - power2).
        """
        as_ = w.dtype.type
        norm = np.sqrt(g[:, None] @ g[:, :, None])[:, :, 0]
        clip = np.minimum(as_(self.clip) / (norm + as_(1e-6)), as_(1))
        root = np.sqrt(1 - power2).astype(w.dtype)[:, None]
        # in place: fresh arrays cost more in page faults than what is done in them
        scratch = g * g
        scratch *= as_(1 - self.beta2) * clip * clip
        np.multiply(v, as_(self.beta2), out=new_v)
        new_v += scratch
        np.sqrt(new_v, out=scratch)
        scratch += as_(self.eps) * root
        np.divide(g, scratch, out=scratch)
        scratch *= as_(self.lr) * clip * root
        np.subtract(w, scratch, out=new_w)

    def derive(self, state: State, landscape: Landscape, shared: LandscapeState) -> Array:
        """The best of `evaluations` cells that the controller writes now `[S, D]`, each on a batch of its own."""
        shape = (self.evaluations, landscape.space.D)
        uniform = self._streams(state.seeds).uniform("candidates", int(state.step[0]), shape)
        cells = self._cells(state, uniform, landscape.space.mask)
        return best_on_own_batches(landscape, shared, cells, self.batch)

    def distribution(self, state: State) -> Array:
        """The controller's marginal `[S, D, K]` at its last step; uniform before the first."""
        return Softmax().forward(state.alpha, state.mask)
