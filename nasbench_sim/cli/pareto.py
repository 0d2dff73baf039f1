"""`nasbench-sim pareto`: accuracy against cost, measured on the table's own front."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table as Grid

from nasbench_sim.cli import looking
from nasbench_sim.cli.console import Json, Runs, console, print_json
from nasbench_sim.errors import SpecError
from nasbench_sim.tables.catalogue import open_table

if TYPE_CHECKING:
    from nasbench_sim.reporting.pareto import TradeOff

Rows = list[dict[str, Any]]


def pareto(
    runs: Runs,
    metric: Annotated[
        list[str], typer.Option(help="A cost of the table: params_m, flops_m, latency_ms/DEVICE ...; repeatable.")
    ],
    out: Annotated[Path | None, typer.Option(help="Figure to write: .svg, .png or .pdf.")] = None,
    role: Annotated[str, typer.Option(help="Accuracy measured and drawn, valid or test; default: test.")] = "",
    reference: Annotated[
        str,
        typer.Option(
            help="Point that volumes end at: table (its worst error and cost), front (the worst of its front), or "
            "numbers: accuracy in percent, then the costs, as 80,5."
        ),
    ] = "table",
    table: Annotated[str, typer.Option(help="A table's name or .h5 file; default: the one the runs name.")] = "",
    as_json: Json = False,
) -> None:
    """Say how much of the trade-off of accuracy and cost finished runs found: hypervolume, cells on the front."""
    from nasbench_sim.reporting.pareto import trade_off
    from nasbench_sim.reporting.pareto_found import check_runs, measure

    records = looking.load_runs(runs)
    opened = open_table(table or str(records[0].table["name"]))
    dataset = check_runs(records, opened)
    plane = trade_off(opened, dataset, metric, role=role or None, reference=_reference(reference))
    rows = measure(records, plane)
    if out is not None:
        from nasbench_sim.reporting import save_figure
        from nasbench_sim.reporting.pareto_figure import plot_pareto

        save_figure(plot_pareto(records, opened, metric, role=plane.role), out)
    if as_json:
        print_json({**_about(plane), "runs": rows, "out": str(out) if out else None, "remark": opened.remark})
    else:
        _show(plane, rows, out)


def _reference(text: str) -> str | list[float]:
    """`table`, `front` or other words as they are; a list of numbers where the text begins like one."""
    parts = text.split(",")
    try:
        numbers = [float(part) for part in parts]
    except ValueError as error:
        if len(parts) == 1:
            return text  # a word: the plane knows which
        raise SpecError(f"--reference {text!r}: give table, front, or numbers as in 80,5") from error
    if not all(map(math.isfinite, numbers)):
        raise SpecError(f"--reference {text!r}: give finite numbers")
    return numbers


def _about(plane: TradeOff) -> dict[str, Any]:
    """The plane as plain data; the reference as accuracy in percent, then the costs."""
    return {
        "table": plane.table.name,
        "dataset": plane.dataset,
        "accuracy": list(plane.key),
        "role": plane.role,
        "metrics": list(plane.metrics),
        "reference": [100.0 - float(plane.reference[0]), *(float(value) for value in plane.reference[1:])],
        "front": {"cells": len(plane.front), "indices": plane.front.tolist(), "hypervolume": plane.whole},
    }


def _show(plane: TradeOff, rows: Rows, out: Path | None) -> None:
    """The plane in two lines and one line a run."""
    say = console()
    about = _about(plane)
    point = ", ".join(f"{value:g}" for value in about["reference"])
    say.print(
        f"{plane.key} against {', '.join(plane.metrics)}: {len(plane.front)} of {plane.table.space.size} cells on the "
        f"front of {plane.table.name}; reference point {point}"
    )
    say.print(f"Cells are chosen on {plane.seen}. Shares are of the front's hypervolume: mean ± sd over seeds.")
    grid = Grid(box=None, header_style="bold")
    for heading in ("method", "penalty", "seeds", "cells", "on front", "share %", "all seeds: cells", "share %"):
        grid.add_column(heading, justify="left" if heading in ("method", "penalty") else "right")
    for row in rows:
        weights = row["penalty"]
        share, together = row["share"], row["together"]
        spread = "" if share["sd"] is None else f" ± {100 * share['sd']:.2f}"
        grid.add_row(
            row["name"],
            "all weights" if weights is None else ", ".join(f"{w:g} {name}" for name, w in weights.items()) or "-",
            f"{row['seeds']}" + (f" ({row['failed']} FAILED)" if row["failed"] else ""),
            _number(row["cells"]),
            _number(row["on_front"]),
            "-" if share["mean"] is None else f"{100 * share['mean']:.2f}{spread}",
            f"{together['cells']} ({together['on_front']} on front)",
            f"{100 * together['share']:.2f}",
        )
    say.print(grid)
    if plane.table.remark:
        say.print(f"Note: {plane.table.remark}")
    if out is not None:
        say.print(f"Figure: {out}")


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"
