"""Folders that are not ours, records and plans that were changed, full disks: one line, nothing lost."""

from __future__ import annotations

import json
import os
import resource
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nasbench_sim.runs import Run
from tests.cli.helpers import QUICK, call, good, refused, run_process, tree

SEARCH = ("search", "darts", "--seeds", "2", *QUICK)


@pytest.mark.parametrize(
    ("out", "options", "said"),
    [
        ("/proc/nowhere/run", (), "cannot write /proc/nowhere/run"),
        ("file", (), "file is a file; give a folder"),
        ("file", ("--overwrite",), "file is a file; give a folder"),
        ("file/inside", (), "cannot write file/inside: Not a directory"),
        ("somebody", (), "somebody is not empty and holds no run of ours"),
        ("somebody", ("--overwrite",), "somebody is not empty and holds no run of ours"),
        ("somebody", ("--resume",), "somebody is not empty and holds no run of ours"),
        ("", (), "is not empty and holds no run of ours"),
        ("n" * 300, (), "File name too long"),
    ],
)
def test_places_that_are_not_ours(out: str, options: tuple[str, ...], said: str) -> None:
    Path("somebody").mkdir()
    Path("somebody/thesis.tex").write_text("precious")
    Path("file").write_text("precious")
    refused(*SEARCH, "--out", out, *options, said=said)


def test_a_second_run_into_the_same_folder(finished: Path) -> None:
    shutil.copytree(finished / "darts", "run")
    refused(*SEARCH, "--out", "run", said="run already holds a finished run; choose another folder, or --overwrite")
    refused(*SEARCH, "--out", "run", "--resume", said="run already holds a finished run")


def _unfinished(folder: str) -> None:
    """A run that has a plan and no checkpoint yet, as a kill after a moment leaves it."""
    code = (
        "import nasbench_sim.runs.search, sys; from nasbench_sim.cli import main\n"
        "def stop(*a, **k): raise KeyboardInterrupt\n"
        "sys.modules['nasbench_sim.runs.search'].run_jobs = stop\n"
        "main()"
    )
    assert run_process(*SEARCH, "--out", folder, code=code).code == 130
    assert [p.name for p in Path(folder).iterdir()] == ["plan.json"]


def test_an_unfinished_run_with_a_plan_that_does_not_fit() -> None:
    _unfinished("run")
    plan = json.loads(Path("run/plan.json").read_text())

    def planned(**changes: Any) -> None:
        Path("run/plan.json").write_text(json.dumps({**plan, **changes}))

    resume = (*SEARCH, "--out", "run", "--resume")
    refused(*SEARCH, "--out", "run", said="continue it with --resume")
    planned(table_sha256="0" * 64)
    refused(*resume, said="run holds a run on another table (sha256 000000000000...")
    planned(spec={**plan["spec"], "table": "nb201"})
    refused(*resume, said="an unfinished run of another specification")
    for changes in ({"parts": [[0, 1]]}, {"parts": [[0, 2], [1, 2]]}, {"parts": [[0, 10**9]]}, {"parts": []},
                    {"parts": [[0, 0], [0, 2]]}, {"parts": 7}, {"spec": None}, {"spec": {"seeds": [1]}},
                    {"format": "else"}):  # fmt: skip
        planned(**changes)
        refused(*resume, said="run/plan.json is ")
    for text in ("", "[]", "{", "[" * 100_000, "\0"):
        Path("run/plan.json").write_text(text)
        refused(*resume, said="run/plan.json is damaged")
    planned()
    good(*resume)
    assert len(Run.load("run").seeds) == 2


@pytest.mark.parametrize(
    "change",
    [
        lambda meta: meta["table"].update(sha256="0" * 64),
        lambda meta: meta["table"].update(name="nb201"),
        lambda meta: meta["table"].pop("report_keys"),
        lambda meta: meta["spec"].update(epochs=50),
        lambda meta: meta["summary"].update(n=1000),
        lambda meta: meta.update(seconds=None),
        lambda meta: meta.update(method=None),
        lambda meta: meta.pop("spec"),
        lambda meta: meta.update(sha256="0" * 64),
    ],
)
def test_a_record_that_was_edited_is_not_shown(finished: Path, change: Callable[[dict[str, Any]], None]) -> None:
    shutil.copytree(finished / "darts", "run")
    meta = json.loads(Path("run/run.json").read_text())
    change(meta)
    Path("run/run.json").write_text(json.dumps(meta))
    for command in (
        ("compare", "run"),
        ("plot", "final", "run", "--out", "x.svg"),
        ("report", "run", "--out", "x.html"),
    ):
        refused(*command, said="run/run.json was changed after it was written")


@pytest.mark.parametrize("text", ["", "[]", "null", "{", "[" * 100_000, "\udcff", '{"format": "nasbench-sim-run"}'])
def test_a_record_that_is_none(finished: Path, text: str) -> None:
    shutil.copytree(finished / "darts", "run")
    Path("run/run.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    refused("compare", "run", said="run/run.json ")


@pytest.mark.parametrize("limit", [2000, 7000])
def test_a_disk_that_fills_up_is_one_line_and_the_run_goes_on_later(limit: int) -> None:
    """The system itself refuses to let any file grow beyond the limit, as a full disk does."""

    def little() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    result = run_process(*SEARCH, "--out", "run", preexec_fn=little)
    assert result.code == 2, result
    assert result.err.count("\n") == 1 and "cannot write run/checkpoints/part-0000.h5: File too large" in result.err
    assert [name for name in tree(Path("run")) if name != "checkpoints"] == ["plan.json"]
    good(*SEARCH, "--out", "run", "--resume")
    good(*SEARCH, "--out", "whole")
    np.testing.assert_array_equal(Run.load("run").history["loss"], Run.load("whole").history["loss"])


def test_a_disk_that_is_full_when_the_record_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    sync = os.fsync

    def full(handle: int) -> None:
        if ".record.h5" in str(Path(f"/proc/self/fd/{handle}").readlink()):
            raise OSError(28, "No space left on device")
        sync(handle)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        result = call(*SEARCH, "--out", "run")
    assert result.code == 2
    assert result.err.startswith("nasbench-sim: cannot write run/record.h5: No space left on device; ")
    left = [name for name in tree(Path("run")) if name != "checkpoints"]
    assert left == ["checkpoints/part-0000.h5", "plan.json"]  # all the work, and no half of a record
    good(*SEARCH, "--out", "run", "--resume")
    assert sorted(tree(Path("run"))) == ["record.h5", "run.json"]


def test_a_full_disk_leaves_old_files_as_they_were(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    for name in ("page.html", "final.svg", "t.csv", "t.h5"):
        Path(name).write_text("precious")
    monkeypatch.setattr(os, "fsync", full)
    said = "No space left on device; what was there is unchanged"
    refused("report", finished, "--out", "page.html", said=f"cannot write page.html: {said}")
    refused("plot", "final", finished, "--out", "final.svg", said=f"cannot write final.svg: {said}")
    refused("tables", "export", "nb201-analog", "t.csv", "--force", said=f"cannot write t.csv: {said}")
    refused("tables", "export", "nb201-analog", "t.h5", "--force", said=f"cannot write t.h5: {said}")
