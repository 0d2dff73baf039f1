"""`ablate`: a full grid over seeds, cell by cell, resumable at any moment, on any executor; one tidy file out.

The folder of an ablation:

grid.json, spec.yaml     what was asked, and on which table
cells/METHOD-DIGEST/     the record of a cell (`Run.load`), named by its whole specification
cells/METHOD-DIGEST.log  one line for every attempt that finished it
results.csv, .parquet    one row a (cell, seed, role)
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from nasbench_sim.errors import RunError
from nasbench_sim.files import MAX_JSON, atomic_path, read_text
from nasbench_sim.runs.ablate_cell import Task, finished, run_cell
from nasbench_sim.runs.ablate_results import Ablation, Outcomes, outcomes
from nasbench_sim.runs.executors import make_executor
from nasbench_sim.runs.grid import Cell, GridSpec, cells, describe, grid_axes, judged_role
from nasbench_sim.runs.plan import work_of
from nasbench_sim.runs.record import Run
from nasbench_sim.runs.search import SMALL, cores
from nasbench_sim.runs.workers import stopped
from nasbench_sim.tables.catalogue import EMBEDDED, best_table_name, open_table, table_path
from nasbench_sim.tables.table import Table

FORMAT, MARKER = "nasbench-sim-grid", "grid.json"
#: seconds that a finished record may take to be seen here: file servers cache folders
_SETTLE = 60.0

Tick = Callable[[int, int], None]


def ablate(
    grid: GridSpec,
    *,
    out: Path | str,
    executor: str = "process",
    workers: int | None = None,
    options: Mapping[str, Any] | None = None,
    resume: bool = False,
    text: str | None = None,
    on_tick: Tick = lambda done, total: None,
) -> Ablation:
    """Run every cell of `grid` into the folder `out` and write `results.csv` (and `.parquet` where pyarrow is).

    A cell that is finished (its record loads and is of this specification and table) is never computed again.
    `executor` and `options`: see `executors`. `workers`: default the cores, or this process alone for a small grid.
    `text`: the YAML that `grid` was read from, kept as `spec.yaml`. `on_tick` gets (cells finished, cells in all).

    Raises `SpecError` for an impossible grid before anything runs, `RunError` for a folder of something else, a cell
    that cannot be computed, or workers that keep dying; what is finished then stays, and `resume=True` goes on.

    >>> import tempfile
    >>> from nasbench_sim.runs.grid import make_grid
    >>> grid = make_grid(name="lr", table="nb201-analog", method="darts", seeds=3, epochs=1, steps_per_epoch=5,
    ...                  axes={"lr": [1e-4, 3e-4]})
    >>> result = ablate(grid, out=Path(tempfile.mkdtemp()) / "lr", workers=1)
    >>> result.accuracy["accuracy"].shape, result.computed
    ((2, 3), 2)
    """
    began = time.perf_counter()
    folder = Path(out)
    name = grid.table or best_table_name()
    table = open_table(name)
    axes, todo, role = grid_axes(grid), cells(grid, table), judged_role(grid, table)
    if workers is None and executor == "process":
        workers = 1 if sum(work_of(cell.spec) for cell in todo) < SMALL else cores()
    if executor == "slurm":
        options = {**grid.slurm, **(options or {})}  # the file's own, where nothing else is said
    engine = make_executor(executor, folder=folder, workers=workers, options=options)
    open_ablation(folder, grid, table, resume=resume, text=text)
    collected: dict[int, Outcomes] = {}
    for cell in todo:
        run = finished(cell.spec, table.sha256, folder_of(folder, cell))
        if run is not None:
            collected[cell.number] = outcomes(cell, run)
    pending = [cell for cell in todo if cell.number not in collected]
    pending.sort(key=lambda cell: -work_of(cell.spec))  # the dearest first, so that the workers end together
    on_tick(len(collected), len(todo))
    where = _place(name)
    tasks = [Task(c.spec.model_dump_json(), where, table.sha256, str(folder_of(folder, c).resolve())) for c in pending]
    computed = 0
    work = engine.run(partial(run_cell, stopped=stopped), tasks) if tasks else ()
    for position, outcome in work:
        cell = pending[position]
        if outcome.error:
            raise RunError(f"cell {describe(cell)}: {outcome.error}; finished cells are kept for --resume")
        computed += outcome.computed
        collected[cell.number] = outcomes(cell, _settled(cell, table, folder))
        on_tick(len(collected), len(todo))
    parts = [collected[cell.number] for cell in todo]
    seconds = time.perf_counter() - began
    result = Ablation.gather(grid, axes, todo, role, parts, folder, computed=computed, seconds=seconds)
    result.write_csv(folder / "results.csv")
    result.write_parquet(folder / "results.parquet")
    return result


def folder_of(folder: Path, cell: Cell) -> Path:
    """Where the record of a cell stands."""
    return folder / "cells" / cell.folder


def open_ablation(folder: Path, grid: GridSpec, table: Table, *, resume: bool, text: str | None = None) -> None:
    """Claim `folder` for `grid`, or take up the ablation of that name which is there.

    A grid that was extended goes on with the cells it shares with the earlier one. Raises `RunError` for a folder of
    something else, of an ablation of another name or table, and where `resume` does not fit what is there.
    """
    marker = folder / MARKER
    if folder.exists() and not folder.is_dir():
        raise RunError(f"{folder} is a file; give a folder")
    if marker.exists():
        known = _read_marker(marker)
        if not resume:
            raise RunError(f"{folder} already holds an ablation; continue it with --resume, or choose another folder")
        if known["name"] != grid.name:
            raise RunError(f"{folder} holds the ablation {known['name']!r}, not {grid.name!r}; choose another folder")
        if known["table_sha256"] != table.sha256:
            raise RunError(
                f"{folder} holds an ablation on another table (sha256 {str(known['table_sha256'])[:12]}..., this one "
                f"is {table.sha256[:12]}...); open that table or choose another folder"
            )
    elif folder.is_dir() and any(not path.name.startswith(f".{MARKER}.") for path in folder.iterdir()):
        raise RunError(f"{folder} is not empty and holds no ablation of ours; choose an empty or new folder")
    elif resume:
        raise RunError(f"{folder} holds no ablation to resume; leave --resume away to start one")
    plain = grid.model_dump(mode="json", exclude_unset=True)
    facts = {"format": FORMAT, "name": grid.name, "table": table.name, "table_sha256": table.sha256, "grid": plain}
    with atomic_path(marker) as part:
        part.write_text(json.dumps(facts, indent=1) + "\n")
    with atomic_path(folder / "spec.yaml") as part:
        # JSON is YAML, and means the same in every version of it
        part.write_text(json.dumps(plain, indent=1) + "\n" if text is None else text, encoding="utf-8")


def _read_marker(path: Path) -> dict[str, Any]:
    try:
        known = json.loads(read_text(path, MAX_JSON))
        if known["format"] == FORMAT and isinstance(known["name"], str):
            return {"name": known["name"], "table_sha256": known["table_sha256"]}
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        pass
    raise RunError(f"{path} is damaged or not of an ablation; choose another folder")


def _place(table: str) -> str:
    """Where a worker finds the table: an absolute path (it stands in another folder), the project's own by name."""
    if table in EMBEDDED:
        return table
    return str((Path(table) if table.endswith(".h5") or os.sep in table else table_path(table)).resolve())


def _settled(cell: Cell, table: Table, folder: Path) -> Run:
    """The record of a cell that a worker has just finished, as soon as it can be seen here."""
    until = time.monotonic() + _SETTLE
    while True:
        run = finished(cell.spec, table.sha256, folder_of(folder, cell))
        if run is not None:
            return run
        if time.monotonic() > until:
            raise RunError(
                f"cell {describe(cell)} was finished by a worker, but {folder_of(folder, cell)} holds no record; "
                "give an --out that all workers share"
            )
        time.sleep(0.5)
