"""Ablations: the same bits on every executor, killed and resumed, nothing computed twice, tidy results."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nasbench_sim as nb
from nasbench_sim.errors import RunError, SpecError, TableError, UserError
from nasbench_sim.runs import Run, search_all
from nasbench_sim.runs.ablate import ablate, folder_of, open_ablation
from nasbench_sim.runs.ablate_cell import Task, finished, run_cell
from nasbench_sim.runs.ablate_claims import Stopped, claims
from nasbench_sim.runs.ablate_results import Ablation, outcomes
from nasbench_sim.runs.engine import Batch
from nasbench_sim.runs.grid import GridSpec, cells, make_grid
from nasbench_sim.tables.catalogue import open_table
from nasbench_sim.tables.store import write_table
from tests.synthetic import synthetic_table

ROOT = Path(__file__).parents[2]
AXES = {"init_precision": [100, 1e4], "denominator": ["sqrt", "plain"]}


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a small made-up table."""
    path = tmp_path_factory.mktemp("table") / "synthetic.h5"
    write_table(synthetic_table(), path)
    return path


def grid(table: Path, **more: Any) -> GridSpec:
    """Four cells of BaLeNAS, three seeds of two short epochs."""
    fields = {"name": "small", "method": "balenas", "seeds": 3, "epochs": 2, "steps_per_epoch": 8, "axes": AXES}
    return make_grid(table=str(table), **{**fields, **more})


def equal(a: Ablation, b: Ablation) -> bool:
    """Equal bit for bit in everything that was measured."""
    return all(np.array_equal(a.accuracy[r], b.accuracy[r], equal_nan=True) for r in ("valid", "test")) and (
        np.array_equal(a.skip_ratio, b.skip_ratio, equal_nan=True) and np.array_equal(a.failed, b.failed)
    )


def logged(folder: Path) -> dict[str, int]:
    """Cell -> how many attempts finished it."""
    found = {p.stem: p.read_text().splitlines() for p in (folder / "cells").glob("*.log")}
    assert all(json.loads(line)["finished"] for lines in found.values() for line in lines)
    return {name: len(lines) for name, lines in found.items()}


def stamps(folder: Path) -> dict[str, int]:
    """When each finished record was written, ns."""
    return {str(p): p.stat().st_mtime_ns for p in (folder / "cells").glob("*/*")}


def test_every_cell_is_the_search_it_stands_for(table: Path, tmp_path: Path) -> None:
    ticks: list[tuple[int, int]] = []
    result = ablate(grid(table), out=tmp_path / "a", workers=1, on_tick=lambda d, t: ticks.append((d, t)))
    assert ticks == [(i, 4) for i in range(5)] and (result.computed, result.found) == (4, 0)
    for cell in result.cells:
        run = nb.search("balenas", table=open_table(table), dataset="cifar10", seeds=3, epochs=2, steps_per_epoch=8,
                        params=cell.values, workers=1)  # fmt: skip
        assert np.array_equal(run.final("test"), result.accuracy["test"][cell.number])
        assert np.array_equal(run.history["skip_ratio"][:, -1], result.skip_ratio[cell.number])
        kept = Run.load(folder_of(tmp_path / "a", cell))
        assert kept.spec == cell.spec and np.array_equal(kept.archs, run.archs)
    assert not result.failed.any() and claims(tmp_path / "a" / "cells" / result.cells[0].folder) == []
    assert sorted(p.name for p in (tmp_path / "a").iterdir()) == [
        "cells", "grid.json", "results.csv", "results.parquet", "spec.yaml"
    ]  # fmt: skip


