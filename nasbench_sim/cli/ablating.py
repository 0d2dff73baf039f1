"""`nasbench-sim ablate`: a grid over parts and parameters of methods, and which of them matter."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table as Grid

from nasbench_sim.cli.console import Json, console, print_json, progress_bar, seed_list, settings
from nasbench_sim.files import atomic_path
from nasbench_sim.runs.ablate import ablate as run_ablation
from nasbench_sim.runs.ablate import folder_of
from nasbench_sim.runs.ablate_cell import finished
from nasbench_sim.runs.ablate_results import Ablation
from nasbench_sim.runs.grid import Cell, GridSpec, cells, grid_axes, judged_role, load_grid, make_grid
from nasbench_sim.runs.plan import work_of
from nasbench_sim.runs.problem import versions
from nasbench_sim.tables.catalogue import best_table_name, open_table
from nasbench_sim.tables.table import Table

FORMAT, SCHEMA = "nasbench-sim-ablation", 1
#: seconds that a unit of `work_of` takes one core, an estimate for --dry-run and nothing else: those that
#: `nasbench-sim search darts --landscape tabular --seeds 100 --workers 1` says, over 100 x 50 x 391
STEP_SECONDS = 2e-6


def ablate(
    spec: Annotated[Path, typer.Argument(help="A YAML file that names the axes.", show_default=False)],
    out: Annotated[Path | None, typer.Option(help="Folder of the ablation; default: runs/ablate-NAME.")] = None,
    executor: Annotated[
        str, typer.Option(help="process, dask://HOST:PORT, dask://local (starts workers here) or slurm.")
    ] = "process",
    workers: Annotated[int | None, typer.Option(help="Processes or jobs at a time; default: the cores.")] = None,
    slurm_option: Annotated[
        list[str] | None, typer.Option(help="An option of submitit, name=value (slurm_partition=cpu); repeatable.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue the ablation in --out.")] = False,
    seeds: Annotated[str, typer.Option(help="Instead of the file's: a number, a range (0:200) or a list.")] = "",
    correction: Annotated[str, typer.Option(help="For many comparisons: holm, or bh (Benjamini-Hochberg).")] = "holm",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="List the cells and the estimated work, run none.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Run every combination of a YAML file's axes over seeds, and tell axis by axis what matters.

    The file names a method, axes over its parameters (`samples: [1, 3]`), over the modelled landscape's
    (`landscape.onset: [0.4, 0.55]`) or the run's (`run.epochs: [25, 50]`), or over methods. It may be stopped at any
    moment: --resume goes on, and no finished cell is computed twice.
    """
    grid, text = load_grid(spec)
    if seeds:
        chosen = seed_list(seeds)
        fields = grid.model_dump(exclude_unset=True)
        grid = make_grid(**{**fields, "seeds": chosen if isinstance(chosen, int) else list(chosen)})
        text = f"# run with --seeds {seeds}\n{text}"
    folder = out or Path("runs") / f"ablate-{grid.name}"
    if dry_run:
        _list_cells(grid, folder, as_json)
        return
    from nasbench_sim.reporting.effects import check_correction

    checked = check_correction(correction)
    with progress_bar(not as_json, unit="cells") as (tick, _):
        result = run_ablation(
            grid,
            out=folder,
            executor=executor,
            workers=workers,
            options=settings(slurm_option or [], "--slurm-option"),
            resume=resume,
            text=text,
            on_tick=lambda done, total: tick([(done, total)]),
        )
    document = look(result, checked)
    if as_json:
        print_json(document)
        return
    say = console()
    say.print(
        f"{grid.name}: {len(result.cells)} cells of {len(result.seeds)} seeds on {result.table['name']} "
        f"({result.computed} computed, {result.found} found; {result.seconds:.0f} s)"
    )
    if result.table.get("remark"):
        say.print(f"Note: {result.table['remark']}")
    if result.failed.any():
        say.print(f"{int(result.failed.sum())} of {result.failed.size} searches failed; they are in no mean")
    for line in document["verdicts"]:
        say.print(line, soft_wrap=True)
    say.print(f"Files: {', '.join(document['files'])} in {folder}")


