"""`nasbench-sim search`: one method, many seeds."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from nasbench_sim.cli.console import (
    Json,
    Seeds,
    TableName,
    Workers,
    check_folder_options,
    console,
    print_json,
    progress_bar,
    seed_list,
    settings,
)
from nasbench_sim.errors import RunError
from nasbench_sim.runs import Run, RunSpec, make_spec, search_all
from nasbench_sim.runs.plan import PLAN
from nasbench_sim.runs.problem import default_landscape
from nasbench_sim.tables.catalogue import best_table_name, open_table
from nasbench_sim.tables.table import Table


def search(
    method: Annotated[str, typer.Argument(help="A method of `nasbench-sim methods list`.")],
    table: TableName = "",
    dataset: Annotated[str, typer.Option(help="cifar10, cifar100 or ImageNet16-120.")] = "cifar10",
    landscape: Annotated[
        str,
        typer.Option(
            help="shared (modelled weight sharing), tabular (exact, no noise) or evaluations (cells trained one after "
            "another); default: the method's own."
        ),
    ] = "",
    seeds: Seeds = "200",
    epochs: Annotated[int, typer.Option(help="Search epochs.")] = 50,
    steps_per_epoch: Annotated[int, typer.Option(help="Architecture steps an epoch (391 = 25,000 / 64).")] = 391,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="A parameter of the method, name=value; repeatable.")
    ] = None,
    landscape_set: Annotated[
        list[str] | None,
        typer.Option(help="A parameter of the shared landscape, name=value (fit=breadth: all); repeatable."),
    ] = None,
    dtype: Annotated[str, typer.Option(help="float32 or float64.")] = "float32",
    budget: Annotated[float | None, typer.Option(help="Simulated seconds of a black-box search.")] = None,
    penalty: Annotated[
        list[str] | None,
        typer.Option(help="A metric of the table and its weight in the loss, name=weight; repeatable."),
    ] = None,
    step_order: Annotated[
        str,
        typer.Option(help="Of a gradient method's two steps: together, 'weights first' or 'architecture first'."),
    ] = "together",
    out: Annotated[
        Path | None, typer.Option(help="Folder for checkpoints and the record; default: keep nothing.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue the unfinished run in --out.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the run in --out.")] = False,
    workers: Workers = None,
    as_json: Json = False,
) -> None:
    """Run one method for many seeds at once; print the accuracy of the cells it derives."""
    check_folder_options(out, resume=resume, overwrite=overwrite)
    opened = open_table(table or best_table_name())
    spec = make_spec(
        method=method,
        params=settings(set_ or [], "--set"),
        table=opened.name,
        dataset=dataset,
        landscape=landscape or default_landscape(method),
        landscape_params=settings(landscape_set or [], "--landscape-set"),
        seeds=seed_list(seeds),
        epochs=epochs,
        steps_per_epoch=steps_per_epoch,
        dtype=dtype,
        budget=budget,
        penalty=settings(penalty or [], "--penalty"),
        step_order=step_order,
    )
    with progress_bar(not as_json) as (tick, _):
        results = search_all(
            [spec], opened, folders=[out], on_tick=tick, resume=resume, overwrite=overwrite, workers=workers
        )
        run = next(iter(results))[1]
    if as_json:
        print_json({**run.summary(), "seconds": round(run.seconds, 3), "out": str(out) if out else None})
        return
    console().print(one_line(run))
    if run.table["remark"]:
        console().print(f"Note: {run.table['remark']}")
    if out is not None:
        console().print(f"Record: {out}")


def search_into(
    specs: list[RunSpec],
    table: Table,
    folders: list[Path],
    *,
    resume: bool,
    overwrite: bool,
    workers: int | None,
    quiet: bool,
) -> list[Run]:
    """Run each specification into its folder and say one line as it finishes; the records, in the order of `specs`.

    With `resume` finished ones are read and unfinished ones go on; a specification may be new among them. Raises
    `RunError` where a folder holds a finished run of something else.
    """
    done: dict[int, Run] = {}
    for i, folder in enumerate(folders):
        if resume and (folder / "run.json").exists():
            done[i] = Run.load(folder)
            if done[i].spec != specs[i] or done[i].table["sha256"] != table.sha256:
                raise RunError(
                    f"{folder} holds a finished run of another specification or table; give the options it was made "
                    "with, or choose another folder"
                )
    pending = [i for i in range(len(specs)) if i not in done]
    with progress_bar(not quiet) as (tick, tell):
        for i, run in search_all(
            [specs[i] for i in pending],
            table,
            folders=[folders[i] for i in pending],
            on_tick=tick,
            resume=[resume and (folders[i] / PLAN).exists() for i in pending],
            overwrite=overwrite,
            workers=workers,
        ):
            done[pending[i]] = run
            if not quiet:
                tell(one_line(run))
    return [done[i] for i in range(len(specs))]


def one_line(run: Run) -> str:
    """`darts, shared, cifar10, 200 seeds: valid 91.03 ± 0.15, test ... (4.1 s)`.

    The seconds are those of computing, summed over processes.
    """
    summary: dict[str, Any] = run.summary()
    head = f"{run.spec.method}, {run.spec.landscape}, {run.spec.dataset}, {len(run.seeds)} seeds"
    lost = f", {summary['failed']} FAILED" if summary["failed"] else ""
    if summary["failed"] == summary["n"]:
        return f"{head}{lost}: alpha is no longer finite; lower the learning rate ({run.seconds:.1f} s)"
    scores = ", ".join(
        f"{role} {summary[role]['mean']:.2f} ± {summary[role]['sd']:.2f}" for role in run.table["report_keys"]
    )
    skips = float(run.history["skip_ratio"][~run.failed, -1].mean())
    share = f", {100 * summary['measured']:.0f} % of the final cells measured" if "measured" in summary else ""
    return f"{head}{lost}: {scores} %, skip ratio {skips:.2f}{share} ({run.seconds:.1f} s)"
