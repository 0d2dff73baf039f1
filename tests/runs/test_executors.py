"""The executor seam and the claims: every engine gives the same, a killed worker loses nothing, one cell one worker."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from nasbench_sim.errors import RunError, SpecError
from nasbench_sim.runs import ablate_claims, workers
from nasbench_sim.runs.ablate_claims import Stopped, claimed, claims
from nasbench_sim.runs.executors import DaskExecutor, ProcessExecutor, SlurmExecutor, make_executor

ROOT = Path(__file__).parents[2]


def square(number: int) -> int:
    """What the workers compute."""
    return number * number


def die_once(folder: str, number: int) -> int:
    """As `square`, but the first worker that takes item 3 is killed."""
    if number == 3:
        try:
            os.close(os.open(Path(folder) / "died", os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return square(number)
        os.kill(os.getpid(), signal.SIGKILL)
    return square(number)


def die_always(number: int) -> int:
    """A worker that never comes back."""
    os.kill(os.getpid(), signal.SIGKILL)
    return number


def refuse(number: int) -> int:
    """A mistake in the function itself."""
    raise ZeroDivisionError(f"item {number}")


@pytest.fixture
def paths(monkeypatch: pytest.MonkeyPatch) -> None:
    """Worker processes of other engines can import this module."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


def engine(kind: str, folder: Path) -> Any:
    """An executor of two workers that needs no cluster."""
    if kind == "slurm":
        pytest.importorskip("submitit", reason="submitit is not installed (extra sweep)")
        return make_executor("slurm", folder=folder, workers=2, options={"cluster": "local", "poll_seconds": 1})
    if kind == "dask":
        pytest.importorskip("distributed", reason="distributed is not installed (extra sweep)")
        return make_executor("dask://local", folder=folder, workers=2)
    return make_executor("process", folder=folder, workers=1 if kind == "here" else 2)


@pytest.mark.usefixtures("paths")
@pytest.mark.parametrize("kind", ["here", "process", "dask", "slurm"])
def test_every_engine_gives_every_result_once(kind: str, tmp_path: Path) -> None:
    items = [3, -1, 4, 1, 5]
    found = list(engine(kind, tmp_path).run(square, items))
    assert sorted(found) == [(0, 9), (1, 1), (2, 16), (3, 1), (4, 25)]


@pytest.mark.usefixtures("paths")
@pytest.mark.parametrize("kind", ["process", "dask", pytest.param("slurm", marks=pytest.mark.slow)])
def test_a_killed_worker_loses_no_item(kind: str, tmp_path: Path) -> None:
    found = list(engine(kind, tmp_path).run(partial(die_once, str(tmp_path)), [1, 2, 3, 4]))
    assert sorted(found) == [(0, 1), (1, 4), (2, 9), (3, 16)]
    assert (tmp_path / "died").exists()


@pytest.mark.usefixtures("paths")
@pytest.mark.parametrize("kind", ["process", "dask"])  # slurm: submitit takes 30 s to believe that a job is lost
def test_an_item_that_kills_every_worker_is_given_up(kind: str, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="--resume"):
        list(engine(kind, tmp_path).run(die_always, [1, 2]))


@pytest.mark.usefixtures("paths")
@pytest.mark.parametrize(("kind", "error"), [("process", ZeroDivisionError), ("dask", ZeroDivisionError),
                                             ("slurm", RunError)])  # fmt: skip
def test_a_mistake_in_the_function_is_raised(kind: str, error: type[Exception], tmp_path: Path) -> None:
    with pytest.raises(error, match="item 7"):
        list(engine(kind, tmp_path).run(refuse, [7, 7]))


