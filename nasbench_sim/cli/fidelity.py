"""`nasbench-sim fidelity`: how well simulated searches predict recorded ones of true supernets, as one page."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from nasbench_sim.cli.console import Json, Workers, console, print_json, progress_bar
from nasbench_sim.errors import RunError, SpecError
from nasbench_sim.resources import data_path
from nasbench_sim.runs.search import cores
from nasbench_sim.tables.catalogue import list_tables, open_table


def fidelity(
    out: Annotated[
        Path, typer.Option(help="Folder for fidelity.html and fidelity.json; those of an earlier call are replaced.")
    ] = Path("fidelity"),
    traces: Annotated[
        Path | None, typer.Option(help="Folder of recordings, DIR/*.h5 and DIR/PLAN/*.h5; default: the shipped ones.")
    ] = None,
    table: Annotated[
        str | None,
        typer.Option(help="Table that cells are looked up in; default: that of each recording's own setting."),
    ] = None,
    params: Annotated[
        Path | None, typer.Option(help="Parameters of the weight-sharing model (JSON); default: the project's fit.")
    ] = None,
    seeds: Annotated[int, typer.Option(help="Simulated searches a method.")] = 64,
    transfer_seeds: Annotated[int, typer.Option(help="Simulated searches a method of the transfer test.")] = 16,
    transfer: Annotated[
        bool, typer.Option("--transfer/--no-transfer", help="The transfer test, where table nb201 is present.")
    ] = True,
    full: Annotated[
        bool, typer.Option("--full", help="Transfer test on every data set, at published lengths (minutes to hours).")
    ] = False,
    workers: Workers = None,
    as_json: Json = False,
) -> None:
    """Hold simulated searches against recorded ones of true supernets: how far to trust a run on a table.

    With table nb201 present also the transfer test: the same parameters on the real table, against published results.
    """
    from nasbench_sim.reporting.fidelity import fidelity as compare_all  # matplotlib: --help does not need it
    from nasbench_sim.reporting.fidelity import write_fidelity
    from nasbench_sim.reporting.fidelity.transfer import GET, TABLE

    began = time.perf_counter()
    if workers is not None and workers < 1:
        raise SpecError(f"workers is at least 1, got {workers}")
    if out.exists() and not out.is_dir():
        raise RunError(f"{out} is a file; give a folder")
    with _bar(quiet=as_json) as tick:
        document = compare_all(
            traces or data_path("traces"),
            params=params,
            transfer=open_table(TABLE) if transfer and _present(TABLE) else None,
            why_not=GET if transfer else "--no-transfer was given",
            table=table,
            seeds=seeds,
            transfer_seeds=transfer_seeds,
            full=full,
            workers=workers or cores(),
            on_tick=tick,
        )
    page, data = write_fidelity(document, out)
    seconds = time.perf_counter() - began
    if as_json:
        print_json({**document, "page": str(page), "json": str(data), "seconds": round(seconds, 1)})
    else:
        _say(document, page, seconds)


def _present(name: str) -> bool:
    return any(listed.name == name for listed in list_tables())


@contextmanager
def _bar(*, quiet: bool) -> Iterator[Any]:
    with progress_bar(not quiet, unit="runs") as (tick, _):
        yield lambda done, total: tick([(done, total)])


def _say(document: dict[str, Any], page: Path, seconds: float) -> None:
    """Aims and verdict, one line each."""
    say = console()
    for note in document["left_out"]:
        say.print(f"Left out: {note}")
    say.print("Aims", style="bold")
    for aim in document["aims"]:
        word = {True: "met", False: "missed", None: "not tested"}[aim["met"]]
        value = "" if aim["value"] is None else f" {aim['value']:.3f}"
        say.print(f"  {word}: {aim['name']}:{value} ({aim['why']})")
    say.print("What may be concluded", style="bold")
    where = ""
    for sentence in document["verdict"]:
        if sentence["where"] != where:
            where = sentence["where"]
            say.print(f" {where}")
        say.print(f"  {sentence['kind']}: {sentence['text']}")
    say.print(f"Page: {page.resolve()}  ({seconds:.0f} s in all)")
