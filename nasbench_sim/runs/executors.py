"""The seam between an ablation and the machines it runs on: one method, three engines.

An executor runs a function on items and yields (position, result) as each finishes. Function and items are plain: an
importable function (or a partial of one) and tuples of text and numbers, so that any engine can carry them. A worker
that dies loses no item: it is run again elsewhere, at most `ATTEMPTS` times in all. Results may come in any order.

process          worker processes of this machine (default)
dask://HOST:PORT the workers of a running Dask scheduler; dask://local starts workers here
slurm            jobs of a Slurm cluster by submitit; option cluster=local runs them as processes here
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, CancelledError, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeVar

from nasbench_sim.errors import RunError, SpecError, unknown
from nasbench_sim.runs.pool import POLL_SECONDS
from nasbench_sim.runs.workers import started

T = TypeVar("T")
R = TypeVar("R")

ATTEMPTS = 3  # as Dask's own default: an item that takes three workers with it does not get a fourth
KINDS = ("process", "dask://HOST:PORT", "dask://local", "slurm")
ARRAY = 1000  # elements of a Slurm job array; Slurm's own limit is 1001 unless raised
_KEPT = "what is finished is kept: continue with --resume"


class Executor(Protocol):
    """Anything that runs a function on items."""

    def run(self, function: Callable[[T], R], items: Sequence[T]) -> Iterator[tuple[int, R]]:
        """Yield (position, `function(items[position])`) as each finishes; raises what the function raises.

        Raises `RunError` where workers keep dying or cannot be reached. Closing the iterator ends the work.
        """
        ...


def make_executor(
    name: str, *, folder: Path, workers: int | None = None, options: Mapping[str, Any] | None = None
) -> Executor:
    """The executor called `name`; `folder` takes an engine's own files, `options` are those of Slurm.

    Raises `SpecError` for an unknown name, workers or options that do not belong to it, and a missing package.

    >>> make_executor("process", folder=Path("x"), workers=2)
    ProcessExecutor(workers=2)
    """
    if workers is not None and workers < 1:
        raise SpecError(f"workers is at least 1, got {workers}")
    if options and name != "slurm":
        raise SpecError(f"options of Slurm ({', '.join(options)}) belong to --executor slurm, not to {name!r}")
    if name == "process":
        return ProcessExecutor(workers or 1)
    if name == "slurm":
        _package("submitit")
        return SlurmExecutor(folder / "slurm", workers, dict(options or {}))
    if name.startswith("dask://"):
        address = name.removeprefix("dask://").rstrip("/")
        host, colon, port = address.rpartition(":")
        if address != "local" and not (colon and host and port.isdecimal() and 0 < int(port[:6]) < 65536):
            raise SpecError(f"executor {name!r}: write dask://HOST:PORT of a scheduler, or dask://local")
        if address != "local" and workers is not None:
            raise SpecError(f"workers of {name} are started with its scheduler; leave --workers away")
        _package("distributed")
        return DaskExecutor(address, workers or 2)
    raise SpecError(unknown("executor", name, KINDS))


def _package(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise SpecError(f"this executor needs {name}: pip install 'nasbench-sim[sweep]'") from error


@dataclass(frozen=True)
class ProcessExecutor:
    """Spawned worker processes with one BLAS thread each; one worker is this process itself."""

    workers: int = 1

    def run(self, function: Callable[[T], R], items: Sequence[T]) -> Iterator[tuple[int, R]]:
        """See `Executor.run`; the death of a worker ends the others too, and all start again with what is left.

        >>> sorted(ProcessExecutor(1).run(abs, [-3, 2]))
        [(0, 3), (1, 2)]
        """
        if self.workers == 1 or len(items) <= 1:
            yield from ((i, function(item)) for i, item in enumerate(items))
            return
        left = dict(enumerate(items))
        for attempt in range(ATTEMPTS):
            try:
                for i, result in self._once(function, left):
                    del left[i]
                    yield i, result
                return
            except BrokenProcessPool as error:
                if attempt == ATTEMPTS - 1:
                    raise RunError(
                        f"worker processes died {ATTEMPTS} times, perhaps of memory; {_KEPT} and fewer --workers"
                    ) from error

    def _once(self, function: Callable[[T], R], items: Mapping[int, T]) -> Iterator[tuple[int, R]]:
        with started(min(self.workers, len(items))) as pool:
            number = {pool.submit(function, item): i for i, item in items.items()}
            waiting = set(number)
            while waiting:
                done, waiting = wait(waiting, timeout=POLL_SECONDS, return_when=FIRST_COMPLETED)
                for future in done:
                    yield number[future], future.result()


@dataclass(frozen=True)
class DaskExecutor:
    """The workers of a Dask scheduler at HOST:PORT; `local` starts `workers` processes here for the time being."""

    address: str
    workers: int = 2
    wait_seconds: float = 60.0

    def run(self, function: Callable[[T], R], items: Sequence[T]) -> Iterator[tuple[int, R]]:
        """See `Executor.run`; Dask gives the items of a dead worker to another one."""
        distributed = _package("distributed")
        with ExitStack() as stack:
            client = self._client(distributed, stack)
            # impure: Dask must not take an earlier grid's result for this one's
            futures = client.map(function, items, pure=False)
            number = {future.key: i for i, future in enumerate(futures)}
            try:
                for future in distributed.as_completed(futures):
                    yield number[future.key], future.result()
            except distributed.scheduler.KilledWorker as error:
                raise RunError(f"an item ended {ATTEMPTS} Dask workers or more, perhaps of memory; {_KEPT}") from error
            except (CancelledError, distributed.comm.CommClosedError) as error:
                raise RunError(f"the Dask scheduler at {self.address} went away; {_KEPT}") from error
            except ModuleNotFoundError as error:
                raise RunError(
                    f"the Dask workers cannot import {error.name}; install the same there; {_KEPT}"
                ) from error

    def _client(self, distributed: Any, stack: ExitStack) -> Any:
        if self.address == "local":
            cluster = distributed.LocalCluster(
                n_workers=self.workers, threads_per_worker=1, processes=True, dashboard_address=None
            )
            stack.enter_context(cluster)
            return stack.enter_context(distributed.Client(cluster))
        try:
            client = distributed.Client(f"tcp://{self.address}", timeout=self.wait_seconds / 6)
            stack.enter_context(client)
        except (OSError, TimeoutError) as error:
            raise RunError(f"no Dask scheduler answers at {self.address}; start one, or check the address") from error
        try:
            client.wait_for_workers(1, timeout=self.wait_seconds)
        except TimeoutError as error:
            raise RunError(f"the Dask scheduler at {self.address} has no worker; start some") from error
        return client


@dataclass(frozen=True)
class SlurmExecutor:
    """Jobs of a Slurm cluster by submitit, whose logs stand in `folder`.

    `options` are those of submitit's `AutoExecutor.update_parameters` (`timeout_min`, `slurm_partition`, ...) and

    cluster: `slurm`, or submitit's `local` (processes of this machine).
    cells_per_job: items that one job runs one after the other (default: 1, more where the array would be too long;
        `local`: all of a worker's).
    poll_seconds: how often to ask (default 10).
    """

    folder: Path
    workers: int | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    def run(self, function: Callable[[T], R], items: Sequence[T]) -> Iterator[tuple[int, R]]:
        """See `Executor.run`; a job that ended without a result (node failure, time-out) is submitted again."""
        submitit = _package("submitit")
        options = dict(self.options)
        cluster = str(options.pop("cluster", "slurm"))
        most = ARRAY if cluster == "slurm" else self.workers or 2  # submitit starts all local jobs at once
        each = max(_whole(options, "cells_per_job", 1), -(-len(items) // most))
        poll = _whole(options, "poll_seconds", 10)
        executor = self._executor(submitit, cluster, options)
        groups = [list(range(start, min(start + each, len(items)))) for start in range(0, len(items), each)]
        for _ in range(ATTEMPTS):
            # jobs of lists: the array's elements share one submission
            jobs = executor.map_array(partial(_in_turn, function), [[items[i] for i in group] for group in groups])
            number, lost = {id(job): group for job, group in zip(jobs, groups, strict=True)}, []
            try:
                for job in submitit.helpers.as_completed(jobs, poll_frequency=poll):
                    try:
                        yield from zip(number[id(job)], job.result(), strict=True)
                    except submitit.core.utils.FailedJobError as error:
                        last = str(error).strip().splitlines()
                        trace = next((line for line in last if "Error" in line and not line.startswith(" ")), last[0])
                        raise RunError(f"job {job.job_id} failed: {trace}; its log is in {self.folder}") from error
                    except submitit.core.utils.UncompletedJobError:
                        lost.append(number[id(job)])
            finally:
                for job in jobs:
                    if not job.done():
                        job.cancel()
            if not lost:
                return
            groups = lost
        raise RunError(f"{len(groups)} jobs ended without a result {ATTEMPTS} times; see {self.folder}; {_KEPT}")

    def _executor(self, submitit: Any, cluster: str, options: dict[str, Any]) -> Any:
        if cluster not in ("slurm", "local"):
            raise SpecError(f"option cluster: {unknown('cluster', cluster, ('slurm', 'local'))}")
        try:
            executor = submitit.AutoExecutor(folder=self.folder, cluster=cluster)
            if cluster == "slurm" and self.workers is not None:
                options = {"slurm_array_parallelism": self.workers, **options}
            executor.update_parameters(**{"name": "nasbench-sim", "timeout_min": 240, **options})
            return executor
        except RuntimeError as error:  # no srun
            raise SpecError(f"no Slurm here ({error}); use --executor process, or submit from a login node") from error
        except (NameError, AssertionError, TypeError, ValueError) as error:
            raise SpecError(f"options of Slurm: {' '.join(str(error).split())[:300]}") from error


def _whole(options: dict[str, Any], name: str, default: int) -> int:
    value = options.pop(name, default)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise SpecError(f"option {name} is a whole number of 1 or more, got {value!r}")
    return value


def _in_turn(function: Callable[[T], R], items: Sequence[T]) -> list[R]:
    return [function(item) for item in items]