def test_the_tidy_file_has_one_row_a_cell_seed_and_role(table: Path, tmp_path: Path) -> None:
    pq = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed (extra parquet)")
    axes = {"c": [None, 1], "betas": [[0.5, 0.999], [0.9, 0.999]], "landscape.onset": [0.4, 0.55], "run.epochs": [1, 2]}
    result = ablate(make_grid(name="x", method="bpnas", table=str(table), seeds=[7, 3], steps_per_epoch=4, axes=axes),
                    out=tmp_path, workers=1)  # fmt: skip
    with (tmp_path / "results.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == [
        "cell", "dataset", "landscape", "method", "c", "betas", "landscape.onset", "run.epochs",
        "seed", "role", "accuracy_percent", "skip_ratio", "failed",
    ]  # fmt: skip
    assert len(rows) == 16 * 2 * 2 and len({(r["cell"], r["seed"], r["role"]) for r in rows}) == len(rows)
    for row in rows:
        cell, seed = result.cells[int(row["cell"])], [7, 3].index(int(row["seed"]))
        assert np.float32(row["accuracy_percent"]) == result.accuracy[row["role"]][cell.number, seed]
        assert np.float32(row["skip_ratio"]) == result.skip_ratio[cell.number, seed]
        assert json.loads(row["betas"]) == cell.values["betas"] and json.loads(row["c"]) == cell.values["c"]
        assert float(row["landscape.onset"]) == cell.values["landscape.onset"]
        assert int(row["run.epochs"]) == cell.spec.epochs and row["failed"] == "false"
    table_ = pq.read_table(tmp_path / "results.parquet")
    assert table_.column_names == list(rows[0]) and len(table_) == len(rows)
    types = {field.name: str(field.type) for field in table_.schema}
    assert (types["c"], types["betas"], types["run.epochs"], types["failed"]) == ("double", "string", "int64", "bool")
    for ours, theirs in zip(rows, table_.to_pylist(), strict=True):
        assert np.float32(ours["accuracy_percent"]) == np.float32(theirs["accuracy_percent"])
        assert (ours["role"], int(ours["seed"]), ours["betas"]) == (theirs["role"], theirs["seed"], theirs["betas"])
        assert theirs["c"] == json.loads(ours["c"])


