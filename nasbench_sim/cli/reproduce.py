"""`nasbench-sim reproduce`: the main job. Every method on both landscapes, one table, one page."""

from __future__ import annotations

import time
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from nasbench_sim.cli.console import (
    Json,
    Seeds,
    TableName,
    Workers,
    check_folder_options,
    console,
    print_json,
    seed_list,
)
from nasbench_sim.cli.papers import reproduce_paper
from nasbench_sim.cli.searching import search_into
from nasbench_sim.errors import RunError, SpecError, unknown
from nasbench_sim.files import atomic_path
from nasbench_sim.runs import Run, make_spec
from nasbench_sim.runs.plan import PLAN, in_good_order
from nasbench_sim.searchers import methods
from nasbench_sim.tables.catalogue import best_table_name, open_table

LANDSCAPES = ("tabular", "shared")


def reproduce(
    out: Annotated[
        Path | None, typer.Option(help="Folder of the runs and the page; default: runs/reproduce-<time>.")
    ] = None,
    table: TableName = "",
    paper: Annotated[
        str | None, typer.Option(help="Make the tables of a paper: balenas, bpnas, parsec or lecture.")
    ] = None,
    dataset: Annotated[
        str | None, typer.Option(help="cifar10, cifar100 or ImageNet16-120; default cifar10, with --paper all.")
    ] = None,
    method: Annotated[
        list[str] | None, typer.Option(help="Only this method; repeatable. Default: the headline ones.")
    ] = None,
    seeds: Seeds = "200",
    epochs: Annotated[int | None, typer.Option(help="Search epochs; default 50, with --paper the paper's.")] = None,
    steps_per_epoch: Annotated[
        int | None,
        typer.Option(help="Architecture steps an epoch; default 391 (25,000 / 64), with --paper the paper's."),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue what is unfinished in --out.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the runs in --out.")] = False,
    workers: Workers = None,
    as_json: Json = False,
) -> None:
    """Run the methods on the best table present, on both landscapes; print published beside ours; write the page.

    With --paper: run what the rows of that paper's tables need, on its own settings.
    """
    began = time.perf_counter()
    check_folder_options(out, resume=resume, overwrite=overwrite)
    opened = open_table(table or best_table_name())
    folder = out or Path("runs") / f"{paper or 'reproduce'}-{datetime.now():%Y%m%d-%H%M%S}"
    if paper is not None:
        if method or epochs is not None or steps_per_epoch is not None:
            raise SpecError("--paper has its own methods and lengths; leave --method, --epochs, --steps-per-epoch away")
        check_folder(folder, resume=resume, overwrite=overwrite)
        reproduce_paper(
            paper,
            opened,
            folder,
            seeds=seed_list(seeds),
            dataset=dataset,
            resume=resume,
            overwrite=overwrite,
            workers=workers,
            as_json=as_json,
        )
        return
    where = dataset or "cifar10"
    specs = [
        make_spec(
            method=name,
            table=opened.name,
            dataset=where,
            landscape=landscape,
            seeds=seed_list(seeds),
            epochs=50 if epochs is None else epochs,
            steps_per_epoch=391 if steps_per_epoch is None else steps_per_epoch,
        )
        for name in _names(method)
        for landscape in LANDSCAPES
    ]
    specs = in_good_order(specs)
    folders = [folder / f"{s.landscape}-{s.method}" for s in specs]
    check_folder(folder, resume=resume, overwrite=overwrite)
    if not as_json:
        say = console()
        say.print(f"{len(specs)} runs of {len(specs[0].seeds)} seeds on {opened.name}, {where}; into {folder}")
        if opened.remark:
            say.print(f"Note: {opened.remark}")
    runs = search_into(specs, opened, folders, resume=resume, overwrite=overwrite, workers=workers, quiet=as_json)
    runs.sort(key=lambda run: (LANDSCAPES.index(run.spec.landscape), run.spec.method))
    _look(runs, folder, as_json, began)


def check_folder(folder: Path, *, resume: bool, overwrite: bool) -> None:
    """Raise `RunError` for a file, a folder with files of somebody else, and one with runs that were not asked for."""
    if folder.exists() and not folder.is_dir():
        raise RunError(f"{folder} is a file; give a folder")
    if not folder.is_dir() or not any(folder.iterdir()):
        return
    if not any(path for name in (PLAN, "run.json") for path in folder.glob(f"*/{name}")):
        raise RunError(f"{folder} is not empty and holds no runs of ours; choose an empty or new folder")
    if not (resume or overwrite):
        raise RunError(f"{folder} already holds runs; choose another folder, or --resume them, or --overwrite them")


def _names(asked: list[str] | None) -> list[str]:
    known = list(methods())
    for name in asked or []:
        if name not in known:
            raise SpecError(unknown("method", name, known))
    return list(dict.fromkeys(asked or (name for name, recipe in methods().items() if recipe.headline)))


def _look(runs: list[Run], folder: Path, as_json: bool, began: float) -> None:
    from nasbench_sim.reporting import compare, write_report  # matplotlib: the workers do not need it

    comparison = compare(runs)
    comparison.to_csv(folder / "comparison.csv")
    with atomic_path(folder / "comparison.md") as part:
        part.write_text(comparison.to_markdown())
    page = write_report(runs, folder / "report.html", comparison, title="Published beside simulated")
    seconds = time.perf_counter() - began
    if as_json:
        print_json(
            {
                "table": runs[0].table["name"],
                "remark": runs[0].table["remark"],
                "runs": [r.summary() for r in runs],
                "comparison": comparison.records(),
                "folder": str(folder),
                "page": str(page),
                "seconds": round(seconds, 2),
            }
        )
        return
    say = console()
    say.print(comparison)
    say.print(f"Page: {page.resolve()}  ({seconds:.0f} s in all)")
