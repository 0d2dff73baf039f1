"""Doing the work: parts of runs on a few processes, with progress, checkpoints and a clean stop.

Seeds do not touch one another, so parts run in separate processes with one BLAS thread each and give the same bits as
one process would. Workers report epochs through shared counters; the parent never waits on them for anything else.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

import numpy as np
from threadpoolctl import threadpool_limits

from nasbench_sim.errors import RunError
from nasbench_sim.runs.checkpoint import load_checkpoint, save_checkpoint
from nasbench_sim.runs.engine import Progress
from nasbench_sim.runs.evaluations import make_batch
from nasbench_sim.runs.spec import RunSpec
from nasbench_sim.runs.workers import ours, started, stopped
from nasbench_sim.tables.table import Table

POLL_SECONDS = 0.2
DIED = (
    "a worker process died, perhaps for lack of memory: use fewer workers or seeds; a script that registers methods of "
    'its own must search under `if __name__ == "__main__":`'
)


class Job(NamedTuple):
    """One part of one run: its seeds, and where it keeps its progress (None: nowhere)."""

    run: int
    part: int
    spec: RunSpec
    start: int
    stop: int
    checkpoint: Path | None
    interval: float  # seconds between checkpoints


class Done(NamedTuple):
    """A finished or interrupted part: `progress` is None when it was stopped (its checkpoint holds the rest)."""

    run: int
    part: int
    progress: Progress | None
    seconds: float


def work(job: Job, table: Table, tick: Callable[[int, int], None], stopped: Callable[[], bool]) -> Done:
    """Run one part to its end, or to the next epoch's end after `stopped()`; `tick(done, total)` after every epoch."""
    began = time.perf_counter()
    seeds = np.array(job.spec.seeds[job.start : job.stop], dtype=np.int64)
    batch = make_batch(job.spec, table, seeds)
    known = {"digest": job.spec.digest, "table_sha256": table.sha256}
    resumed = job.checkpoint is not None and job.checkpoint.exists()
    progress = load_checkpoint(job.checkpoint, **known) if resumed and job.checkpoint else batch.start()
    saved = time.monotonic()
    tick(progress.epoch, batch.epochs)
    while progress.epoch < batch.epochs:
        if stopped():
            if job.checkpoint is not None:
                save_checkpoint(job.checkpoint, progress, **known)
            return Done(job.run, job.part, None, time.perf_counter() - began)
        progress = batch.advance(progress)
        tick(progress.epoch, batch.epochs)
        if job.checkpoint is not None and time.monotonic() - saved >= job.interval:
            save_checkpoint(job.checkpoint, progress, **known)
            saved = time.monotonic()
    if job.checkpoint is not None:
        save_checkpoint(job.checkpoint, progress, **known)
    return Done(job.run, job.part, progress, time.perf_counter() - began)


def _in_worker(number: int, job: Job) -> Done:
    def tick(done: int, total: int) -> None:
        ours("counters")[number] = done

    return work(job, ours("table"), tick, stopped)


def run_jobs(
    jobs: Sequence[Job], table: Table, *, workers: int, on_tick: Callable[[Sequence[int]], None]
) -> Iterator[Done]:
    """Yield parts as they finish; `on_tick(epochs done a job)` at least every `POLL_SECONDS` and after each part.

    One worker runs in this process. On KeyboardInterrupt every part stops at its next epoch's end, saves its
    checkpoint, and the interrupt is raised again.
    """
    if workers <= 1 or len(jobs) == 1:
        yield from _here(jobs, table, on_tick)
        return
    at_work = min(workers, len(jobs))
    counters = get_context("spawn").Array("q", [-1] * len(jobs))
    try:
        with started(at_work, inherited={"counters": counters}, table=table) as pool:
            waiting = {pool.submit(_in_worker, i, job) for i, job in enumerate(jobs)}
            while waiting:
                finished, waiting = wait(waiting, timeout=POLL_SECONDS, return_when=FIRST_COMPLETED)
                seen = counters[:]
                if sum(n >= 0 for n in seen) >= at_work:  # before, a resumed run would seem to begin anew
                    on_tick([max(n, 0) for n in seen])
                for future in finished:
                    yield future.result()
    except BrokenProcessPool as error:
        raise RunError(DIED) from error


def _here(jobs: Sequence[Job], table: Table, on_tick: Callable[[Sequence[int]], None]) -> Iterator[Done]:
    done = [0] * len(jobs)
    with threadpool_limits(1):
        for i, job in enumerate(jobs):

            def tick(epoch: int, total: int, i: int = i) -> None:
                done[i] = epoch
                on_tick(done)

            # Ctrl-C ends it mid-epoch: the last checkpoint stays, the epochs since are lost
            yield work(job, table, tick, lambda: False)