@pytest.mark.parametrize(
    ("name", "more", "said"),
    [
        ("proces", {}, "unknown executor 'proces'; did you mean 'process'?"),
        ("dask", {}, "unknown executor 'dask'"),
        ("dask://", {}, "write dask://HOST:PORT"),
        ("dask://here", {}, "write dask://HOST:PORT"),
        ("dask://here:http", {}, "write dask://HOST:PORT"),
        ("dask://here:99999", {}, "write dask://HOST:PORT"),
        ("dask://here:8786", {"workers": 2}, "are started with its scheduler"),
        ("process", {"workers": 0}, "workers is at least 1, got 0"),
        ("process", {"options": {"timeout_min": 3}}, "options of Slurm (timeout_min) belong to --executor slurm"),
    ],
)
def test_executors_that_cannot_be(name: str, more: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(SpecError) as caught:
        make_executor(name, folder=tmp_path, **more)
    assert said in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"cluster": "local", "slurm_partion": "cpu"}, "slurm_partion"),
        ({"cluster": "local", "timeout_min": "long"}, "timeout_min"),
        ({"cluster": "sge"}, "unknown cluster 'sge'"),
        ({"cluster": "local", "cells_per_job": 0}, "cells_per_job is a whole number"),
        ({"cluster": "local", "poll_seconds": "often"}, "poll_seconds is a whole number"),
        ({"cluster": "slurm"}, "no Slurm here"),
    ],
)
def test_options_of_slurm_that_cannot_be(options: dict[str, Any], said: str, tmp_path: Path, monkeypatch: Any) -> None:
    pytest.importorskip("submitit", reason="submitit is not installed (extra sweep)")
    monkeypatch.setenv("PATH", str(tmp_path))  # a cluster of the machine's own must not get these jobs
    with pytest.raises(SpecError) as caught:
        list(SlurmExecutor(tmp_path, 1, options).run(square, [1]))
    assert said in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(("name", "package"), [("dask://local", "distributed"), ("slurm", "submitit")])
