"""Composition of a gradient-based search method from its parts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from nasbench_sim.errors import SpecError
from nasbench_sim.landscapes.base import Landscape, LandscapeState, StreamCache
from nasbench_sim.searchers.base import Info, State, View
from nasbench_sim.searchers.pruning import NoPruning, Pruning
from nasbench_sim.searchers.relaxations import Relaxation
from nasbench_sim.searchers.updates import Update
from nasbench_sim.spaces import Space

Array = npt.NDArray[Any]

INIT_SCALE = 1e-3  # alpha starts at 1e-3 N(0, 1) in every published implementation (FACTS A.1)

Selection = Callable[[Array, Array], Array]


def argmax() -> Selection:
    """The option with the largest alpha at each decision, `none` included, as in the NAS-Bench-201 scripts."""

    def select(alpha: Array, mask: Array) -> Array:
        return np.asarray(np.where(mask, alpha, -np.inf).argmax(axis=-1))

    return select


@dataclass(frozen=True)
class GradientSearcher:
    """relaxation x update x pruning x selection, one architecture step and one weight step at a time.

    Both steps of step t use theta_t: the shared weights train at the forward weights the architecture gradient was
    taken at. Published scripts differ in which of the two goes first; that shifts one by a single step of ~20,000.
    """

    name: str
    relaxation: Relaxation
    update: Update
    pruning: Pruning = field(default_factory=NoPruning)
    selection: Selection = field(default_factory=argmax)
    members: int = 0
    member_epochs: int = 0
    _streams: StreamCache = field(default_factory=StreamCache, repr=False, compare=False)

    def init(self, space: Space, seeds: Array, dtype: npt.DTypeLike = np.float32) -> State:
        """alpha = 1e-3 N(0, 1), every option active."""
        seeds = np.asarray(seeds, dtype=np.int64)
        noise = self._streams(seeds).normal("init", 0, (space.D, space.K))
        alpha = (INIT_SCALE * noise.astype(np.float64)).astype(dtype)
        mask = np.broadcast_to(space.mask, alpha.shape).copy()
        return State(seeds, np.zeros(len(seeds), dtype=np.int64), alpha, mask, self.update.init(alpha))

    def _mask(self, state: State) -> Array | None:
        # without pruning and with equal option counts the mask is all True: not looking at it saves 3 passes a step
        if isinstance(self.pruning, NoPruning) and state.mask.all():
            return None
        return state.mask

    def step(self, state: State, landscape: Landscape, shared: LandscapeState) -> tuple[State, LandscapeState, Info]:
        """Estimate, weight step, update, prune."""
        number = int(state.step[0])
        view = View(landscape, shared, self._streams(state.seeds), number)
        mask = self._mask(state)
        seen = self.relaxation.estimate(view, state.alpha, self.update.sd(state.slots), mask)
        shared = landscape.train_weights(shared, seen.usage, 1)
        alpha, slots = self.update.apply(state.alpha, seen, state.slots)
        new = State(state.seeds, state.step + 1, alpha, state.mask, slots)
        cut = self.pruning.apply(view, alpha, state.mask, self.relaxation.link)
        if cut is not None:
            new = self._restart(new._replace(mask=cut.mask), cut.reset, view)
        return new, shared, Info(seen.loss, seen.usage)

    def _restart(self, state: State, reset: Array, view: View) -> State:
        """alpha and the update's memory as at the start on the rows `reset[S, D]`; its clock where all rows restart."""
        if not reset.any():
            return state
        noise = view.streams.normal("restart", view.step, state.alpha.shape[1:])
        fresh = (INIT_SCALE * noise).astype(state.alpha.dtype)
        alpha = np.where(reset[..., None], fresh, state.alpha)
        start = self.update.init(alpha)
        slots = {}
        for key, value in state.slots.items():
            where = reset.all(axis=1) if value.ndim == 1 else reset[..., None]
            slots[key] = np.where(where, start[key], value)
        return state._replace(alpha=alpha, slots=slots)

    def reopen(self, state: State, space: Space) -> tuple[State, Array]:
        """Restarts for an ensemble: `S * members` searches, each the derived cell with one random edge opened again.

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
        cells = np.repeat(self.derive(state), self.members, axis=0)
        mask = np.zeros(fresh.mask.shape, dtype=bool)
        np.put_along_axis(mask, cells[..., None], True, axis=-1)
        row = np.arange(len(edge))
        mask[row, edge] = space.mask[edge]
        return fresh._replace(mask=mask), edge

    def derive(self, state: State) -> Array:
        """The selected cell `[S, D]`."""
        return self.selection(state.alpha, state.mask)

    def finished(self, state: State) -> Array:
        """A pruning method has ended where one option is left everywhere; the others go on to the last epoch."""
        if isinstance(self.pruning, NoPruning):
            return np.zeros(len(state.mask), dtype=bool)
        return np.asarray((state.mask.sum(axis=2) == 1).all(axis=1))

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


def gradient_searcher(
    name: str,
    *,
    relaxation: Relaxation,
    update: Update,
    pruning: Pruning | None = None,
    selection: Selection | None = None,
    members: int = 0,
    member_epochs: int = 0,
) -> GradientSearcher:
    """A method from its parts; what is not named is the field's default (no pruning, argmax, no ensemble restarts)."""
    if members < 0 or (members and member_epochs < 1):
        raise SpecError(f"members >= 0, each with member_epochs >= 1; got {members} and {member_epochs}")
    return GradientSearcher(
        name, relaxation, update, pruning or NoPruning(), selection or argmax(), members, member_epochs
    )
