"""`gpu-validation proxies`: zero-cost scores of many cells in one file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gpu_validation.cli.options import DataFolder, Device, Threads, limit_threads, need_torch, number_or_text
from nasbench_sim.cli.console import Json, console, print_json, progress_bar
from nasbench_sim.errors import SpecError


def proxies(
    out: Annotated[Path, typer.Option(help="A new .csv or .csv.gz.")],
    name: Annotated[
        list[str] | None,
        typer.Option(help="synflow, synflow-mean, snip, grasp, fisher, grad_norm, jacov, nwot; repeatable."),
    ] = None,
    arch: Annotated[
        list[str] | None, typer.Option(help="A cell, as string or official index; repeatable. Default: --all.")
    ] = None,
    all_: Annotated[bool, typer.Option("--all", help="All 15,625 cells.")] = False,
    data: Annotated[
        list[str] | None, typer.Option("--data", "--dataset", help="A data set, one column each; repeatable.")
    ] = None,
    data_folder: DataFolder = None,
    channels: Annotated[int, typer.Option(help="Channels C of the first stage.")] = 16,
    cells: Annotated[int, typer.Option(help="Cells N a stage.")] = 5,
    seed: Annotated[int, typer.Option(help="Seed of the initial weights and of the mini-batch.")] = 42,
    batch: Annotated[int, typer.Option(help="Images, for the proxies that look at any.")] = 64,
    device: Device = "cpu",
    threads: Threads = 0,
    strings: Annotated[bool, typer.Option("--strings/--no-strings", help="A column of the cells' strings.")] = True,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with FILE.part.")] = False,
    as_json: Json = False,
) -> None:
    """Score cells without training them; `nasbench-sim tables import` puts the file into a table."""
    need_torch()
    if bool(arch) == all_:
        raise SpecError("give --arch for some cells or --all for all of them, not both")
    from gpu_validation.proxies.run import Options, run_proxies

    limit_threads(threads)
    options = Options(
        out=out,
        names=tuple(name or ["synflow"]),
        datasets=tuple(data or ["cifar10"]),
        archs=[number_or_text(text) for text in arch] if arch else None,
        resume=resume,
        channels=channels,
        cells=cells,
        seed=seed,
        batch_size=batch,
        folder=data_folder,
        device=device,
        strings=strings,
    )
    with progress_bar(not as_json, unit="classes of equal cells") as (tick, _):
        path = run_proxies(options, progress=lambda done, total: tick([(done, total)]))
    if as_json:
        print_json({"file": str(path), "about": f"{path}.json"})
        return
    console().print(f"scores: {path}; how they were made: {path}.json")
