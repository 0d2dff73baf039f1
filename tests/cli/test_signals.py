"""Ctrl-C, a reader that goes away, a closed or full standard output: nothing lost, nothing noisy."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from nasbench_sim.runs import Run
from tests.cli.helpers import KEY, QUICK, good, process, refused, run_process

# a checkpoint after every epoch, so that the test need not wait five seconds for the first
OFTEN = (
    "from nasbench_sim.runs import search_all; search_all.__kwdefaults__['interval'] = 0.0\n"
    "from nasbench_sim.cli import main; main()"
)
LONG = ("search", "balenas", "--set", "samples=2", "--seeds", "130", "--epochs", "40", "--steps-per-epoch", "20")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The run that nobody interrupts."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NASBENCH_SIM_HOME", str(folder.parent / "home"))
        good(*LONG, "--workers", "1", "--out", folder)
    return Run.load(folder)


@pytest.mark.parametrize("workers", ["1", "2"])
def test_ctrl_c_names_resume_and_resume_gives_the_same_bits(workers: str, whole: Run) -> None:
    command = (*LONG, "--workers", workers, "--out", "run")
    job = process(*command, code=OFTEN)
    deadline = time.monotonic() + 30
    while len(list(Path("run").glob("checkpoints/part-*.h5"))) < int(workers) and time.monotonic() < deadline:
        assert job.poll() is None, job.communicate()
        time.sleep(0.01)
    os.killpg(job.pid, signal.SIGINT)  # as a terminal does: to the whole group
    out, err = job.communicate(timeout=30)
    assert job.returncode == 130
    assert out == ""
    assert err == "nasbench-sim: interrupted; a run with an --out folder continues with --resume\n"
    assert sorted(p.name for p in Path("run").iterdir()) == ["checkpoints", "plan.json"]
    parts = [f"part-{i:04d}.h5" for i in range(int(workers))]
    assert sorted(p.name for p in Path("run/checkpoints").iterdir()) == parts

    refused(*command, said="run holds an unfinished run; continue it with --resume, or choose another folder")
    refused(*command, "--set", "lr=0.1", "--resume", said="an unfinished run of another specification")
    good(*command, "--resume")
    assert sorted(p.name for p in Path("run").iterdir()) == ["record.h5", "run.json"]
    run = Run.load("run")
    assert run.history.keys() == whole.history.keys()
    for name, values in whole.history.items():
        np.testing.assert_array_equal(values, run.history[name])
    np.testing.assert_array_equal(run.archs, whole.archs)


def test_ctrl_c_without_a_folder_leaves_nothing() -> None:
    code = "from nasbench_sim.cli import main; print(flush=True); main()"
    job = process(*LONG[:-4], "--epochs", "50000", "--steps-per-epoch", "20", "--workers", "1", code=code)
    assert job.stdout is not None and job.stdout.readline() == "\n"  # an interrupt while Python starts is Python's own
    time.sleep(2.5)
    os.killpg(job.pid, signal.SIGINT)
    _, err = job.communicate(timeout=30)
    assert job.returncode == 130
    assert err.startswith("nasbench-sim: interrupted") and err.count("\n") == 1
    assert list(Path().iterdir()) == []


@pytest.mark.parametrize(
    ("command", "unbuffered"), [(("methods", "list"), ""), (("methods", "list", "--json"), "1"), (("--help",), "")]
)
def test_a_reader_that_goes_away_is_no_error(command: tuple[str, ...], unbuffered: str) -> None:
    read, write = os.pipe()
    os.close(read)  # `| head -0`: nobody reads a byte
    try:
        result = run_process(*command, stdout=write, env={"PYTHONUNBUFFERED": unbuffered})
    finally:
        os.close(write)
    assert (result.code, result.err) == (0, "")


def test_a_reader_that_goes_away_before_the_last_flush_is_no_error() -> None:
    code = (
        "import typer; from nasbench_sim.cli.program import run_program; app = typer.Typer()\n"
        "app.command()(lambda: print('unread'))\n"
        "run_program(app, 'small')"
    )
    read, write = os.pipe()
    os.close(read)
    try:
        result = run_process(code=code, stdout=write)
    finally:
        os.close(write)
    assert (result.code, result.err) == (0, "")


def test_head_gets_its_line_and_nobody_complains() -> None:
    job = process("methods", "list")
    assert job.stdout is not None and job.stderr is not None
    assert job.stdout.readline().split()[:1] == ["method"]
    job.stdout.close()
    assert job.stderr.read() == ""
    job.stderr.close()
    assert job.wait(timeout=30) == 0


@pytest.mark.parametrize("command", [("methods", "list"), ("query", "1", *KEY)])
def test_a_full_disk_under_the_output_is_told(command: tuple[str, ...]) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    with Path("/dev/full").open("wb") as full:
        result = run_process(*command, stdout=full)
    assert result.code == 2
    lines = [line for line in result.err.splitlines() if not line.startswith("Note: ")]
    assert lines == [
        "nasbench-sim: cannot write the output: No space left on device; free some space or send it elsewhere"
    ]


def test_no_terminal_codes_and_no_bar_in_a_pipe() -> None:
    result = run_process("reproduce", "--method", "random", "--seeds", "2", *QUICK, "--out", "x")
    assert (result.code, result.err) == (0, "")
    assert "\x1b" not in result.out and "\r" not in result.out and "epochs 0" not in result.out