def test_a_missing_package_names_the_extra(name: str, package: str, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(SpecError, match=rf"needs {package}: pip install 'nasbench-sim\[sweep\]'"):
        make_executor(name, folder=tmp_path)


def test_a_scheduler_that_does_not_answer_is_named() -> None:
    pytest.importorskip("distributed", reason="distributed is not installed (extra sweep)")
    with pytest.raises(RunError, match=r"no Dask scheduler answers at 127\.0\.0\.1:9"):
        list(DaskExecutor("127.0.0.1:9", wait_seconds=3).run(square, [1]))


def test_nothing_to_do_is_nothing() -> None:
    assert list(ProcessExecutor(2).run(square, [])) == [] and not workers.stopped()


def test_a_claim_says_who_holds_it_and_that_it_was_let_go(tmp_path: Path) -> None:
    base = tmp_path / "cell"
    with claimed(base):
        (path,) = claims(base)
        owner = json.loads(path.read_text())
        assert owner["pid"] == os.getpid() and owner["host"] and path.name == "cell.claim-0001"
    assert path.read_text() == "released\n"
    with pytest.raises(KeyError), claimed(base):
        assert [p.name for p in claims(base)] == ["cell.claim-0002"]
        raise KeyError  # whatever happens inside, it is let go
    with claimed(base) as claim:
        claim.settled = True
    assert claims(base) == []


def hold(base: Path, pid: int, start: object, host: str | None = None) -> Path:
    """A claim file as another process would have left it."""
    path = base.parent / f"{base.name}.claim-0001"
    path.write_text(json.dumps({"host": host or ablate_claims._here(), "pid": pid, "start": start}))
    return path


def test_the_claim_of_a_dead_process_is_succeeded_at_once(tmp_path: Path) -> None:
    job = subprocess.Popen([sys.executable, "-c", "pass"])
    start = ablate_claims._start(job.pid)
    job.wait()
    base = tmp_path / "cell"
    hold(base, job.pid, start)
    with claimed(base, lease=3600):
        assert [path.name for path in claims(base)] == ["cell.claim-0002"]


def test_a_process_that_is_dead_but_not_buried_is_dead(tmp_path: Path) -> None:
    if not Path("/proc/self/stat").exists():
        pytest.skip("zombies are told by /proc, which this system does not have")
    job = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    start = ablate_claims._start(job.pid)
    assert start
    job.kill()
    until = time.monotonic() + 10
    while ablate_claims._start(job.pid) is not None and time.monotonic() < until:
        time.sleep(0.01)
    assert ablate_claims._start(job.pid) is None and job.returncode is None
    job.wait()


def test_a_number_that_another_process_has_now_is_not_the_owner(tmp_path: Path) -> None:
    base = tmp_path / "cell"
    hold(base, os.getpid(), "0")  # our number, another start
    with claimed(base, lease=3600):
        assert [path.name for path in claims(base)] == ["cell.claim-0002"]


def test_a_live_claim_is_waited_for(tmp_path: Path) -> None:
    base, order = tmp_path / "cell", []

    def second() -> None:
        with claimed(base, poll=0.01, lease=0.05):  # the owner lives on this machine: no lease runs out
            order.append("second")

    with claimed(base):
        thread = threading.Thread(target=second)
        thread.start()
        time.sleep(0.5)
        order.append("first")
    thread.join(timeout=10)
    assert order == ["first", "second"]


@pytest.mark.parametrize("text", ["", "{", "[]", json.dumps({"host": "another", "pid": 1, "start": "2"})])
def test_a_claim_of_another_machine_lasts_as_long_as_its_lease(tmp_path: Path, text: str) -> None:
    base = tmp_path / "cell"
    path = tmp_path / "cell.claim-0001"
    path.write_text(text)
    began = time.monotonic()
    renewed = threading.Timer(0.3, lambda: os.utime(path, ns=(1, 1)))  # to 1970: the owner's clock does not matter
    renewed.start()
    with claimed(base, lease=0.6, poll=0.02):
        waited = time.monotonic() - began
    assert waited > 0.85, "a renewal was not seen"


def test_whoever_is_stopped_does_not_wait_on(tmp_path: Path) -> None:
    base = tmp_path / "cell"
    hold(base, 1, "2", host="another")
    with pytest.raises(Stopped), claimed(base, stopped=lambda: True):
        pass


def test_an_owner_that_was_succeeded_finds_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ablate_claims, "_RENEW", 0.02)
    base = tmp_path / "cell"
    with claimed(base) as claim:
        before = claims(base)[0].stat().st_mtime_ns
        time.sleep(0.2)
        assert claims(base)[0].stat().st_mtime_ns > before and not claim.lost.is_set()
        successor = tmp_path / "cell.claim-0002"
        successor.write_text("{}")
        assert claim.lost.wait(10)
    assert successor.read_text() == "{}"  # and it does not let go of what is another's


CONTEND = """
import os, sys, time
from pathlib import Path
from nasbench_sim.runs.ablate_claims import claimed
base = Path(sys.argv[1])
while not (base.parent / "go").exists():
    time.sleep(0.001)
for i in range(12):
    with claimed(base, poll=0.001):
        inside = base.parent / "inside"
        os.close(os.open(inside, os.O_CREAT | os.O_EXCL))  # raises where another one is inside
        time.sleep(0.002)
        if i == 6 and sys.argv[2] == "dies":
            inside.unlink()
            os._exit(9)  # holding it
        inside.unlink()
"""


def test_processes_that_contend_are_never_inside_together(tmp_path: Path) -> None:
    base = tmp_path / "cell"
    hold(base, 2**22 + 1, "1")  # and a dead claim to begin with, which all of them want to succeed
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    jobs = [
        subprocess.Popen([sys.executable, "-c", CONTEND, str(base), how], env=env, stderr=subprocess.PIPE, text=True)
        for how in ("dies", "dies", "lives", "lives")
    ]
    time.sleep(0.5)
    (tmp_path / "go").touch()
    errors = [job.communicate(timeout=60)[1] for job in jobs]
    assert [job.returncode for job in jobs] == [9, 9, 0, 0], errors
    assert not (tmp_path / "inside").exists()


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(RunError, match="cannot write"), claimed(tmp_path / "file" / "cell"):
        pass
