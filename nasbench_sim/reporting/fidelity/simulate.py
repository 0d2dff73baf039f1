"""The simulated searches of a comparison: many at once, on a few processes, followed epoch by epoch."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import as_completed
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits

from nasbench_sim.errors import RunError
from nasbench_sim.reporting.fidelity.recordings import skip_mass
from nasbench_sim.reporting.one_shot import correlation
from nasbench_sim.runs.assemble import assemble
from nasbench_sim.runs.engine import Batch, Progress
from nasbench_sim.runs.plan import work_of
from nasbench_sim.runs.problem import describe_table
from nasbench_sim.runs.record import Run
from nasbench_sim.runs.spec import RunSpec
from nasbench_sim.runs.workers import ours, started, stopped
from nasbench_sim.searchers import GradientSearcher
from nasbench_sim.searchers.base import rows
from nasbench_sim.searchers.stopping import NeverStop
from nasbench_sim.tables.table import Table

Array = npt.NDArray[Any]
SEEN = 8  # simulated searches whose shared weights rank cells: their taus differ by some hundredths


class Job(NamedTuple):
    """One simulated run: its key, specification and table's name; where its one-shot ranking is looked at."""

    key: tuple[str, ...]
    spec: RunSpec
    table: str
    looked: tuple[int, ...] = ()
    cells: tuple[int, ...] = ()


class Followed(NamedTuple):
    """A run, `theta_skip` `[S, E]` (mean probability of skips), `tau` `[SEEN, L]` of its cells (may be empty)."""

    run: Run
    theta_skip: Array
    tau: Array


def follow(job: Job, table: Table, stop: Callable[[], bool] = lambda: False) -> Followed:
    """Search to the end and note what a recording notes; raises `RunError` when stopped."""
    began = time.perf_counter()
    batch = Batch(job.spec, table, np.array(job.spec.seeds, dtype=np.int64))
    if isinstance(batch.searcher, GradientSearcher):
        batch.eigenvalues = not isinstance(batch.searcher.stopping, NeverStop)
    progress, skips, taus = batch.start(), [], []
    space, cells = batch.judge.space, np.array(job.cells, dtype=np.int64)
    truth = accuracies(table, job.spec.dataset)[cells].astype(np.float64)
    cells, truth = cells[~np.isnan(truth)], truth[~np.isnan(truth)]
    for epoch in range(1, batch.spec.epochs + 1):
        if stop():
            raise RunError("interrupted")
        progress = batch.advance(progress)
        skips.append(skip_mass(batch.searcher.distribution(progress.state).astype(np.float64), space))
        if epoch in job.looked and len(cells) > 2:
            taus.append(_taus(batch, progress, space.at(cells), truth))
    about = {**describe_table(table, job.spec.dataset), "loss": batch.landscape.loss_name}
    run = assemble(job.spec, about, [progress], batch, seconds=time.perf_counter() - began)
    tau = np.array(taus).T if taus else np.empty((0, 0))
    return Followed(run, np.stack(skips, axis=1), tau[~np.isnan(tau).any(axis=1)])


def _taus(batch: Batch, progress: Progress, archs: Array, truth: Array) -> list[float]:
    """Kendall's tau of the modelled one-shot losses and the table's accuracies, of the first searches."""
    from scipy.stats import kendalltau

    some = np.arange(min(SEEN, len(progress.failed)))
    shared = rows(progress.shared, some)
    loss = batch.landscape.arch_loss(shared, np.repeat(archs[None], len(some), axis=0)).astype(np.float64)
    return [correlation(kendalltau, row, truth) for row in loss]


def accuracies(table: Table, dataset: str) -> Array:
    """What a derived cell is judged by, `[A]` percent: the table's test accuracy, or its only one."""
    keys = table.report_keys_for(dataset)
    return np.asarray(table.accuracy[keys[role_of(table, dataset)]])


def role_of(table: Table, dataset: str) -> str:
    """`test` where the table has it, else its first accuracy."""
    keys = table.report_keys_for(dataset)
    return "test" if "test" in keys else next(iter(keys))


def simulate(
    jobs: Sequence[Job], tables: Mapping[str, Table], *, workers: int, on_tick: Callable[[int, int], None]
) -> dict[tuple[str, ...], Followed]:
    """Every job's result by its key; `on_tick(done, all)` as they finish. More than one worker: processes."""
    out: dict[tuple[str, ...], Followed] = {}
    for key, found in _results(sorted(jobs, key=lambda job: -work_of(job.spec)), tables, workers):
        out[key] = found
        on_tick(len(out), len(jobs))
    return out


def _results(
    jobs: Sequence[Job], tables: Mapping[str, Table], workers: int
) -> Iterator[tuple[tuple[str, ...], Followed]]:
    if workers <= 1 or len(jobs) < 2:
        with threadpool_limits(1):
            for job in jobs:
                yield job.key, follow(job, tables[job.table])
        return
    given = {job.table: tables[job.table] for job in jobs}
    with started(min(workers, len(jobs)), tables=given) as pool:
        waiting = {pool.submit(_in_worker, job): job for job in jobs}
        for future in as_completed(waiting):
            yield waiting[future].key, future.result()


def _in_worker(job: Job) -> Followed:
    return follow(job, ours("tables")[job.table], stopped)
