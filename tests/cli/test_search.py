"""`nasbench-sim search`: what it prints, what it writes, and that equal calls give equal numbers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nasbench_sim as nb
from nasbench_sim.runs import Run
from tests.cli.helpers import QUICK, REMARK, call, document, good, run_process

SEARCH = ("search", "darts", "--table", "nb201-analog", *QUICK)


def numbers(document: dict[str, Any]) -> dict[str, Any]:
    """What must repeat: all but the wall-clock time."""
    return {k: v for k, v in document.items() if k != "seconds"}


@pytest.mark.parametrize("landscape", ["tabular", "shared"])
def test_what_it_prints_is_what_the_library_finds(landscape: Any) -> None:
    table = nb.open_table("nb201-analog")
    run = nb.search("darts", table=table, dataset="cifar10", landscape=landscape, seeds=3, epochs=2,
                    steps_per_epoch=10, workers=1)  # fmt: skip
    said = document(*SEARCH, "--landscape", landscape, "--seeds", 3)
    assert {k: said[k] for k in ("method", "dataset", "landscape", "table", "n")} == {
        "method": "darts", "dataset": "cifar10", "landscape": landscape, "table": "nb201-analog", "n": 3,
    }  # fmt: skip
    assert said["accuracy"]["mean"] == pytest.approx(run.history["accuracy"][:, -1].astype(float).mean())
    assert said["accuracy"]["sd"] == pytest.approx(run.history["accuracy"][:, -1].astype(float).std(ddof=1))
    assert REMARK in said["remark"]
    assert said["seconds"] >= 0 and said["out"] is None
    text = good(*SEARCH, "--landscape", landscape, "--seeds", 3)
    mean, sd = said["accuracy"]["mean"], said["accuracy"]["sd"]
    assert text.startswith(f"darts, {landscape}, cifar10, 3 seeds: accuracy {mean:.2f} ± {sd:.2f} %, skip ratio ")
    assert REMARK in text


def test_equal_calls_give_equal_numbers() -> None:
    command = ("search", "balenas", *QUICK, "--seeds", "3", "--set", "samples=2")
    first, second = document(*command), document(*command)
    assert numbers(first) == numbers(second)
    assert numbers(document(*command, "--set", "lr=0.1")) != numbers(first)


@pytest.mark.parametrize(
    ("text", "seeds"), [("4", [0, 1, 2, 3]), ("5:8", [5, 6, 7]), ("1,9,4", [1, 9, 4]), ("7:8", [7])]
)
def test_forms_of_seeds(text: str, seeds: list[int]) -> None:
    assert document(*SEARCH, "--seeds", text, "--out", "run")["n"] == len(seeds)
    assert Run.load("run").seeds.tolist() == seeds


def test_a_range_gives_the_rows_of_the_whole() -> None:
    good(*SEARCH, "--seeds", "6", "--out", "whole")
    good(*SEARCH, "--seeds", "2:5", "--out", "part")
    whole, part = Run.load("whole"), Run.load("part")
    for name, values in part.history.items():
        np.testing.assert_array_equal(values, whole.history[name][2:5])


def test_parameters_reach_the_method_and_the_landscape() -> None:
    options = ("--set", "lr=0.01", "--set", "betas=[0.9, 0.999]", "--landscape-set", "noise=0.5", "--dtype", "float64")
    good(*SEARCH, "--seeds", "2", *options, "--out", "run")
    spec = Run.load("run").spec
    assert spec.params == {"lr": 0.01, "betas": [0.9, 0.999]}
    assert spec.landscape_params == {"noise": 0.5}
    assert spec.dtype == "float64"
    good("search", "bpnas", *QUICK, "--seeds", "2", "--set", "theta=sample", "--set", "c=null", "--out", "words")
    assert Run.load("words").spec.params == {"theta": "sample", "c": None}


def test_the_record_is_all_that_is_left() -> None:
    said = good(*SEARCH, "--seeds", "2", "--out", "a/b")
    assert said.splitlines()[-1] == "Record: a/b"
    assert sorted(str(p) for p in Path().rglob("*")) == ["a", "a/b", "a/b/record.h5", "a/b/run.json"]
    assert document(*SEARCH, "--seeds", "2", "--out", "c")["out"] == "c"


def test_nothing_is_written_without_out() -> None:
    good(*SEARCH, "--seeds", "2")
    assert list(Path().iterdir()) == []


def test_overwrite_replaces_and_leaves_the_rest() -> None:
    good(*SEARCH, "--seeds", "2", "--out", "run")
    Path("run/notes.txt").write_text("mine")
    good(*SEARCH, "--seeds", "4", "--out", "run", "--overwrite")
    assert len(Run.load("run").seeds) == 4
    assert Path("run/notes.txt").read_text() == "mine"


def test_two_processes_print_the_same_numbers_and_no_progress_in_a_pipe() -> None:
    command = ("search", "darts", "--seeds", "130", "--epochs", "3", "--steps-per-epoch", "20", "--json")
    two = run_process(*command, "--workers", "2")
    assert (two.code, two.err) == (0, "")
    assert numbers(json.loads(two.out)) == numbers(document(*command[:-1], "--workers", "1"))
    text = run_process(*command[:-1], "--workers", "2")
    assert (text.code, text.err) == (0, "")
    assert "\x1b" not in text.out and "\r" not in text.out
    assert len(text.out.splitlines()) == 2


def test_a_fault_of_ours_is_exit_code_1_and_a_traceback() -> None:
    code = (
        "import nasbench_sim.cli.searching as s\n"
        "def broken(*a, **k): raise ZeroDivisionError('ours')\n"
        "s.search_all = broken\n"
        "from nasbench_sim.cli import main; main()"
    )
    result = run_process(*SEARCH, "--seeds", "2", code=code)
    assert result.code == 1
    assert "ZeroDivisionError: ours" in result.err


def test_too_little_memory_is_told_in_one_line() -> None:
    result = call("search", "parsec", *QUICK, "--seeds", "2", "--set", "samples=100000000000000")
    assert result.code == 2, result.err
    assert result.err.count("\n") == 1 and "not enough memory" in result.err
