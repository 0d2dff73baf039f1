"""One batch of searches, epoch by epoch: everything that decides numbers is in `Progress`, so it can be resumed.

A search that has ended by its own rule (BPNAS with one option an edge) is not stepped any more; its loss and eigenvalue
are NaN from then on. The loop is pure in the sense that matters: `advance(progress)` from the same progress gives the
same arrays, whether the batch ran alone or with others, in one go or in pieces.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from nasbench_sim.errors import SearchDiverged
from nasbench_sim.landscapes import Horizon, Landscape, LandscapeState
from nasbench_sim.runs.problem import make_landscape, make_searcher
from nasbench_sim.runs.record import HISTORY
from nasbench_sim.runs.spec import RunSpec
from nasbench_sim.searchers import GradientSearcher, Searcher, State
from nasbench_sim.searchers.base import replace, rows
from nasbench_sim.tables.table import Table

Array = npt.NDArray[Any]


class Progress(NamedTuple):
    """A batch in progress: epochs done (those of the ensemble restarts count on), states, history and members."""

    epoch: int
    state: State
    shared: LandscapeState
    history: dict[str, Array]
    members: dict[str, Array]


class Batch:
    """A batch of seeds of one specification on one table."""

    def __init__(self, spec: RunSpec, table: Table, seeds: Array) -> None:
        self.spec, self.table = spec, table
        self.seeds = np.asarray(seeds, dtype=np.int64)
        self.landscape: Landscape = make_landscape(spec, table)
        self.searcher: Searcher = make_searcher(spec)
        self._roles = table.report_keys_for(spec.dataset)

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
        s, e, d = len(self.seeds), self.spec.epochs, self.table.space.D
        history: dict[str, Array] = {
            name: np.full((s, e), np.nan, dtype=np.float32) for name in (*HISTORY, *self._roles)
        }
        history["archs"] = np.full((s, e, d), -1, dtype=np.int8)
        return Progress(
            0,
            self.searcher.init(self.table.space, self.seeds, self.spec.dtype),
            self.landscape.init(self.seeds, Horizon(e, self.spec.steps_per_epoch)),
            history,
            {},
        )

    def advance(self, progress: Progress) -> Progress:
        """One epoch further."""
        epoch, state, shared, history, members = progress
        if epoch == self.spec.epochs:
            state, shared, members = self._reopen(state, shared)
        ended = self.searcher.finished(state)
        loss = np.full(len(ended), np.nan)
        if not ended.any():
            state, shared, loss = self._epoch(state, shared)
        elif not ended.all():
            going = np.nonzero(~ended)[0]
            new_state, new_shared, loss[going] = self._epoch(rows(state, going), rows(shared, going))
            state, shared = replace(state, going, new_state), replace(shared, going, new_shared)
        self._check(state, epoch)
        if epoch < self.spec.epochs:
            history = self._note(history, epoch, state, shared, loss)
        else:
            members = self._note_members(members, epoch - self.spec.epochs, state)
        return Progress(epoch + 1, state, shared, history, members)

    def _epoch(self, state: State, shared: LandscapeState) -> tuple[State, LandscapeState, Array]:
        """One epoch of every row; the mean loss `[S]` of the steps that saw one."""
        total = np.zeros(len(state.seeds), dtype=np.float64)
        count = np.zeros(len(state.seeds), dtype=np.int64)
        with np.errstate(over="ignore", invalid="ignore"):  # _check tells of it, with the seeds
            for _ in range(self.spec.steps_per_epoch):
                state, shared, info = self.searcher.step(state, self.landscape, shared)
                seen = ~np.isnan(info.loss)
                total += np.where(seen, info.loss, 0)
                count += seen
        return state, shared, np.divide(total, count, out=np.full(len(total), np.nan), where=count > 0)

    def _check(self, state: State, epoch: int) -> None:
        bad = np.asarray(~np.isfinite(state.alpha).all(axis=(1, 2)))
        if bad.any():
            seeds = ", ".join(str(s) for s in state.seeds[bad][:5])
            raise SearchDiverged(
                f"{self.spec.method}: alpha is no longer finite in epoch {epoch} for {int(bad.sum())} of {len(bad)} "
                f"seeds (first: {seeds}); lower the learning rate"
            )

    def _note(
        self, history: dict[str, Array], epoch: int, state: State, shared: LandscapeState, loss: Array
    ) -> dict[str, Array]:
        space = self.table.space
        archs = self.searcher.derive(state)
        theta = self.searcher.distribution(state).astype(np.float64)
        logs = np.log(theta, out=np.zeros_like(theta), where=theta > 0)
        hessian = self.searcher.hessian(state, self.landscape, shared)
        row: dict[str, Array] = {
            "loss": loss,
            "skip_ratio": space.skip[np.arange(space.D), archs].mean(axis=1),
            "entropy": -(theta * logs).sum(axis=2).mean(axis=1),
            "active_ops": state.mask.sum(axis=(1, 2)),
            "archs": archs,
        }
        if hessian is not None:
            largest = np.abs(np.linalg.eigvalsh(hessian)).max(axis=1)
            row["eigenvalue"] = np.where(self.searcher.finished(state), np.nan, largest)
        index = space.index(archs)
        for role, key in self._roles.items():
            row[role] = self.table.accuracy[key][index]
        new = {name: values.copy() for name, values in history.items()}
        for name, values in row.items():
            new[name][:, epoch] = values
        return new

    def _reopen(self, state: State, shared: LandscapeState) -> tuple[State, LandscapeState, dict[str, Array]]:
        assert self._ensemble is not None
        n = self._ensemble.members
        state, edge = self._ensemble.reopen(state, self.table.space)
        shared = rows(shared, np.repeat(np.arange(len(self.seeds)), n))
        # searches end at different steps; the restarts go on together from the end of the schedule
        step = np.full(len(state.seeds), shared.horizon.steps, dtype=np.int64)
        shared = shared._replace(seeds=state.seeds, step=step)
        shape = (len(self.seeds), n)
        return state, shared, {"opened": edge.reshape(shape), "converged": np.full(shape, -1, dtype=np.int64)}

    def _note_members(self, members: dict[str, Array], epoch: int, state: State) -> dict[str, Array]:
        shape = members["opened"].shape
        single = (state.mask.sum(axis=2) == 1).all(axis=1).reshape(shape)
        converged = np.where((members["converged"] < 0) & single, epoch + 1, members["converged"])
        archs = self.searcher.derive(state).reshape(*shape, -1)
        index = self.table.space.index(archs)
        accuracy = {role: self.table.accuracy[key][index] for role, key in self._roles.items()}
        return {"opened": members["opened"], "converged": converged, "archs": archs, **accuracy}
