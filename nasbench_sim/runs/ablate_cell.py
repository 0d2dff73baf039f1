"""One cell of an ablation, wherever it runs: plain data in, a finished record in its folder out, computed once."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from nasbench_sim.errors import RunError, TableError, UserError
from nasbench_sim.runs.ablate_claims import Stopped, claimed, never
from nasbench_sim.runs.plan import PLAN
from nasbench_sim.runs.record import Run
from nasbench_sim.runs.search import search_all
from nasbench_sim.runs.spec import RunSpec, make_spec
from nasbench_sim.tables.catalogue import open_table
from nasbench_sim.tables.table import Table


class Task(NamedTuple):
    """A cell as it travels to a worker: JSON of its specification, the table's place and sha256, its folder."""

    spec: str
    table: str
    table_sha256: str
    folder: str


class Outcome(NamedTuple):
    """What came of a task: whether it was computed here (False: it was finished already), or the user's mistake."""

    computed: bool
    seconds: float
    error: str = ""


def finished(spec: RunSpec, table_sha256: str, folder: Path) -> Run | None:
    """The record in `folder`, None where there is none yet; raises `RunError` for a damaged one or another run's."""
    if not (folder / "run.json").exists():
        return None
    mend = "remove that folder and continue with --resume to compute it again"
    try:
        run = Run.load(folder)
    except RunError as error:
        raise RunError(f"{error}; {mend}") from error
    if run.spec != spec or run.table["sha256"] != table_sha256:
        raise RunError(f"{folder} holds a finished run of another specification or table; {mend}")
    return run


def run_cell(task: Task, stopped: Callable[[], bool] = never) -> Outcome:
    """Compute a cell unless it is finished; the user's mistakes come back as text, so that they travel.

    The table is opened here, once a process, and its sha256 compared. A cell that a killed worker left half done goes
    on from its last checkpoint; one that another worker computes now is waited for. Every attempt that finishes adds a
    line to `FOLDER.log`. Raises `Stopped` at the end of an epoch after `stopped()`.
    """
    began = time.perf_counter()
    try:
        computed = _run(task, stopped)
    except UserError as error:
        return Outcome(False, time.perf_counter() - began, str(error))
    except MemoryError as error:
        return Outcome(False, time.perf_counter() - began, f"not enough memory ({error}); ask for fewer seeds")
    return Outcome(computed, time.perf_counter() - began)


def _run(task: Task, stopped: Callable[[], bool]) -> bool:
    folder, data = Path(task.folder), json.loads(task.spec)
    spec = make_spec(**{**data, "seeds": tuple(data["seeds"])})
    if finished(spec, task.table_sha256, folder) is not None:
        return False
    table = _table(task.table, spec.table, task.table_sha256)
    while True:
        with claimed(folder, stopped=stopped) as claim:
            if finished(spec, table.sha256, folder) is not None:
                claim.settled = True
                return False
            began = time.perf_counter()

            def tick(_: Sequence[tuple[int, int]], lost: Callable[[], bool] = claim.lost.is_set) -> None:
                if lost() or stopped():
                    raise Stopped

            try:
                _compute(spec, table, folder, tick)
            except Stopped:
                if stopped():
                    raise
                continue  # the other process will finish it: wait for that
            _log(folder, time.perf_counter() - began)
            claim.settled = True
            return True


def _compute(spec: RunSpec, table: Table, folder: Path, tick: Callable[[Sequence[tuple[int, int]]], None]) -> None:
    for part in folder.glob(".*.part"):  # half-written files of a killed process; the claim makes them ours
        part.unlink(missing_ok=True)
    resume = (folder / PLAN).exists()
    for _ in search_all([spec], table, folders=[folder], on_tick=tick, resume=resume, workers=1):
        pass


def _log(folder: Path, seconds: float) -> None:
    line = {"finished": True, "host": socket.gethostname(), "pid": os.getpid(), "seconds": round(seconds, 3)}
    with Path(f"{folder}.log").open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


@lru_cache(maxsize=2)
def _table(where: str, name: str, sha256: str) -> Table:
    """The table at `where`, opened once a process; raises `TableError` where it is another one here."""
    table = open_table(where)
    if table.sha256 != sha256:
        raise TableError(
            f"table {name} ({where}) has sha256 {table.sha256[:12]}... on {socket.gethostname()}, the ablation runs on "
            f"{sha256[:12]}...; give every worker the same table"
        )
    return table if table.name == name else replace(table, name=name)
