"""`gpu-validation search`: a method of the registry on a true supernet."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

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
from nasbench_sim.cli.console import (
    Json,
    Seeds,
    check_folder_options,
    console,
    print_json,
    progress_bar,
    seed_list,
    settings,
)
from nasbench_sim.cli.searching import one_line
from nasbench_sim.tables.catalogue import open_table

if TYPE_CHECKING:
    from nasbench_sim.runs.engine import Progress


def search(
    method: Annotated[str, typer.Argument(help="A method of `nasbench-sim methods list`.")],
    data: Data = "digits",
    data_folder: DataFolder = None,
    space: Annotated[str, typer.Option(help="nb201, nb1shot1-1, nb1shot1-2 or nb1shot1-3.")] = "nb201",
    seeds: Seeds = "1",
    epochs: Annotated[int, typer.Option(help="Search epochs.")] = 50,
    steps_per_epoch: Annotated[int | None, typer.Option(help="Default: one pass over the training split.")] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="A parameter of the method, name=value; repeatable.")
    ] = None,
    net: Net = None,
    table: Annotated[str, typer.Option(help="Look accuracies of derived cells up in this table, not one-shot.")] = "",
    device: Device = "cpu",
    threads: Threads = 0,
    out: Annotated[Path | None, typer.Option(help="Folder for checkpoints and the record.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue the unfinished run in --out.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the run in --out.")] = False,
    as_json: Json = False,
) -> None:
    """Train a weight-sharing supernet and search on it; the record opens in every nasbench-sim command."""
    need_torch()
    check_folder_options(out, resume=resume, overwrite=overwrite)
    check_out(out, resume=resume, overwrite=overwrite)
    from gpu_validation import checkpoint
    from gpu_validation.parallel import process_group
    from gpu_validation.search import NAME, SupernetSearch

    limit_threads(threads)
    asked = net_settings(data, space, net)
    with process_group(device) as (group, where):
        asking = SupernetSearch(
            method,
            asked,
            open_data(data, data_folder, where),
            seed_list(seeds),
            epochs,
            steps_per_epoch=steps_per_epoch,
            params=settings(set_ or [], "--set"),
            device=where,
            table=open_table(table) if table else None,
            group=group,
        )
        if overwrite and out is not None and group.rank == 0:
            for name in ("run.json", "record.h5"):
                (out / name).unlink(missing_ok=True)
            checkpoint.clear(out / "checkpoints", NAME)
        with progress_bar(not as_json and group.rank == 0) as (tick, say):

            def on_tick(done: int, total: int, progress: Progress) -> None:
                tick([(done, total)])
                if not as_json and group.rank == 0 and done:
                    say(epoch_line(progress, done - 1, tuple(asking.batch.judge.roles)))

            run = asking.run(out, resume=resume, on_tick=on_tick)
    if group.rank:
        return
    if as_json:
        print_json({**run.summary(), "seconds": round(run.seconds, 3), "out": str(out) if out else None})
        return
    console().print(one_line(run))
    if run.table["remark"]:
        console().print(f"Note: {run.table['remark']}")
    if out is not None:
        console().print(f"Record: {out}")


def epoch_line(progress: Progress, epoch: int, roles: tuple[str, ...]) -> str:
    """`epoch 3: train 71.2 %, valid 60.1, test 59.8 %, skip ratio 0.33`, means over the seeds that go on."""
    history: dict[str, Any] = progress.history
    going = progress.failed < 0
    if not going.any():
        steps = ", ".join(str(int(s)) for s in progress.shared.extra["broken"])
        return f"epoch {epoch + 1}: no search goes on; a loss was not finite at weight step {steps}: lower lr"
    mean = {name: float(history[name][going, epoch].mean()) for name in (*roles, "train_accuracy", "skip_ratio")}
    scores = ", ".join(f"{role} {mean[role]:.1f}" for role in roles)
    return f"epoch {epoch + 1}: train {mean['train_accuracy']:.1f}, {scores} %, skip ratio {mean['skip_ratio']:.2f}"
