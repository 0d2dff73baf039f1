"""`gpu-validation record`: a search on a true supernet, and what its shared weights say of other cells meanwhile."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gpu_validation.cli.options import (
    Data,
    DataFolder,
    Device,
    Net,
    Threads,
    check_out,
    limit_threads,
    need_torch,
    net_settings,
    open_data,
)
from gpu_validation.cli.searching import epoch_line
from nasbench_sim.cli.console import Json, Seeds, console, print_json, progress_bar, seed_list, settings
from nasbench_sim.cli.searching import one_line
from nasbench_sim.errors import SpecError
from nasbench_sim.resources import data_path

if TYPE_CHECKING:
    from nasbench_sim.runs.engine import Progress


#: what a plan says itself; these options go with a method
_OF_A_METHOD = (
    *("data", "space", "seeds", "epochs", "steps_per_epoch", "every", "cells", "predictions", "set_", "net"),
    *("resume", "overwrite"),
)


def record(
    context: typer.Context,
    method: Annotated[
        str, typer.Argument(help="What trains the supernet: rsps for uniform single paths, darts, ...; or a plan.")
    ],
    out: Annotated[Path, typer.Option(help="Folder for the record, the recording and the predictions.")],
    data: Data = "digits",
    data_folder: DataFolder = None,
    space: Annotated[str, typer.Option(help="nb201, nb1shot1-1, nb1shot1-2 or nb1shot1-3.")] = "nb201",
    seeds: Seeds = "1",
    epochs: Annotated[int, typer.Option(help="Search epochs.")] = 50,
    steps_per_epoch: Annotated[int | None, typer.Option(help="Default: one pass over the training split.")] = None,
    every: Annotated[int, typer.Option(help="Look at the cells after every so many epochs, and after the last.")] = 5,
    cells: Annotated[int, typer.Option(help="How many uniform cells to look at; 0: every cell of the space.")] = 100,
    predictions: Annotated[
        int, typer.Option(help="Keep the class probabilities of the first so many of these cells.")
    ] = 0,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="A parameter of the method, name=value; repeatable.")
    ] = None,
    net: Net = None,
    device: Device = "cpu",
    threads: Threads = 0,
    resume: Annotated[bool, typer.Option("--resume", help="Continue the unfinished recording in --out.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what is in --out.")] = False,
    as_json: Json = False,
) -> None:
    """Search, and record the one-shot accuracy of cells by epoch as a table, and predictions for `ensemble`.

    Instead of a method: a plan of many searches, a YAML file or the name of one that ships (breadth, depth, width).
    It goes on where it was stopped.
    """
    need_torch()
    if is_plan(method):
        given = [name for name in _OF_A_METHOD if getattr(context.get_parameter_source(name), "name", "") != "DEFAULT"]
        if given:
            option = "--" + given[0].rstrip("_").replace("_", "-")
            raise SpecError(f"{option} goes with a method; a plan says it itself, and goes on where it was stopped")
        record_plan(method, out, data_folder, device, threads, as_json)
        return
    if resume and overwrite:
        raise SpecError("--resume continues a recording and --overwrite replaces it; give one of them")
    check_out(out, resume=resume, overwrite=overwrite)
    from gpu_validation import checkpoint
    from gpu_validation.record import NAME, SPLITS, Recorder
    from gpu_validation.record import predictions as predicted
    from gpu_validation.search import NAME as SEARCH
    from gpu_validation.search import SupernetSearch

    limit_threads(threads)
    search = SupernetSearch(
        method,
        net_settings(data, space, net),
        open_data(data, data_folder, device),
        seed_list(seeds),
        epochs,
        steps_per_epoch=steps_per_epoch,
        params=settings(set_ or [], "--set"),
        device=device,
    )
    kept = out / "checkpoints"
    if overwrite:
        for name in ("run.json", "record.h5", "recording.h5", "predictions-valid.h5", "predictions-test.h5"):
            (out / name).unlink(missing_ok=True)
        for name in (NAME, SEARCH):
            checkpoint.clear(kept, name)
    recorder = Recorder(search, kept, every=every, cells=cells or None)
    if not 0 <= predictions <= len(recorder.index):
        raise SpecError(f"--predictions is 0 to the {len(recorder.index)} cells that are looked at, got {predictions}")
    files = {"recording": out / "recording.h5"}
    files |= {f"predictions {split}": out / f"predictions-{split}.h5" for split in (SPLITS if predictions else ())}

    def write(progress: Progress) -> None:
        """Before the record of the search is: what exists with a record is whole."""
        recorder.write(files["recording"], out.name)
        archs = search.landscape.space.at(recorder.index[:predictions])
        for split in SPLITS if predictions else ():
            predicted(search, progress.shared, archs, split).save(files[f"predictions {split}"])

    with progress_bar(not as_json) as (tick, say):

        def on_tick(done: int, total: int, progress: Progress) -> None:
            recorder(done, total, progress)
            if done == total:
                write(progress)
            tick([(done, total)])
            if not as_json and done:
                say(epoch_line(progress, done - 1, tuple(search.batch.judge.roles)))

        run = search.run(out, resume=resume, on_tick=on_tick)
    recorder.finish()
    if as_json:
        print_json({**run.summary(), "cells": len(recorder.index), "files": {k: str(v) for k, v in files.items()}})
        return
    console().print(one_line(run))
    for what, path in files.items():
        console().print(f"{what}: {path}")


def is_plan(what: str) -> bool:
    """Whether the argument names a plan.

    >>> is_plan("breadth"), is_plan("mine/plan.yaml"), is_plan("darts")
    (True, True, False)
    """
    return data_path("plans", f"{what}.yaml").is_file() or Path(what).suffix in (".yaml", ".yml")


def record_plan(what: str, out: Path, data_folder: Path | None, device: str, threads: int, as_json: bool) -> None:
    """Do what is left of a plan, and say what is done."""
    from gpu_validation.plan import Job, jobs, read_plan, run_plan, trace_path

    plan = read_plan(what)
    limit_threads(threads)
    dataset = open_data(plan.data, data_folder, device)
    epochs = {number: job.epochs for number, job in enumerate(jobs(plan))}
    with progress_bar(not as_json) as (tick, say):

        def on_job(job: Job, number: int, count: int) -> None:
            if not as_json:
                say(f"{job.name} ({number + 1} of {count}, {job.epochs} epochs)")

        def on_tick(number: int, done: int, total: int) -> None:
            before = sum(n for k, n in epochs.items() if k < number)
            tick([(before + done, sum(epochs.values()))])

        traces = run_plan(plan, dataset, out, device=device, on_job=on_job, on_tick=on_tick)
    left = [job.name for job in jobs(plan) if trace_path(out, job) not in traces]
    if as_json:
        print_json({"plan": plan.name, "traces": [str(path) for path in traces], "left": left})
        return
    console().print(f"{plan.name}: {len(traces)} of {len(epochs)} searches are recorded in {out / 'traces'}")
    if left:
        console().print(f"Another process is at {', '.join(left)}.")
