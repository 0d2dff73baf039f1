"""One batch of searches, epoch by epoch: everything that decides numbers is in `Progress`, so it can be resumed.

A search that has ended by its own rule (BPNAS with one option an edge) is not stepped any more; its loss and eigenvalue
are NaN from then on. A search whose alpha is no longer finite has failed: its state is kept as it is, its history is
NaN (cells -1) from that epoch on, and it is counted in every summary. The loop is pure in the sense that matters:
`advance(progress)` from the same progress gives the same arrays, whether the batch ran alone or with others, in one go
or in pieces.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from nasbench_sim.landscapes import Horizon, Landscape, LandscapeState
from nasbench_sim.runs.judge import Judge, TableJudge
from nasbench_sim.runs.problem import check_composition, check_requirements, make_landscape, make_searcher
from nasbench_sim.runs.record import HISTORY
from nasbench_sim.runs.spec import RunSpec
from nasbench_sim.searchers import GradientSearcher, Searcher, State
from nasbench_sim.searchers.base import replace, rows
from nasbench_sim.tables.table import Table

Array = npt.NDArray[Any]


class Progress(NamedTuple):
    """A batch in progress: epochs done (those of the ensemble restarts count on), states, history and members.

    `failed` int64 `[S]`: the epoch in which a search diverged, -1 where it did not.
    """

    epoch: int
    state: State
    shared: LandscapeState
    history: dict[str, Array]
    members: dict[str, Array]
    failed: Array


class Batch:
    """A batch of seeds of one specification on one table.

    `eigenvalues`: set it to False where nobody reads them, and only for methods whose rule of stopping does not: then
    the Hessian of every epoch, the work of 25 steps, is left out.
    """

    eigenvalues = True

    def __init__(self, spec: RunSpec, table: Table, seeds: Array) -> None:
        check_composition(spec)
        searcher, landscape = make_searcher(spec), make_landscape(spec, table)
        check_requirements(spec, searcher, landscape)
        self._set(spec, seeds, searcher, landscape, TableJudge(table, spec.dataset))

    @classmethod
    def on(cls, spec: RunSpec, seeds: Array, searcher: Searcher, landscape: Landscape, judge: Judge) -> Batch:
        """A batch on a landscape that is no table's; raises where the method needs more than it offers."""
        check_requirements(spec, searcher, landscape)
        batch = cls.__new__(cls)
        batch._set(spec, seeds, searcher, landscape, judge)
        return batch

    def _set(self, spec: RunSpec, seeds: Array, searcher: Searcher, landscape: Landscape, judge: Judge) -> None:
        self.spec, self.searcher, self.landscape, self.judge = spec, searcher, landscape, judge
        self.seeds = np.asarray(seeds, dtype=np.int64)

    @property
    def epochs(self) -> int:
        """Epochs of the search plus those of the ensemble restarts."""
        return self.spec.epochs + (self._ensemble.member_epochs if self._ensemble else 0)

    @property
    def _ensemble(self) -> GradientSearcher | None:
        """The searcher, where it restarts for an ensemble."""
        searcher = self.searcher
        return searcher if isinstance(searcher, GradientSearcher) and searcher.members else None

    def start(self) -> Progress:
        """Nothing done yet; history is NaN (cells -1)."""
        s, e, d = len(self.seeds), self.spec.epochs, self.judge.space.D
        names = (*HISTORY, *self.judge.roles, *self.judge.notes)
        history: dict[str, Array] = {name: np.full((s, e), np.nan, dtype=np.float32) for name in names}
        history["archs"] = np.full((s, e, d), -1, dtype=np.int8)
        return Progress(
            0,
            self.searcher.init(self.judge.space, self.seeds, self.spec.dtype),
            self.landscape.init(self.seeds, Horizon(e, self.spec.steps_per_epoch)),
            history,
            {},
            np.full(s, -1, dtype=np.int64),
        )

    def advance(self, progress: Progress) -> Progress:
        """One epoch further."""
        epoch, state, shared, history, members, failed = progress
        if epoch == self.spec.epochs:
            state, shared, members = self._reopen(state, shared, history["archs"][:, -1], failed)
        over = self._failed_rows(state, failed) | self.searcher.finished(state)
        loss = np.full(len(over), np.nan)
        if not over.any():
            state, shared, loss = self._epoch(state, shared)
        elif not over.all():
            going = np.nonzero(~over)[0]
            new_state, new_shared, loss[going] = self._epoch(rows(state, going), rows(shared, going))
            state, shared = replace(state, going, new_state), replace(shared, going, new_shared)
        if epoch >= self.spec.epochs:
            members = self._note_members(members, epoch - self.spec.epochs, state, shared, failed)
            return Progress(epoch + 1, state, shared, history, members, failed)
        broken = ~np.isfinite(state.alpha).all(axis=(1, 2)) & (failed < 0)
        failed = np.where(broken, epoch, failed)
        good = np.nonzero(failed < 0)[0]
        if len(good):
            some, row = self._note(epoch, rows(state, good), rows(shared, good), loss[good])
            state = replace(state, good, some)
            history = {name: values.copy() for name, values in history.items()}
            for name, values in row.items():
                history[name][good, epoch] = values
        return Progress(epoch + 1, state, shared, history, members, failed)

    def final_state(self, progresses: Sequence[Progress]) -> dict[str, Array]:
        """What a record keeps beside history and cells: `theta` `[S, D, K]` after the last epoch, of all parts.

        Nothing where restarts of an ensemble have taken the place of the searches.
        """
        if self._ensemble:
            return {}
        return {"theta": np.concatenate([self.searcher.distribution(p.state) for p in progresses])}

    def _failed_rows(self, state: State, failed: Array) -> Array:
        """bool, one a row of `state`: the search of that seed (or the search it restarts) has failed."""
        return np.repeat(failed >= 0, len(state.seeds) // len(failed))

    def _epoch(self, state: State, shared: LandscapeState) -> tuple[State, LandscapeState, Array]:
        """One epoch of every row; the mean loss `[S]` of the steps that saw one."""
        total = np.zeros(len(state.seeds), dtype=np.float64)
        count = np.zeros(len(state.seeds), dtype=np.int64)
        with np.errstate(over="ignore", invalid="ignore"):  # noted as a failure at the epoch's end
            for _ in range(self.spec.steps_per_epoch):
                state, shared, info = self.searcher.step(state, self.landscape, shared)
                seen = ~np.isnan(info.loss)
                total += np.where(seen, info.loss, 0)
                count += seen
        return state, shared, np.divide(total, count, out=np.full(len(total), np.nan), where=count > 0)

    def _note(self, epoch: int, state: State, shared: LandscapeState, loss: Array) -> tuple[State, dict[str, Array]]:
        """What the record says of this epoch, and the state after the rule of stopping has looked at it."""
        space = self.judge.space
        archs = self.searcher.derive(state, self.landscape, shared)
        ended = self.searcher.finished(state)
        eigenvalue = self.searcher.curvature(state, self.landscape, shared) if self.eigenvalues else None
        after = self.searcher.end_epoch(state, epoch, archs, eigenvalue)
        if after is not state:
            archs = self.searcher.derive(after, self.landscape, shared)
        theta = self.searcher.distribution(after).astype(np.float64)
        logs = np.log(theta, out=np.zeros_like(theta), where=theta > 0)
        row: dict[str, Array] = {
            "loss": loss,
            "skip_ratio": space.skip[np.arange(space.D), archs].mean(axis=1),
            "entropy": -(theta * logs).sum(axis=2).mean(axis=1),
            "active_ops": after.mask.sum(axis=(1, 2)),
            "archs": archs,
        }
        if eigenvalue is not None:
            row["eigenvalue"] = np.where(ended, np.nan, eigenvalue)
        return after, {**row, **self.judge.score(shared, archs)}

    def _reopen(
        self, state: State, shared: LandscapeState, cells: Array, failed: Array
    ) -> tuple[State, LandscapeState, dict[str, Array]]:
        assert self._ensemble is not None
        n = self._ensemble.members
        cells = np.where(failed[:, None] < 0, cells, 0).astype(np.int64)  # a failed search has none, and no restarts
        state, edge = self._ensemble.reopen(state, cells, self.judge.space)
        shared = rows(shared, np.repeat(np.arange(len(self.seeds)), n))
        # searches end at different steps; the restarts go on together from the end of the schedule
        step = np.full(len(state.seeds), shared.horizon.steps, dtype=np.int64)
        shared = shared._replace(seeds=state.seeds, step=step)
        shape = (len(self.seeds), n)
        return state, shared, {"opened": edge.reshape(shape), "converged": np.full(shape, -1, dtype=np.int64)}

    def _note_members(
        self, members: dict[str, Array], epoch: int, state: State, shared: LandscapeState, failed: Array
    ) -> dict[str, Array]:
        shape = members["opened"].shape
        single = (state.mask.sum(axis=2) == 1).all(axis=1).reshape(shape)
        converged = np.where((members["converged"] < 0) & single, epoch + 1, members["converged"])
        broken = np.repeat(failed >= 0, shape[1]) | ~np.isfinite(state.alpha).all(axis=(1, 2))
        archs = np.where(broken[:, None], -1, np.where(state.mask, state.alpha, -np.inf).argmax(axis=2))
        scores = self.judge.score(shared, np.maximum(archs, 0))
        accuracy = {
            role: np.where(broken, np.nan, scores[role]).astype(np.float32).reshape(shape) for role in self.judge.roles
        }
        archs = archs.reshape(*shape, -1)
        return {"opened": members["opened"], "converged": converged, "archs": archs, **accuracy}
