"""`search`: one method, many seeds, one record. `search_all`: several of them on the same processes."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from nasbench_sim.errors import RunError, SpecError
from nasbench_sim.runs.assemble import assemble
from nasbench_sim.runs.engine import Batch
from nasbench_sim.runs.evaluations import EvaluationBatch, make_batch
from nasbench_sim.runs.plan import Plan, clear_checkpoints, make_parts, open_folder, work_of
from nasbench_sim.runs.pool import Done, Job, run_jobs
from nasbench_sim.runs.problem import default_landscape, describe_table, measured_cells
from nasbench_sim.runs.record import Run
from nasbench_sim.runs.spec import RunSpec, make_spec
from nasbench_sim.searchers import get_method
from nasbench_sim.searchers.gradient import StepOrder
from nasbench_sim.tables.table import Table

#: a method of so much work a step or evaluation (DARTS: 1) goes seed by seed, so that large batches save nothing
ONE_BY_ONE = 1000.0
#: seed-steps of DARTS below which starting processes (about 1 s each) costs more than it saves
SMALL = 500_000
CHECKPOINT_SECONDS = 5.0

Tick = Callable[[Sequence[tuple[int, int]]], None]


def cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def search(
    method: str,
    *,
    table: Table,
    dataset: str,
    landscape: Literal["tabular", "shared", "evaluations"] | None = None,
    seeds: Iterable[int] | int = 200,
    epochs: int = 50,
    steps_per_epoch: int = 391,
    params: Mapping[str, Any] | None = None,
    landscape_params: Mapping[str, Any] | None = None,
    dtype: Literal["float32", "float64"] = "float32",
    budget: float | None = None,
    penalty: Mapping[str, float] | None = None,
    step_order: StepOrder = "together",
    out: Path | str | None = None,
    resume: bool = False,
    overwrite: bool = False,
    workers: int | None = None,
) -> Run:
    """Run one method for many seeds at once and return its record.

    `landscape`: default `shared` for gradient and weight-sharing methods, `evaluations` for black-box ones, `tabular`
    for training-free ones. `seeds`: their number, or the seeds themselves. `budget`: simulated seconds of a black-box
    search. `penalty`: metric -> weight, see `RunSpec`; `step_order`: see `GradientSearcher`. `out`: a folder for
    checkpoints and the record (none: in memory). `workers`: processes (default: the cores, or this process alone for
    small runs). Raises `SpecError`, `RunError`, `NotMeasured`.

    Example
    -------
    >>> import nasbench_sim as nb
    >>> run = nb.search("darts", table=nb.open_table("nb201-analog"), dataset="cifar10", landscape="tabular",
    ...                 seeds=range(3), epochs=2, steps_per_epoch=50)
    >>> run.archs.shape, run.history["skip_ratio"].shape
    ((3, 6), (3, 2))
    """
    spec = make_spec(
        method=method,
        params=dict(params or {}),
        table=table.name,
        dataset=dataset,
        landscape=landscape or default_landscape(method),
        landscape_params=dict(landscape_params or {}),
        seeds=seeds if isinstance(seeds, (int, range)) else tuple(int(s) for s in seeds),
        epochs=epochs,
        steps_per_epoch=steps_per_epoch,
        dtype=dtype,
        budget=budget,
        penalty=dict(penalty or {}),
        step_order=step_order,
    )
    folder = None if out is None else Path(out)
    results = search_all(
        [spec], table, folders=[folder], resume=resume, overwrite=overwrite, workers=workers, on_tick=lambda _: None
    )
    return next(iter(results))[1]


def check_possible(spec: RunSpec, table: Table) -> Batch | EvaluationBatch:
    """A batch of the first seed: raises `SpecError` or `NotMeasured` for what cannot run on this table."""
    return make_batch(spec, table, np.array(spec.seeds[:1]))


def search_all(
    specs: Sequence[RunSpec],
    table: Table,
    *,
    folders: Sequence[Path | None],
    on_tick: Tick,
    resume: bool | Sequence[bool] = False,
    overwrite: bool = False,
    workers: int | None = None,
    interval: float = CHECKPOINT_SECONDS,
) -> Iterator[tuple[int, Run]]:
    """Run several specifications on one set of processes; yields (number, record) as each finishes.

    Every specification is checked before anything runs. `resume`: for all of them, or one a specification. `on_tick`
    gets (epochs done, epochs in all) a run.
    """
    if workers is not None and workers < 1:
        raise SpecError(f"workers is at least 1, got {workers}")
    batches = [check_possible(spec, table) for spec in specs]
    works = [work_of(spec) for spec in specs]
    if workers is None:
        workers = 1 if sum(works) < SMALL else cores()
    totals = [batch.epochs for batch in batches]
    jobs: list[Job] = []
    plans: list[Plan] = []
    resumed = [resume] * len(specs) if isinstance(resume, bool) else resume
    for number, (spec, folder) in enumerate(zip(specs, folders, strict=True)):
        least = 1 if get_method(spec.method).work >= ONE_BY_ONE else 64
        share = math.ceil(workers * works[number] / max(sum(works), 1.0) - 1e-9)  # one long run must not end alone
        plan = Plan(spec, table.sha256, make_parts(len(spec.seeds), max(1, share), least))
        if folder is not None:
            plan = open_folder(folder, plan, resume=resumed[number], overwrite=overwrite)
        plans.append(plan)
        for part, (start, stop) in enumerate(plan.parts):
            checkpoint = None if folder is None else plan.checkpoint(folder, part)
            jobs.append(Job(number, part, spec, start, stop, checkpoint, interval))

    def tick(done: Sequence[int]) -> None:
        epochs = [[done[i] for i, job in enumerate(jobs) if job.run == n] for n in range(len(specs))]
        on_tick([(sum(e) // len(e), total) for e, total in zip(epochs, totals, strict=True)])

    collected: dict[int, dict[int, Done]] = {n: {} for n in range(len(specs))}
    for done in run_jobs(jobs, table, workers=workers, on_tick=tick):
        if done.progress is None:
            raise RunError("a part of the run was stopped; continue with --resume")
        parts = collected[done.run]
        parts[done.part] = done
        if len(parts) == len(plans[done.run].parts):
            ordered = [parts[i] for i in range(len(parts))]
            about = {
                **describe_table(table, plans[done.run].spec.dataset),
                "loss": batches[done.run].landscape.loss_name,
            }
            spec, progresses = plans[done.run].spec, [d.progress for d in ordered if d.progress is not None]
            run = assemble(spec, about, progresses, batches[done.run], seconds=sum(d.seconds for d in ordered))
            measured = measured_cells(table, spec.dataset, run.archs)
            run = replace(run, final_state={**run.final_state, **measured})
            folder = folders[done.run]
            if folder is not None:
                run.save(folder)
                clear_checkpoints(folder)
            yield done.run, run
            collected[done.run] = {}
