"""`gpu-validation calibrate`: the weight-sharing model fitted to recorded supernets, judged by what it never saw."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table as Grid

from nasbench_sim.cli.console import Json, console, print_json, progress_bar
from nasbench_sim.errors import RunError, SpecError, unknown
from nasbench_sim.files import atomic_path
from nasbench_sim.runs.trace import Trace
from nasbench_sim.tables.catalogue import open_table
from nasbench_sim.tables.table import Table


def calibrate(
    traces: Annotated[list[Path], typer.Argument(help="Traces (.h5) or folders of them.", show_default=False)],
    table: Annotated[
        str | None,
        typer.Option(help="The table of the recorded cells; default: that of their own setting."),
    ] = None,
    dataset: Annotated[str | None, typer.Option(help="Data set of the table; default: that of the recordings.")] = None,
    out: Annotated[Path | None, typer.Option(help="Write the document with the parameters to this JSON file.")] = None,
    figure: Annotated[Path | None, typer.Option(help="Draw gradients and held-out shares to this PNG file.")] = None,
    draws: Annotated[int, typer.Option(help="Bootstrap draws of the standard errors; 0: none.")] = 20,
    searches: Annotated[int, typer.Option(help="Simulated searches a method and model; 0: no trajectories.")] = 24,
    terms: Annotated[int | None, typer.Option(help="Only the first so many steps of the ladder; default: all.")] = None,
    as_json: Json = False,
) -> None:
    """Fit the model of weight sharing to recorded gradients, and say what it explains of runs that were left out.

    Terms are added one at a time. Baselines: gradient = noise, the plain table, and the recorded one-shot accuracies.
    """
    from gpu_validation.calibration.figure import draw
    from gpu_validation.calibration.recordings import load_traces
    from gpu_validation.calibration.run import Options
    from gpu_validation.calibration.run import calibrate as run

    if draws < 0 or draws == 1 or searches < 0:
        raise SpecError(f"--draws is 0 or at least 2 and --searches at least 0, got {draws} and {searches}")
    if terms is not None and terms < 1:
        raise SpecError(f"--terms is at least 1, got {terms}")
    if out is not None and out.is_dir():
        raise RunError(f"{out} is a folder; give a file such as {out / 'calibration.json'}")
    found, sums = load_traces(traces)
    held, name = beside(found, table, dataset)
    with progress_bar(not as_json, unit="fits and simulations") as (tick, _):
        document = run(found, held, name, Options(draws, searches, terms), lambda done, total: tick([(done, total)]))
    chosen = f"--table {held.name} --dataset {name} --draws {draws} --searches {searches}"
    chosen += "" if terms is None else f" --terms {terms}"
    document = {
        "what": document.pop("what"),
        "command": f"gpu-validation calibrate {' '.join(map(str, traces))} {chosen}",
        "traces_sha256": sums,
        **document,
    }
    if out is not None:
        with atomic_path(out) as part:
            part.write_text(json.dumps(document, indent=1) + "\n")
    if figure is not None:
        draw(document, figure)
    if as_json:
        print_json(document)
        return
    show(document)
    for path in (out, figure):
        if path is not None:
            console().print(f"wrote {path}")


def beside(traces: list[Trace], name: str | None, dataset: str | None) -> tuple[Table, str]:
    """The table of the recorded cells and its data set; raises `SpecError` for another space or data set."""
    from nasbench_sim.reporting.fidelity.recordings import OWN_TABLE

    recorded = str(traces[0].about.get("dataset", ""))
    own, its = OWN_TABLE.get(recorded, ("", recorded))
    if not (name or own):
        raise SpecError(f"no table is known for recordings on {recorded!r}; name one with --table")
    table = open_table(name or own)
    space = traces[0].space
    if table.space.name != space.name:
        raise SpecError(f"the traces are of {space.name} and table {table.name} of {table.space.name}; name another")
    known = table.datasets()
    if dataset is not None and dataset not in known:
        raise SpecError(f"table {table.name}: {unknown('data set', dataset, known)}")
    return table, dataset or next((n for n in (recorded, its) if n in known), table.search_key.dataset)


def show(document: dict[str, Any]) -> None:
    """The tables on a terminal."""
    say = console()
    ways = [by for by in ("method", "seed", "width") if by in document["ladder"][0]]
    grid = Grid("model", "fitted", *(f"held out by {by}" for by in ways), box=None, header_style="bold")
    for row in (*document["baselines"], *document["ladder"]):
        star = " *" if row["model"] == document["model"] else ""
        grid.add_row(row["model"] + star, *(percent(row[name]) for name in ("fitted", *ways)))
    say.print(
        f"Share of the squared recorded gradients explained; at most {percent(document['ceiling'])} is not noise."
    )
    say.print(grid)
    say.print(f"* taken: {document['model']} ({document['chosen_by']})")
    grid = Grid("parameter", "value", "standard error", box=None, header_style="bold")
    for name, value in document["fitted"].items():
        error = document["standard_errors"].get(name)
        grid.add_row(name, f"{value:.4g}", "" if error is None else f"{error:.2g}")
    say.print(grid)
    found = document.get("trajectories")
    if found:
        grid = Grid("searches", "model", "theta R2", "skip RMSE", "operations", "skips", "recorded", box=None)
        for method in next(iter(found["methods"].values())):
            for what, rows in found["methods"].items():
                if method in rows:
                    row = rows[method]
                    numbers = ("theta_r2", "skip_rmse", "operations", "skips", "skips_recorded")
                    grid.add_row(method, what, *(f"{row[n]:.2f}" for n in numbers))
        for what, row in found["pooled"].items():
            grid.add_row("together", what, *(f"{row[n]:.2f}" for n in ("theta_r2", "skip_rmse", "operations")), "", "")
        say.print(grid)
    say.print(f"{document['seconds']} s; table {document['table']} ({document['dataset']})")


def percent(share: float | None) -> str:
    """A share of 1 in percent.

    >>> percent(0.257), percent(None)
    ('25.7 %', 'not to be had')
    """
    return "not to be had" if share is None else f"{100 * share:.1f} %"