def test_failed_searches_are_counted_and_kept(table: Path, tmp_path: Path) -> None:
    axes = {"lr": [3e-4, 1e38]}  # the second overflows float32 in its first steps
    small = grid(table, axes=axes, params={"denominator": "plain", "init_precision": 1})
    result = ablate(small, out=tmp_path, workers=1)
    assert result.failed.tolist() == [[False] * 3, [True] * 3]
    assert np.isnan(result.accuracy["test"][1]).all() and np.isnan(result.skip_ratio[1]).all()
    assert np.isfinite(result.accuracy["test"][0]).all()
    with (tmp_path / "results.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["cell"] == "1"]
    assert len(rows) == 6
    assert {(r["accuracy_percent"], r["skip_ratio"], r["failed"]) for r in rows} == {("", "", "true")}
    summary = result.summary()
    assert [(s["n"], s["failed"]) for s in summary] == [(3, 0), (3, 3)] and summary[1]["test"]["mean"] is None
    again = ablate(small, out=tmp_path, workers=1, resume=True)
    assert again.found == 2 and equal(result, again)


@pytest.mark.parametrize("executor", ["process", "slurm"])
def test_executors_do_not_change_a_bit(table: Path, tmp_path: Path, executor: str, monkeypatch: Any) -> None:
    options: dict[str, Any] = {}
    if executor == "slurm":
        pytest.importorskip("submitit", reason="submitit is not installed (extra sweep)")
        monkeypatch.setenv("PYTHONPATH", str(ROOT))
        options = {"cluster": "local", "poll_seconds": 1}
    here = ablate(grid(table), out=tmp_path / "here", workers=1)
    there = ablate(grid(table, slurm=options), out=tmp_path / "there", executor=executor, workers=2)
    assert equal(here, there) and there.computed == 4
    read = [(tmp_path / name / "results.csv").read_bytes() for name in ("here", "there")]
    assert read[0] == read[1] and set(logged(tmp_path / "there").values()) == {1}


def test_dask_goes_on_without_a_killed_worker(table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    distributed = pytest.importorskip("distributed", reason="distributed is not installed (extra sweep)")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    small = grid(table, axes={"lr": [i * 1e-4 for i in range(1, 9)]}, seeds=20, epochs=6, steps_per_epoch=60)
    out, killed = tmp_path / "dask", []

    def kill_one() -> None:
        until = time.monotonic() + 60
        while time.monotonic() < until:
            for path in (out / "cells").glob("*.claim-*"):
                try:
                    pid = json.loads(path.read_text())["pid"]
                except (OSError, ValueError):
                    continue
                if not logged(out):  # a few should be done
                    continue
                os.kill(pid, signal.SIGSTOP)  # so that it does not end between the look and the kill
                if path.exists() and not (path.with_suffix("") / "run.json").exists():
                    os.kill(pid, signal.SIGKILL)
                    killed.append((pid, path.stem))
                    return
                os.kill(pid, signal.SIGCONT)
            time.sleep(0.01)

    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
        assert len({w.pid for w in cluster.workers.values()}) == 2
        thread = threading.Thread(target=kill_one)
        thread.start()
        result = ablate(small, out=out, executor=cluster.scheduler_address.replace("tcp", "dask"))
        thread.join(timeout=60)
    assert killed, "no worker was killed mid-run"
    # each once; one that the killed worker had just finished but not yet reported is found, not computed again
    assert result.computed + result.found == 8 and result.found <= 1
    assert set(logged(out).values()) == {1} and len(logged(out)) == 8
    attempts = [json.loads(p.read_text()) for p in (out / "cells").glob("*.log")]
    assert killed[0][0] != json.loads((out / "cells" / f"{killed[0][1]}.log").read_text())["pid"]
    assert len({a["pid"] for a in attempts}) >= 2
    assert equal(result, ablate(small, out=tmp_path / "serial", workers=1))
    assert (out / "results.csv").read_bytes() == (tmp_path / "serial" / "results.csv").read_bytes()


KILLED = """
import sys
from pathlib import Path
from nasbench_sim.runs.ablate import ablate
from nasbench_sim.runs.engine import Batch
from nasbench_sim.runs.grid import make_grid
if __name__ == "__main__":
    fields = dict(name="big", method="darts", seeds=100, epochs=2, steps_per_epoch=25, table=sys.argv[1],
                  axes={"lr": [i * 1e-4 for i in range(1, 9)], "weight_decay": [i * 1e-3 for i in range(8)]})
    result = ablate(make_grid(**fields), out=Path(sys.argv[2]), workers=int(sys.argv[3]), resume="resume" in sys.argv,
                    on_tick=lambda done, total: print(done, total, flush=True))
    print("computed", result.computed, flush=True)
"""


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_a_grid_of_64_cells_goes_on_after_kill_9(table: Path, tmp_path: Path, workers: int) -> None:
    script, out = tmp_path / "job.py", tmp_path / "out"
    script.write_text(KILLED)
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1"}

    def start(*words: str) -> subprocess.Popen[str]:
        command = [sys.executable, str(script), str(table), str(out), str(workers), *words]
        pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        return subprocess.Popen(command, env=env, start_new_session=True, **pipes)

    done = 0
    for words in ((), ("resume",)):  # killed twice
        job = start(*words)
        assert job.stdout is not None
        for line in job.stdout:
            if int(line.split()[0]) >= done + 9:
                break
        job.kill()
        job.communicate(timeout=60)
        time.sleep(0.5)  # its workers follow
        before = {k: v for k, v in stamps(out).items() if (Path(k).parent / "run.json").exists()}
        assert (
            done + 18 <= 2 * len([k for k in before if k.endswith("run.json")]) and not (out / "results.csv").exists()
        )
        done = len([k for k in before if k.endswith("run.json")])
    assert done < 64
    job = start("resume")
    said, errors = job.communicate(timeout=120)
    assert job.returncode == 0, errors
    assert said.splitlines()[0] == f"{done} 64" and said.splitlines()[-1] == f"computed {64 - done}"
    assert {k: v for k, v in stamps(out).items() if k in before} == before, "a finished cell was written again"
    assert len(stamps(out)) == 128 and max(logged(out).values()) == 1
    axes = {"lr": [i * 1e-4 for i in range(1, 9)], "weight_decay": [i * 1e-3 for i in range(8)]}
    whole = grid(table, name="big", method="darts", seeds=100, steps_per_epoch=25, axes=axes)
    ablate(whole, out=tmp_path / "whole", workers=1)
    assert (out / "results.csv").read_bytes() == (tmp_path / "whole" / "results.csv").read_bytes()


def test_a_half_done_cell_goes_on_from_its_checkpoint(table: Path, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("nasbench_sim.runs.ablate_cell.search_all", partial(search_all, interval=0.0))
    opened = open_table(table)
    cell = cells(grid(table, epochs=6), opened)[0]
    task = Task(cell.spec.model_dump_json(), str(table), opened.sha256, str(tmp_path / "cells" / cell.folder))
    looks = iter([False, False, False, False, True, True, True, True])
    with pytest.raises(Stopped):
        run_cell(task, stopped=lambda: next(looks))
    folder = Path(task.folder)
    assert (folder / "checkpoints" / "part-0000.h5").exists() and not (folder / "run.json").exists()
    (folder / ".plan.json.x.part").write_text("half of")  # what a kill may leave beside it
    epochs: list[int] = []
    monkeypatch.setattr(Batch, "advance", _counting(epochs))
    outcome = run_cell(task)
    assert outcome.computed and not outcome.error and epochs == list(range(6 - len(epochs), 6)) and len(epochs) < 6
    fresh = run_cell(task._replace(folder=str(tmp_path / "fresh" / cell.folder)))
    assert fresh.computed
    runs = [finished(cell.spec, opened.sha256, p) for p in (folder, tmp_path / "fresh" / cell.folder)]
    assert runs[0] is not None and runs[1] is not None and np.array_equal(runs[0].archs, runs[1].archs)
    assert (
        run_cell(task).computed is False and len((folder.parent / f"{cell.folder}.log").read_text().splitlines()) == 1
    )


def _counting(epochs: list[int]) -> Any:
    advance = Batch.advance

    def counted(self: Any, progress: Any) -> Any:
        epochs.append(progress.epoch)
        return advance(self, progress)

    return counted


def test_folders_of_something_else_are_refused(table: Path, tmp_path: Path) -> None:
    small = grid(table)
    opened = open_table(table)
    (tmp_path / "file").write_text("x")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.tex").write_text("precious")
    ablate(small, out=tmp_path / "mine", workers=1)
    for out, more, said in (
        ("file", {}, "is a file"),
        ("other", {}, "not empty"),
        ("other", {"resume": True}, "not empty"),
        ("new", {"resume": True}, "no ablation to resume"),
        ("mine", {}, "already holds an ablation; continue it with --resume"),
    ):
        with pytest.raises(RunError, match=said):
            ablate(small, out=tmp_path / out, workers=1, **more)
    with pytest.raises(RunError, match="holds the ablation 'small', not 'second'"):
        ablate(grid(table, name="second"), out=tmp_path / "mine", workers=1, resume=True)
    write_table(synthetic_table(seed=1), tmp_path / "changed.h5")
    with pytest.raises(RunError, match="on another table"):
        ablate(grid(tmp_path / "changed.h5"), out=tmp_path / "mine", workers=1, resume=True)
    (tmp_path / "mine" / "grid.json").write_text("[]")
    with pytest.raises(RunError, match="is damaged or not of an ablation"):
        open_ablation(tmp_path / "mine", small, opened, resume=True)
    assert not (tmp_path / "new").exists() and (tmp_path / "other" / "thesis.tex").read_text() == "precious"


def test_a_grid_may_grow_and_keeps_what_it_has(table: Path, tmp_path: Path) -> None:
    first = ablate(grid(table), out=tmp_path, workers=1)
    before = stamps(tmp_path)
    wider = grid(table, axes={**AXES, "init_precision": [100, 1e4, 1e6]})
    second = ablate(wider, out=tmp_path, workers=1, resume=True)
    assert (second.computed, second.found) == (2, 4) and before.items() <= stamps(tmp_path).items()
    assert np.array_equal(second.accuracy["test"][:4], first.accuracy["test"])


@pytest.mark.parametrize("damage", ["record", "json", "swapped"])
def test_a_damaged_cell_is_refused_by_name(table: Path, tmp_path: Path, damage: str) -> None:
    result = ablate(grid(table), out=tmp_path, workers=1)
    one, two = (tmp_path / "cells" / cell.folder for cell in result.cells[:2])
    if damage == "record":
        (one / "record.h5").write_bytes((one / "record.h5").read_bytes()[:-9])
    elif damage == "json":
        (one / "run.json").write_text("{")
    else:
        for name in ("run.json", "record.h5"):
            (one / name).write_bytes((two / name).read_bytes())
    with pytest.raises(RunError, match="remove that folder and continue with --resume"):
        ablate(grid(table), out=tmp_path, workers=1, resume=True)
    for path in one.iterdir():
        path.unlink()
    assert ablate(grid(table), out=tmp_path, workers=1, resume=True).computed == 1


def test_a_worker_with_another_table_says_so(table: Path, tmp_path: Path) -> None:
    opened = open_table(table)
    cell = cells(grid(table), opened)[0]
    changed = tmp_path / "synthetic.h5"
    write_table(synthetic_table(seed=1), changed)
    task = Task(cell.spec.model_dump_json(), str(changed), opened.sha256, str(tmp_path / "c"))
    assert "give every worker the same table" in run_cell(task).error
    assert "cannot be read" in run_cell(task._replace(table=str(tmp_path / "none.h5"))).error
    assert not (tmp_path / "c").exists()


def test_a_cell_that_cannot_be_computed_ends_the_ablation(table: Path, tmp_path: Path, monkeypatch: Any) -> None:
    def refuse(*_: Any, **__: Any) -> Any:
        raise TableError("the disk is gone")

    monkeypatch.setattr("nasbench_sim.runs.ablate_cell.search_all", refuse)
    with pytest.raises(RunError, match=r"cell init_precision=100\.0, denominator=sqrt .*: the disk is gone"):
        ablate(grid(table), out=tmp_path, workers=1)
    monkeypatch.undo()
    assert ablate(grid(table), out=tmp_path, workers=1, resume=True).computed == 4


def test_other_seeds_and_unmeasured_cells_make_no_results(table: Path, tmp_path: Path) -> None:
    result = ablate(grid(table), out=tmp_path, workers=1)
    cell = result.cells[0]
    run = Run.load(folder_of(tmp_path, cell))
    other = nb.search("balenas", table=open_table(table), dataset="cifar10", seeds=[5, 6, 7], epochs=2,
                      steps_per_epoch=8, params=cell.values, workers=1)  # fmt: skip
    with pytest.raises(RunError, match="holds other seeds"):
        outcomes(cell, other)
    moved = [outcomes(c, Run.load(folder_of(tmp_path, c))) for c in result.cells]
    moved[2] = replace(moved[2], seeds=moved[2].seeds + 1)
    with pytest.raises(RunError, match="only equal seeds make pairs"):
        Ablation.gather(result.grid, result.axes, result.cells, "test", moved, tmp_path)
    history = {**run.history, "test": np.full_like(run.history["test"], np.nan)}
    with pytest.raises(RunError, match="without test accuracy"):
        outcomes(cell, replace(run, history=history))


def test_an_impossible_grid_leaves_nothing_behind(table: Path, tmp_path: Path) -> None:
    for change in ({"axes": {"samples": [1, 0]}}, {"metric": "tset"}, {"table": "nb202"}, {"seeds": "x"}):
        with pytest.raises(UserError):
            ablate(make_grid(**{**grid(table).model_dump(exclude_unset=True), **change}), out=tmp_path / "out")
    with pytest.raises(SpecError, match="unknown executor"):
        ablate(grid(table), out=tmp_path / "out", executor="threads")
    assert not (tmp_path / "out").exists()
