"""Composition of a gradient-based search method from its parts."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, cast

import numpy as np
import numpy.typing as npt

from nasbench_sim.errors import SpecError
from nasbench_sim.landscapes.base import Landscape, LandscapeState, StreamCache
from nasbench_sim.landscapes.blind import Blind
from nasbench_sim.searchers.base import Estimate, Info, State, View
from nasbench_sim.searchers.curvature import FEW, Products, dominant, dominant_eigenvalue
from nasbench_sim.searchers.pruning import NoPruning, Pruning
from nasbench_sim.searchers.regularisers import Regulariser
from nasbench_sim.searchers.relaxations import Relaxation
from nasbench_sim.searchers.selection import Argmax, ProxySample, Selection
from nasbench_sim.searchers.stopping import EpochEnd, NeverStop, Stopping
from nasbench_sim.searchers.updates import Update
from nasbench_sim.spaces import Space

Array = npt.NDArray[Any]

StepOrder = Literal["together", "weights first", "architecture first"]

INIT_SCALE = 1e-3  # alpha starts at 1e-3 N(0, 1) in every published implementation (FACTS A.1)
STOPPED = "stopped"  # slot: epoch [S] after which a rule of stopping ended the search, -1 while it goes on


@dataclass(frozen=True)
class GradientSearcher:
    """relaxation x update x pruning x regulariser x stopping x selection, one architecture and one weight step a step.

    `order`, where published scripts differ (FACTS A.3): `together`: both steps of step t use theta_t and the weights
    before it; `weights first` (scripts of NAS-Bench-201, NATS-Bench): the architecture step sees weights that have made
    their step; `architecture first` (DARTS, DrNAS): the weights train at the moved alpha. It shifts one of the two by a
    single step of ~20,000. A mixture is drawn twice then, from the same noise; cells that a loss weighs cost a second
    look.
    `warmup`: share of the search (of each stage, where the pruning has stages) in which only the shared weights train.
    `xi`: weight steps that the architecture gradient is unrolled through; 0 is first order.
    """

    name: str
    relaxation: Relaxation
    update: Update
    pruning: Pruning = field(default_factory=NoPruning)
    selection: Selection = field(default_factory=Argmax)
    regulariser: Regulariser | None = None
    stopping: Stopping = field(default_factory=NeverStop)
    warmup: float = 0.0
    xi: float = 0.0
    members: int = 0
    member_epochs: int = 0
    order: StepOrder = "together"
    _streams: StreamCache = field(default_factory=StreamCache, repr=False, compare=False)

    @property
    def requires(self) -> frozenset[str]:
        """What its parts require; `weights` where the gradient is unrolled."""
        weights = frozenset({"weights"}) if self.xi else frozenset()
        return self.relaxation.requires | self.selection.requires | weights

    def init(self, space: Space, seeds: Array, dtype: npt.DTypeLike = np.float32) -> State:
        """alpha = 1e-3 N(0, 1), every option active."""
        seeds = np.asarray(seeds, dtype=np.int64)
        noise = self._streams(seeds).normal("init", 0, (space.D, space.K))
        alpha = (INIT_SCALE * noise.astype(np.float64)).astype(dtype)
        mask = np.broadcast_to(space.mask, alpha.shape).copy()
        slots = {**self.update.init(alpha), **self.relaxation.init(alpha), **self.stopping.init(space, alpha)}
        if not isinstance(self.stopping, NeverStop):
            slots[STOPPED] = np.full(len(seeds), -1, dtype=np.int64)
        return State(seeds, np.zeros(len(seeds), dtype=np.int64), alpha, mask, slots)

    def _mask(self, state: State) -> Array | None:
        # without pruning and with equal option counts the mask is all True: not looking at it saves 3 passes a step
        if isinstance(self.pruning, NoPruning) and state.mask.all():
            return None
        return state.mask

    def _view(self, state: State, landscape: Landscape, shared: LandscapeState) -> View:
        return View(landscape, shared, self._streams(state.seeds), int(state.step[0]), state.slots, self.xi)

    def step(self, state: State, landscape: Landscape, shared: LandscapeState) -> tuple[State, LandscapeState, Info]:
        """Estimate, weight step, update, prune."""
        view = self._view(state, landscape, shared)
        mask, sd = self._mask(state), self.update.sd(state.slots)
        if self.order == "weights first":
            shared = self._train(view, state.alpha, sd, mask)
            view = view._replace(state=shared)
        seen = self.relaxation.estimate(view, state.alpha, sd, mask)
        if self.order == "together":
            shared = landscape.train_weights(shared, seen.usage, 1, seen.paths)
        alpha, slots = state.alpha, {**state.slots, **seen.memory}
        if not self._warming_up(view):
            moved, changed = self.update.apply(alpha, self._regularised(view, alpha, mask, seen), state.slots)
            alpha = self.relaxation.settle(view, alpha, moved, seen.memory)
            slots = {**slots, **changed}
        if self.order == "architecture first":
            shared = self._train(view._replace(memory=slots), alpha, self.update.sd(slots), mask)
        new = State(state.seeds, state.step + 1, alpha, state.mask, slots)
        cut = self.pruning.apply(view, alpha, state.mask, self.relaxation.link)
        if cut is not None:
            new = self._restart(new._replace(mask=cut.mask), cut.reset, view)
        return new, shared, Info(seen.loss, seen.usage)

    def _train(self, view: View, alpha: Array, sd: Array | None, mask: Array | None) -> LandscapeState:
        """The weight step at the forward weights that the relaxation draws at `alpha`."""
        draws = view
        if self.relaxation.draws_blindly:  # then a landscape that shows nothing gives the same draws for nothing
            draws = view._replace(landscape=Blind(view.landscape.space, view.landscape.dtype))
        seen = self.relaxation.estimate(draws, alpha, sd, mask)
        return view.landscape.train_weights(view.state, seen.usage, 1, seen.paths)

    def _warming_up(self, view: View) -> bool:
        return self.warmup > 0 and self.pruning.into_stage(view) < self.warmup

    def _regularised(self, view: View, alpha: Array, mask: Array | None, seen: Estimate) -> Estimate:
        if self.regulariser is None:
            return seen
        r = self.regulariser.gradient(view, alpha, mask)
        # E[(g + r)^2] = E[g^2] + 2 r E[g] + r^2
        return seen._replace(grad=seen.grad + r, square=seen.square + r * (seen.grad + seen.grad + r))

    def _restart(self, state: State, reset: Array, view: View) -> State:
        """alpha and the update's memory as at the start on the rows `reset[S, D]`; its clock where all rows restart."""
        if not reset.any():
            return state
        noise = view.streams.normal("restart", view.step, state.alpha.shape[1:])
        fresh = (INIT_SCALE * noise).astype(state.alpha.dtype)
        alpha = np.where(reset[..., None], fresh, state.alpha)
        start = {**self.update.init(alpha), **self.relaxation.init(alpha)}
        slots = dict(state.slots)
        for key in start:
            value = state.slots[key]
            where = reset.all(axis=1) if value.ndim == 1 else reset[..., None]
            slots[key] = np.where(where, start[key], value)
        return state._replace(alpha=alpha, slots=slots)

    def end_epoch(self, state: State, epoch: int, archs: Array, eigenvalue: Array | None) -> State:
        """The rule of stopping looks at the searches that still go on; a stopped one is left as it is."""
        if isinstance(self.stopping, NeverStop):
            return state
        going = state.slots[STOPPED] < 0
        stop, alpha, kept = self.stopping.look(EpochEnd(epoch, state.alpha, archs, eigenvalue), state.slots)
        slots = {**state.slots, **kept, STOPPED: np.where(going & stop, epoch, state.slots[STOPPED])}
        return state._replace(alpha=np.where(going[:, None, None], alpha, state.alpha), slots=slots)

    def reopen(self, state: State, cells: Array, space: Space) -> tuple[State, Array]:
        """Restarts for an ensemble: `S * members` searches from the cells `[S, D]`, one random edge opened again.

        Rows of seed s come together. Each restart has a seed of its own, made from (s, number). Returns the state
        and the opened decision `[S * members]`. Source: BPNAS slides, "Architecture Ensemble".
        """
        seeds = np.array(
            [
                [
                    int(np.random.SeedSequence([int(s), n]).generate_state(1, np.uint64)[0] >> 1)
                    for n in range(self.members)
                ]
                for s in state.seeds
            ],
            dtype=np.int64,
        ).reshape(-1)
        fresh = self.init(space, seeds, state.alpha.dtype)
        edge = (self._streams(seeds).uniform("reopen", 0, (1,))[:, 0] * space.D).astype(np.int64)
        cells = np.repeat(cells, self.members, axis=0)
        mask = np.zeros(fresh.mask.shape, dtype=bool)
        np.put_along_axis(mask, cells[..., None], True, axis=-1)
        row = np.arange(len(edge))
        mask[row, edge] = space.mask[edge]
        return fresh._replace(mask=mask), edge

    def derive(self, state: State, landscape: Landscape, shared: LandscapeState) -> Array:
        """The selected cell `[S, D]`."""
        view = self._view(state, landscape, shared)
        return self.selection.select(view, state.alpha, self.update.sd(state.slots), state.mask)

    def finished(self, state: State) -> Array:
        """Ended by the rule of stopping, or by pruning where one option is left everywhere."""
        out = np.zeros(len(state.mask), dtype=bool)
        if not isinstance(self.pruning, NoPruning):
            out |= (state.mask.sum(axis=2) == 1).all(axis=1)
        if STOPPED in state.slots:
            out |= state.slots[STOPPED] >= 0
        return out

    def distribution(self, state: State) -> Array:
        """theta at the mean of alpha, `[S, D, K]`."""
        return self.relaxation.link.forward(state.alpha, state.mask)

    def hessian(self, state: State, landscape: Landscape, shared: LandscapeState) -> Array | None:
        """Hessian `[S, D*K, D*K]` of the noise-free loss in alpha, at its mean.

        H = J^T H_theta J + sum_k (dL/dtheta_k) d^2 theta_k / dalpha^2, float64.
        """
        theta, first, second = self.relaxation.link.jets(state.alpha, state.mask)
        s, d, k = theta.shape
        at = theta.astype(landscape.dtype)
        outer = landscape.hessian(shared, at).astype(np.float64).reshape(s, d, k, d, k)
        half = np.matmul(outer.transpose(0, 3, 1, 4, 2), first[:, None])  # [S, e, d, l, i]
        full = np.matmul(half.transpose(0, 2, 1, 4, 3), first[:, None])  # [S, d, e, i, j]
        grad = landscape.gradient(shared, at).astype(np.float64)
        rows = np.arange(d)
        full[:, rows, rows] += (grad[..., None, None] * second).sum(axis=2)
        return np.asarray(full.transpose(0, 1, 3, 2, 4).reshape(s, d * k, d * k))

    def curvature(self, state: State, landscape: Landscape, shared: LandscapeState) -> Array | None:
        """Dominant eigenvalue `[S]` of that Hessian; by Lanczos where the landscape has products and many options.

        H v = J^T H_theta (J v) + sum_k (dL/dtheta_k) (d^2 theta_k / dalpha^2) v.
        """
        n = state.alpha.shape[1] * state.alpha.shape[2]
        if "hessian-vector" not in landscape.offers or n <= FEW:
            full = self.hessian(state, landscape, shared)
            return None if full is None else dominant(full)
        theta, first, second = self.relaxation.link.jets(state.alpha, state.mask)
        at = theta.astype(landscape.dtype)
        bend = (landscape.gradient(shared, at).astype(np.float64)[..., None, None] * second).sum(axis=2)
        products = cast(Products, landscape)

        def of(s: int) -> float:
            def product(v: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
                rows = v.reshape(state.alpha.shape[1:])
                ahead = np.einsum("dki,di->dk", first[s], rows).astype(landscape.dtype)
                back = products.hessian_vector(shared, at, ahead, s).astype(np.float64)
                out = np.einsum("dki,dk->di", first[s], back) + np.einsum("dij,dj->di", bend[s], rows)
                return np.asarray(out.reshape(-1))

            return dominant_eigenvalue(product, n) if np.isfinite(bend[s]).all() else float("nan")

        return np.array([of(s) for s in range(len(state.alpha))])


def gradient_searcher(
    name: str,
    *,
    relaxation: Relaxation,
    update: Update,
    pruning: Pruning | None = None,
    selection: Selection | None = None,
    regulariser: Regulariser | None = None,
    stopping: Stopping | None = None,
    warmup: float = 0.0,
    order: int = 1,
    members: int = 0,
    member_epochs: int = 0,
) -> GradientSearcher:
    """A method from its parts; what is not named is the field's default (no pruning, argmax, first order, ...)."""
    if members < 0 or (members and member_epochs < 1):
        raise SpecError(f"members >= 0, each with member_epochs >= 1; got {members} and {member_epochs}")
    if not 0 <= warmup < 1:
        raise SpecError(f"warmup is a share of the search in [0, 1), got {warmup}")
    if isinstance(selection, ProxySample) and update.sd(update.init(np.zeros((1, 1, 1)))) is None:
        raise SpecError(f"{name}: cells can be drawn from a posterior only, and {type(update).__name__} has none")
    return GradientSearcher(
        name,
        relaxation,
        update,
        pruning or NoPruning(),
        selection or Argmax(),
        regulariser,
        stopping or NeverStop(),
        warmup,
        1.0 if order == 2 else 0.0,
        members,
        member_epochs,
    )
