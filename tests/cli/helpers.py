"""Calling the real entry point `nasbench_sim.cli.main`, in this process or in one of its own."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from nasbench_sim.cli import main

ROOT = Path(__file__).resolve().parents[2]
CODE = "from nasbench_sim.cli import main; main()"
COLUMN = ("--table", "nb201-analog", "--dataset", "cifar10", "--split", "baseline", "--epochs", "unstated")
KEY = (*COLUMN, "--seed", "single")  # the one key of nb201-analog
QUICK = ("--epochs", "2", "--steps-per-epoch", "10", "--workers", "1")
REMARK = "search and report use the same numbers, so results on it are in-sample"
_ESCAPES = re.compile(r"\x1b\[[0-9;]*m")


class Result(NamedTuple):
    """What a call left: exit code, standard output, standard error."""

    code: int
    out: str
    err: str


def call(*args: object, program: Any = main, name: str = "nasbench-sim") -> Result:
    """Run the entry point in this process, as a shell would with these arguments."""
    out, err = io.StringIO(), io.StringIO()
    before = sys.argv
    sys.argv = [name, *map(str, args)]
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            program()
        code = 0
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    finally:
        sys.argv = before
    return Result(code, _ESCAPES.sub("", out.getvalue()), _ESCAPES.sub("", err.getvalue()))


def good(*args: object, **options: Any) -> str:
    """Standard output of a call that must succeed without a word on standard error."""
    result = call(*args, **options)
    assert result.code == 0, result.err
    assert result.err == ""
    return result.out


def document(*args: object, **options: Any) -> Any:
    """The one JSON document (strict: no NaN) that a call with --json prints, and nothing else."""

    def refuse(constant: str) -> None:
        pytest.fail(f"{constant} is not JSON")

    return json.loads(good(*args, "--json", **options), parse_constant=refuse)


def tree(folder: Path) -> dict[str, bytes | None]:
    """Everything below a folder: files with their bytes, folders as None."""
    return {str(p.relative_to(folder)): p.read_bytes() if p.is_file() else None for p in sorted(folder.rglob("*"))}


def refused(*args: object, said: str, **options: Any) -> str:
    """A call that is the user's mistake: exit code 2, one line with `said`, and nothing on disk changed (here)."""
    before = tree(Path.cwd())
    result = call(*args, **options)
    assert result.code == 2, (result.code, result.out, result.err)
    assert result.err.count("\n") == 1 and result.err.endswith("\n"), result.err
    assert result.err.startswith(f"{options.get('name', 'nasbench-sim')}: ")
    assert all(c.isprintable() for c in result.err[:-1])
    assert len(result.err) < 1200
    assert "Traceback" not in result.err and "\n\n" not in result.err
    assert said in result.err, result.err
    assert tree(Path.cwd()) == before
    return result.err


def process(*args: str | bytes, code: str = CODE, path: tuple[Path, ...] = (), **options: Any) -> subprocess.Popen[str]:
    """The program as a process of its own, in its own session, with pipes."""
    search = os.pathsep.join(map(str, (*path, ROOT)))
    env = {**os.environ, "PYTHONUNBUFFERED": "", "PYTHONPATH": search, **options.pop("env", {})}  # buffered: the rule
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "stdin": subprocess.DEVNULL}
    return subprocess.Popen(
        [sys.executable, "-c", code, *args], text=True, env=env, start_new_session=True, **{**pipes, **options}
    )


def run_process(*args: str | bytes, **options: Any) -> Result:
    """Its exit code and what it said, after at most a minute."""
    job = process(*args, **options)
    out, err = job.communicate(timeout=60)
    return Result(job.returncode, out or "", err or "")
