"""`nasbench-sim compare|plot|report|query`: looking at runs and tables."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from nasbench_sim.cli.console import Json, Runs, console, print_json
from nasbench_sim.errors import SpecError
from nasbench_sim.runs import Run
from nasbench_sim.tables.catalogue import open_table


def load_runs(folders: list[Path]) -> list[Run]:
    """The runs of these folders; a folder that holds runs (of `reproduce`) stands for all of them."""
    found: list[Path] = []
    for folder in folders:
        inside = [] if (folder / "run.json").exists() else sorted(p.parent for p in folder.glob("*/run.json"))
        found += inside or [folder]
    return [Run.load(folder) for folder in dict.fromkeys(found)]


def compare(runs: Runs, as_json: Json = False) -> None:
    """Print the published numbers beside those of finished runs."""
    from nasbench_sim.reporting import compare as compare_runs

    comparison = compare_runs(load_runs(runs))
    if as_json:
        print_json(comparison.records())
    else:
        console().print(comparison)


def plot(
    figure: Annotated[
        str,
        typer.Argument(
            help="convergence, final, skip_ratio, eigenvalue, entropy, pruning, regret or one_shot (of one run)."
        ),
    ],
    runs: Runs,
    out: Annotated[Path, typer.Option(help="File to write: .svg, .png or .pdf.")],
    table: Annotated[str, typer.Option(help="one_shot: the table's name or .h5 file; default: the run's.")] = "",
    role: Annotated[str, typer.Option(help="one_shot: stand-alone accuracy, valid or test; default: valid.")] = "",
    cells: Annotated[int | None, typer.Option(help="one_shot: architectures to score; default: 500.")] = None,
    seeds: Annotated[int | None, typer.Option(help="one_shot: searches whose weights score them; default: 4.")] = None,
) -> None:
    """Draw one figure of finished runs."""
    from nasbench_sim.reporting import figure_kind, plot_one_shot, save_figure
    from nasbench_sim.reporting.gallery import ONE_SHOT

    own: dict[str, Any] = {"role": role or None, "cells": cells, "seeds": seeds}
    given = {name: value for name, value in own.items() if value is not None}
    if figure != ONE_SHOT:
        kind = figure_kind(figure)
        if table or given:
            raise SpecError(f"--table, --role, --cells and --seeds belong to the figure {ONE_SHOT}, not to {figure}")
        drawn = kind.draw(load_runs(runs))
    else:
        records = load_runs(runs)
        if len(records) != 1:
            raise SpecError(f"{ONE_SHOT} searches a run again and shows one at a time, got {len(records)}")
        opened = open_table(table or str(records[0].table["name"]))
        drawn = plot_one_shot(records[0], opened, **given)
    console().print(str(save_figure(drawn, out)))


def report(
    runs: Runs,
    out: Annotated[Path, typer.Option(help="The page to write (.html).")],
    title: Annotated[str, typer.Option(help="Title of the page.")] = "Search report",
) -> None:
    """Write one self-contained page about finished runs."""
    if out.suffix.lower() not in (".html", ".htm"):  # a slip must not replace a record by a page
        raise SpecError(f"--out {str(out)!r}: give a file that ends in .html")
    from nasbench_sim.reporting import write_report

    console().print(str(write_report(load_runs(runs), out, title=title)))


def query(
    arch: Annotated[str, typer.Argument(help="An architecture string or an official index.")],
    table: Annotated[str, typer.Option(help="A table's name or .h5 file.")],
    dataset: Annotated[str, typer.Option(help="Data set.")],
    split: Annotated[str, typer.Option(help="Split, e.g. valid or test.")],
    epochs: Annotated[str, typer.Option(help="Training epochs, e.g. 200.")],
    seed: Annotated[str, typer.Option(help="Training seed, or mean.")],
    as_json: Json = False,
) -> None:
    """Look one accuracy up. All four parts of the key must be given: none has a default."""
    opened = open_table(table)
    key: dict[str, Any] = {"dataset": dataset, "split": split, "epochs": _number(epochs), "seed": _number(seed)}
    index = opened.space.resolve(_number(arch))
    value = opened.query(index, **key)
    if as_json:
        text = opened.space.format(opened.space.at(index))
        document = {"table": opened.name, **key, "index": index, "arch": text, "accuracy": value}
        print_json({**document, "remark": opened.remark})
        return
    console().print(f"{value:.4f}")
    if opened.remark:
        console(stderr=True).print(f"Note: {opened.remark}")


def _number(text: str) -> int | str:
    """A number where it reads as one; names (`mean`, `run0`, `unstated`) stay as they are, for the table to judge."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 20 else text
