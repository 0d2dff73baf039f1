"""`gpu-validation train`: networks of single cells, trained alone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from gpu_validation.cli.options import Data, DataFolder, Device, Threads, limit_threads, need_torch, open_data
from nasbench_sim.cli.console import Json, console, print_json, progress_bar, seed_list, settings
from nasbench_sim.errors import SpecError
from nasbench_sim.spaces import NB201
from nasbench_sim.tables.manifest import cached_space


def train(
    archs: Annotated[
        list[str] | None,
        typer.Argument(help="Cells of NAS-Bench-201, as strings or official indices.", show_default=False),
    ] = None,
    pool: Annotated[int, typer.Option(help="Train so many uniform cells instead, always the same ones.")] = 0,
    data: Data = "digits",
    data_folder: DataFolder = None,
    protocol: Annotated[str, typer.Option(help="table (200 epochs, as the tables were made) or short.")] = "short",
    seeds: Annotated[str, typer.Option(help="Training seeds: a number of them (1), a range (0:3) or a list.")] = "1",
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="A number of the protocol, name=value (epochs=5); repeatable.")
    ] = None,
    device: Device = "cpu",
    threads: Threads = 0,
    out: Annotated[Path, typer.Option(help="Folder for results, checkpoints and prediction files.")] = Path(
        "runs/train"
    ),
    resume: Annotated[bool, typer.Option("--resume", help="Go on in --out; finished trainings are kept.")] = False,
    as_json: Json = False,
) -> None:
    """Train cells alone; keep curves, and predictions that `nasbench-sim ensemble` opens."""
    need_torch()
    from gpu_validation.training import make_train_spec
    from gpu_validation.training.pool import train_pool
    from gpu_validation.training.spec import TrainSpec

    limit_threads(threads)
    cells = _cells(archs or [], pool)
    numbers = settings(set_ or [], "--set")
    fixed = sorted({"arch", "dataset", "seed", "protocol"} & set(numbers))
    if fixed:
        raise SpecError(f"--set {fixed[0]} is not a number of the protocol; there are options for it")
    chosen = seed_list(seeds)
    many = range(chosen) if isinstance(chosen, int) else chosen
    specs: list[TrainSpec] = [
        make_train_spec(protocol=protocol, arch=cell, dataset=data, seed=seed, **numbers)
        for cell in cells
        for seed in many
    ]
    dataset = open_data(data, data_folder, device)
    if out.exists() and not out.is_dir():
        raise SpecError(f"{out} is a file; give a folder")
    if out.is_dir() and any(out.iterdir()) and not resume:
        raise SpecError(f"{out} is not empty; go on in it with --resume, or choose another folder")
    results: list[Mapping[str, Any]] = []
    with progress_bar(not as_json, unit="networks") as (tick, say):

        def on_tick(done: int, total: int, result: Mapping[str, Any]) -> None:
            results.append(result)
            tick([(done, total)])
            if not as_json:
                accuracy = ", ".join(f"{s} {result[f'{s}_accuracy']:.2f}" for s in ("train", "valid", "test"))
                say(f"{result['arch']} seed {result['seed']}: {accuracy} % ({result['seconds']:.1f} s)")

        files = train_pool(specs, dataset, out, device=device, on_tick=on_tick)
    if as_json:
        lines = [{k: v for k, v in result.items() if k != "curves"} for result in results]
        print_json({"trainings": lines, "files": {k: str(v) for k, v in files.items()}})
        return
    for split, path in files.items():
        console().print(f"predictions {split}: {path}")


def _cells(archs: list[str], pool: int) -> list[str]:
    """Strings of the asked cells; raises `ArchError` for what is none, `SpecError` where nothing or both are asked."""
    space = cached_space("nb201")
    assert isinstance(space, NB201)
    if bool(archs) == bool(pool):
        raise SpecError("give cells to train, or --pool N for N uniform ones, not both")
    if not 0 <= pool <= space.size:
        raise SpecError(f"--pool is 1 to {space.size}, got {pool}")
    if pool:
        from gpu_validation.record import sample

        return [space.format(space.at(i)) for i in sample(space.size, pool)]
    index = [space.resolve(int(text) if text.isdecimal() else text) for text in archs]
    if len(set(index)) < len(index):
        raise SpecError("a cell is given twice; --seeds trains one several times")
    return [space.format(space.at(i)) for i in index]
