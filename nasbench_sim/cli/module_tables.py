"""`nasbench-sim tables` for NAS-Bench-101, which is a table of modules, and for partial tables: complete."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import typer
from rich.table import Table as Grid

from nasbench_sim.cli.console import console, print_json
from nasbench_sim.errors import RunError, SpecError
from nasbench_sim.tables import catalogue
from nasbench_sim.tables.fetch import Progress, fetch_originals
from nasbench_sim.tables.modules import ALL_MODULES, NAME, SPLITS, ModuleTable, verify_modules, write_modules
from nasbench_sim.tables.nb101 import read_nb101
from nasbench_sim.tables.nb101_csv import write_csv
from nasbench_sim.tables.nb101_sources import FULL, ONLY_108
from nasbench_sim.tables.regressor import Quality


def here() -> bool:
    """Whether `nb101` was imported."""
    return catalogue.modules_path().is_file()


def listed() -> list[catalogue.Listed]:
    """`nb101` as an entry of `tables list`, where it is here."""
    path = catalogue.modules_path()
    return [catalogue.Listed(NAME, path, path.stat().st_size)] if here() else []


def fetch(host: str | None, *, full: bool, force: bool, as_json: bool, progress: Progress | None) -> None:
    """Download a published file, and make `nb101` and the three tables of NAS-Bench-1Shot1 from it."""
    if here() and not force:
        table = catalogue.open_modules()
        has = f"is here already, with {', '.join(map(str, table.budgets))} epochs"
        _done(table, {NAME: catalogue.modules_path()}, as_json, f"{has}; --force downloads and builds it again")
        return
    wanted = FULL if full else ONLY_108
    folder = fetch_originals(host=host, originals=(wanted,), progress=progress)
    import_(folder / wanted.file, force=force, as_json=as_json, progress=progress)


def import_(source: Path, *, force: bool, as_json: bool, progress: Progress | None) -> None:
    """Make `nb101` and the three tables of NAS-Bench-1Shot1 from a file, or from the best one in a folder."""
    table = read_nb101(source, progress=progress)
    _done(table, catalogue.install_nb101(table, force=force), as_json, "imported and checked")


def info(as_json: bool) -> None:
    """Show what `nb101` holds."""
    table = catalogue.open_modules()
    rows = [
        {"epochs": epochs, "when": when, "split": split, **_best(table, epochs, when, split)}
        for epochs in table.budgets
        for when in ("halfway", "final")
        for split in SPLITS
    ]
    if as_json:
        about = {"name": NAME, "modules": table.size, "of": ALL_MODULES, "sha256": table.sha256, "accuracy": rows}
        print_json({**about, "notes": list(table.notes), "sources": [asdict(s) for s in table.sources]})
        return
    out = console()
    out.print(f"{NAME}: {table.size:,} of {ALL_MODULES:,} modules of NAS-Bench-101", style="bold")
    typer.echo(f"sha256 {table.sha256}")
    grid = Grid("epochs", "when", "split", "measured", "best mean %", "hash", box=None, header_style="bold")
    for row in rows:
        grid.add_row(*(f"{row[name]:,}" if name == "measured" else str(row[name]) for name in row))
    out.print(grid)
    for note in table.notes:
        typer.echo(f"note: {note}")
    for source in table.sources:
        typer.echo(f"source: {source.name}")
        for label, text in (("gives", source.gives), ("licence", source.licence), ("cite", source.citation)):
            if text:
                typer.echo(f"  {label}: {text}")


def _best(table: ModuleTable, epochs: int, when: Any, split: Any) -> dict[str, Any]:
    column = table.values(epochs=epochs, run="mean", split=split, when=when)
    measured = int((~np.isnan(column)).sum())
    if not measured:
        return {"measured": 0, "best": None, "hash": None}
    row = int(np.nanargmax(column))
    return {"measured": measured, "best": float(str(column[row])), "hash": table.hashes[row].decode()}


def verify() -> dict[str, Any]:
    """Read all of `nb101` and check every sum and number; one entry of `tables verify --json`."""
    table = catalogue.open_modules()
    verify_modules(table)
    return {"name": NAME, "sha256": table.sha256, "ok": True, "modules": table.size}


def export(file: Path, *, force: bool, as_json: bool) -> None:
    """Write `nb101` as CSV, which `tables import nb101 --from` reads, or as its own file."""
    if not file.name.endswith((".csv", ".safetensors")):
        raise SpecError(f"cannot tell what to write from {file.name!r}; end the file name in .csv or .safetensors")
    if file.exists() and not force:
        raise RunError(f"{file} exists; choose another file, or use --force")
    table = catalogue.open_modules()
    if file.suffix == ".csv":
        write_csv(table, file)
    else:
        write_modules(table, file)
    _done(table, {NAME: file}, as_json, "written")


def complete(name: str, how: str, *, force: bool, as_json: bool) -> None:
    """Complete a partial table and say how good the predictions are."""
    table = catalogue.open_table(name)
    path = catalogue.install_completed(table, how, force=force)
    made = catalogue.open_table(f"{table.name}+{how}")
    facts = made.extra["completed"]
    if as_json:
        print_json({"name": made.name, "path": str(path), "sha256": made.sha256, "completed": facts})
        return
    typer.echo(f"{made.name}: {facts['measured']:,} measured, {facts['predicted']:,} predicted ({path})")
    grid = Grid("held out", "n", "tau", "tau of the best tenth", "R2", "R2 without failed", "mean error", box=None)
    for column, quality in facts["held_out"].items():
        n, *numbers = Quality(**quality)  # in their order: JSON in a table file is sorted
        grid.add_row(column, f"{n:,}", *(f"{value:.3f}" for value in numbers))
    console().print(grid)
    typer.echo(f"note: {made.remark}")


def _done(table: ModuleTable, files: dict[str, Path], as_json: bool, what: str) -> None:
    if as_json:
        paths = {name: str(path) for name, path in files.items()}
        print_json({"name": NAME, "modules": table.size, "epochs": list(table.budgets), "files": paths})
        return
    typer.echo(f"{NAME}: {table.size:,} of {ALL_MODULES:,} modules, {what} ({files[NAME]})")
    for name, path in files.items():
        if name != NAME:
            remark = catalogue.open_table(name).remark
            typer.echo(f"{name}: made from it ({path})" + (f"; {remark}" if remark else ""))
