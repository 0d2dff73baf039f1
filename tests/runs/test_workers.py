"""Searches on several processes from scripts as people write them: without the clause that `spawn` asks for."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from nasbench_sim.runs.workers import started, stopped

ROOT = Path(__file__).parents[2]
SEARCH = """
import nasbench_sim as nb
print("started")
table = nb.open_table("nb201-analog")
def both(method):
    words = dict(table=table, dataset="cifar10", seeds=400, epochs=2, steps_per_epoch=5)
    here, there = (nb.search(method, workers=n, **words) for n in (1, 2))
    assert (here.archs == there.archs).all()
    print("equal")
"""
OWN = """
from nasbench_sim.searchers import methods
from nasbench_sim.searchers.registry import register
darts = methods()["darts"]
@register(name="mine", title="t", paper="p", equation="e")
def mine(*, lr: float = 1e-2):
    return darts.make(lr=lr)
"""
CALL = {"bare": "both({})\n", "guarded": "if __name__ == '__main__':\n    both({})\n"}


def run_script(folder: Path, text: str) -> subprocess.CompletedProcess[str]:
    script = folder / "study.py"
    script.write_text(text)
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    return subprocess.run([sys.executable, str(script)], env=env, capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize("call", CALL)
def test_a_script_may_search_on_processes_without_a_guard_and_is_run_once(call: str, tmp_path: Path) -> None:
    done = run_script(tmp_path, SEARCH + CALL[call].format("'darts'"))
    assert done.stdout.split() == ["started", "equal"] and done.returncode == 0, done.stderr


def test_a_method_of_the_script_is_known_to_its_workers(tmp_path: Path) -> None:
    done = run_script(tmp_path, OWN + SEARCH + CALL["guarded"].format("'mine'"))
    assert "equal" in done.stdout and done.returncode == 0, done.stderr


def test_where_the_script_is_needed_a_missing_guard_is_an_error_and_no_waiting(tmp_path: Path) -> None:
    done = run_script(tmp_path, OWN + SEARCH + CALL["bare"].format("'mine'"))
    assert done.returncode and "must search under `if __name__ ==" in done.stderr.splitlines()[-1]


def test_workers_know_what_they_were_given() -> None:
    with started(2, words=["a", "b"]) as pool:
        assert pool.submit(_third, 1).result() == "b" and not stopped()


def _third(place: int) -> str:
    from nasbench_sim.runs.workers import ours

    return str(ours("words")[place])