def look(result: Ablation, correction: Any = "holm") -> dict[str, Any]:
    """Write effects.csv, effects.svg, effects.png and ablation.json beside the results; returns the last as data."""
    # matplotlib and scipy.stats, which the workers do not need
    from nasbench_sim.reporting.effects import effects, write_effects
    from nasbench_sim.reporting.effects_plot import plot_effects
    from nasbench_sim.reporting.effects_words import verdicts
    from nasbench_sim.reporting.gallery import save_figure

    folder = result.folder
    found = effects(result, correction=correction)
    write_effects(found, folder / "effects.csv")
    figure = plot_effects(result, found)
    for suffix in ("svg", "png"):
        save_figure(figure, folder / f"effects.{suffix}")
    files = ["results.csv", "results.parquet", "effects.csv", "effects.svg", "effects.png", "spec.yaml"]
    document = {
        "format": FORMAT,
        "schema": SCHEMA,
        "name": result.grid.name,
        "table": {name: result.table.get(name, "") for name in ("name", "sha256", "remark")},
        "metric": result.role,
        "correction": correction,
        "seeds": len(result.seeds),
        "searches": result.failed.size,
        "failed": int(result.failed.sum()),
        "computed": result.computed,
        "found": result.found,
        "seconds": round(result.seconds, 3),
        "grid": result.grid.model_dump(mode="json", exclude_unset=True),
        "axes": [{**axis._asdict(), "baseline": axis.values[axis.baseline]} for axis in result.axes],
        "verdicts": verdicts(found, result.role, correction),
        "effects": [effect.record() for effect in found],
        "cells": result.summary(),
        "files": [*(name for name in files if (folder / name).exists()), "ablation.json"],
        "folder": str(folder),
        "versions": versions(),
    }
    with atomic_path(folder / "ablation.json") as part:
        part.write_text(json.dumps(document, indent=1, allow_nan=False) + "\n")
    return document


def _list_cells(grid: GridSpec, folder: Path, as_json: bool) -> None:
    table = open_table(grid.table or best_table_name())
    todo, role = cells(grid, table), judged_role(grid, table)
    steps = [len(c.spec.seeds) * c.spec.epochs * c.spec.steps_per_epoch for c in todo]
    timed = all(c.spec.landscape != "evaluations" for c in todo)
    estimate = sum(work_of(c.spec) for c in todo) * STEP_SECONDS if timed else None
    done = [_is_done(cell, table, folder) for cell in todo]
    if as_json:
        listed = [
            {"cell": c.number, "values": c.values, **c.panel._asdict(), "method": c.spec.method, "finished": ok,
             "folder": c.folder}
            for c, ok in zip(todo, done, strict=True)
        ]  # fmt: skip
        print_json({"name": grid.name, "table": table.name, "metric": role, "cells": listed,
                    "seed_steps": sum(steps), "core_seconds": estimate})  # fmt: skip
        return
    axes = grid_axes(grid)
    out = Grid("cell", "data set", "landscape", "method", *(axis.name for axis in axes), "finished", box=None,
               header_style="bold")  # fmt: skip
    for cell, ok in zip(todo, done, strict=True):
        shown = [axis.labels[level] for axis, level in zip(axes, cell.levels, strict=True)]
        spec = cell.spec
        out.add_row(str(cell.number), spec.dataset, spec.landscape, spec.method, *shown, "yes" if ok else "no")
    say = console()
    say.print(out)
    time = "" if estimate is None else f", about {max(1, round(estimate / 60))} min of one core"
    say.print(
        f"{len(todo)} cells of {len(todo[0].spec.seeds)} seeds on {table.name}, judged by {role}: "
        f"{sum(steps):,} seed-steps{time}; {sum(done)} finished in {folder}"
    )


def _is_done(cell: Cell, table: Table, folder: Path) -> bool:
    return finished(cell.spec, table.sha256, folder_of(folder, cell)) is not None
