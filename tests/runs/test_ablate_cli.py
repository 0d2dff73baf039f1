"""`nasbench-sim ablate` from the command line: verdicts, files, resume, dry run, refusals of one line."""

from __future__ import annotations

import csv
import json
import os
import pty
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer

from nasbench_sim.cli.ablating import ablate
from nasbench_sim.cli.program import run_program
from tests.cli.helpers import ROOT, call, document, good, refused

app = typer.Typer()
app.command("ablate")(ablate)
app.command("other")(lambda: None)  # with one command alone, typer would take its name for an argument

SPEC = """\
name: small           # a comment that is kept
table: nb201-analog
method: balenas
seeds: 8
epochs: 2
steps_per_epoch: 20
axes:
  lr: [3e-4, 1e-2]
  denominator: [sqrt, plain]
baseline: {lr: 3e-4}
"""
FILES = ("results.csv", "results.parquet", "effects.csv", "effects.svg", "effects.png", "spec.yaml", "ablation.json")


def program() -> None:
    """The command as the entry point runs it."""
    run_program(app, "nasbench-sim", interrupted="interrupted")


@pytest.fixture(autouse=True)
def _spec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "small.yaml").write_text(SPEC)
    monkeypatch.chdir(tmp_path)


def test_it_says_what_matters_and_writes_it_down() -> None:
    out = good("ablate", "small.yaml", "--out", "out", program=program)
    lines = out.splitlines()
    assert lines[0].startswith("small: 4 cells of 8 seeds on nb201-analog (4 computed, 0 found; ")
    assert lines[1].startswith("Note: ") and "in-sample" in lines[1]
    assert lines[2].startswith("lr: ") and lines[3].startswith("denominator: ")
    assert all((Path("out") / name).is_file() for name in FILES)
    assert Path("out/spec.yaml").read_text() == SPEC
    kept = json.loads(Path("out/ablation.json").read_text())
    assert kept["verdicts"] == lines[2:4] and kept["metric"] == "accuracy" and kept["searches"] == 32
    assert [cell["n"] for cell in kept["cells"]] == [8] * 4 and kept["table"]["name"] == "nb201-analog"
    assert [axis["baseline"] for axis in kept["axes"]] == [3e-4, "sqrt"]
    with Path("out/effects.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(r["axis"], r["value"], r["baseline"]) for r in rows] == [
        ("lr", "0.01", "0.0003"), ("denominator", "plain", "sqrt")
    ]  # fmt: skip
    assert Path("out/effects.png").read_bytes()[:4] == b"\x89PNG"


def test_it_goes_on_where_it_was(capsys: Any) -> None:
    good("ablate", "small.yaml", "--out", "out", program=program)
    before = Path("out/effects.png").read_bytes()
    refused("ablate", "small.yaml", "--out", "out", program=program, said="continue it with --resume")
    found = document("ablate", "small.yaml", "--out", "out", "--resume", program=program)
    assert (found["computed"], found["found"], found["failed"]) == (0, 4, 0)
    assert Path("out/effects.png").read_bytes() == before
    more = document("ablate", "small.yaml", "--out", "out", "--resume", "--seeds", "0:4", program=program)
    assert (more["computed"], more["seeds"]) == (4, 4)
    assert Path("out/spec.yaml").read_text() == f"# run with --seeds 0:4\n{SPEC}"
    assert document("ablate", "out/spec.yaml", "--out", "out", "--resume", "--correction", "bh", program=program)[
        "correction"
    ] == "bh"  # fmt: skip


def test_a_dry_run_lists_the_cells_and_writes_nothing() -> None:
    out = good("ablate", "small.yaml", "--dry-run", program=program)
    assert "4 cells of 8 seeds on nb201-analog, judged by accuracy: 1,280 seed-steps, about 1 min of one core" in out
    assert len(out.splitlines()) == 6 and sorted(p.name for p in Path().iterdir()) == ["small.yaml"]
    listed = document("ablate", "small.yaml", "--dry-run", "--seeds", "3", program=program)
    assert listed["cells"][1]["values"] == {"lr": 3e-4, "denominator": "plain"} and listed["seed_steps"] == 480
    good("ablate", "small.yaml", program=program)
    assert Path("runs/ablate-small/results.csv").is_file()  # the default folder
    assert all(c["finished"] for c in document("ablate", "small.yaml", "--dry-run", program=program)["cells"])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["missing.yaml"], "missing.yaml: cannot be read"),
        (["."], "is a folder"),
        (["small.yaml", "--executor", "dusk://local"], "unknown executor"),
        (["small.yaml", "--executor", "dask://nowhere"], "write dask://HOST:PORT"),
        (["small.yaml", "--workers", "0"], "workers is at least 1"),
        (["small.yaml", "--workers", "two"], "workers"),
        (["small.yaml", "--slurm-option", "timeout_min=3"], "belong to --executor slurm"),
        (["small.yaml", "--slurm-option", "timeout_min"], "write --slurm-option name=value"),
        (["small.yaml", "--seeds", "few"], "give a number"),
        (["small.yaml", "--seeds", "0"], "asks for 0 seeds"),
        (["small.yaml", "--correction", "bonferoni"], "unknown correction"),
        (["small.yaml", "--resume"], "no ablation to resume"),
        (["small.yaml", "--out", "small.yaml"], "is a file"),
        ([], "Missing argument"),
    ],
)
def test_mistakes_are_one_line_and_leave_nothing(options: list[str], said: str) -> None:
    refused("ablate", *options, program=program, said=said)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("axes:", "axis:", "did you mean 'axes'"),
        ("balenas", "balena", "did you mean 'balenas'"),
        ("denominator:", "denominater:", "did you mean 'denominator'"),
        ("plain]", "plane]", "did you mean 'plain'"),
        ("seeds: 8", "seeds: 8\nseeds: 9", "line 5: key 'seeds' is given twice"),
        ("nb201-analog", "nb201-analogue", "unknown table"),
    ],
)
def test_a_typo_in_the_file_is_named(old: str, new: str, said: str) -> None:
    Path("small.yaml").write_text(SPEC.replace(old, new))
    refused("ablate", "small.yaml", program=program, said=said)


def test_failures_are_told() -> None:
    Path("small.yaml").write_text(SPEC.replace("1e-2", "1e38").replace("[sqrt, plain]", "[plain, sqrt]"))
    found = call("ablate", "small.yaml", "--out", "out", program=program)
    assert found.code == 0, found.err
    kept = json.loads(Path("out/ablation.json").read_text())
    assert kept["failed"] > 0 and f"{kept['failed']} of 32 searches failed; they are in no mean" in found.out
    assert "searches failed at 1e+38" in found.out
    with Path("out/results.csv").open() as file:
        assert sum(row["failed"] == "true" for row in csv.DictReader(file)) == kept["failed"]


def test_a_terminal_sees_the_cells_go_by() -> None:
    master, slave = pty.openpty()
    code = "from tests.runs.test_ablate_cli import program; program()"
    env = {**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm", "COLUMNS": "100"}
    job = subprocess.Popen(
        [sys.executable, "-c", code, "ablate", "small.yaml"], stdout=subprocess.PIPE, stderr=slave, env=env, text=True
    )
    os.close(slave)
    seen = b""
    while True:
        try:
            part = os.read(master, 4096)
        except OSError:
            break
        if not part:
            break
        seen += part
    out, _ = job.communicate(timeout=60)
    os.close(master)
    assert job.returncode == 0 and b"cells" in seen and b"4/4" in seen
    assert "\x1b" not in out and out.startswith("small: 4 cells")
