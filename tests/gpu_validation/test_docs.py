"""The page about supernets: its commands run as written, but for their length."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from gpu_validation.cli import app
from gpu_validation.settings import SupernetSettings
from tests.cli.helpers import call

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "gpu_validation.md").read_text(encoding="utf-8")
#: so long on the page, so long here
SHORTER = [
    ("--seeds 3 --epochs 40", "--seeds 1 --epochs 1 --net curvature=0 --steps-per-epoch 3"),
    (
        "--epochs 20 --every 5 --cells 200 --predictions 50",
        "--epochs 2 --every 1 --cells 3 --predictions 2 --net curvature=0",
    ),
    ("--pool 12 --data digits --set epochs=5", "--pool 3 --data digits --set epochs=1 --set channels=2"),
    ("bench --out", "bench --channels 2 --cells 1 --batch 4 --side 8 --repeats 1 --out"),
    ("--size 5", "--size 2"),
]


@pytest.mark.slow
def test_the_commands_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    block = re.findall(r"^```console\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)[0]
    lines = [line.removeprefix("$ ").split("  #")[0] for line in block.splitlines() if line.startswith("$ ")]
    assert len(lines) == 9 and lines[0].startswith("pip install")
    for line in lines[1:]:
        for long, short in SHORTER:
            line = line.replace(long, short)
        words = shlex.split(line)
        if words[0] == "gpu-validation":
            result = CliRunner().invoke(app, words[1:], catch_exceptions=False)
            assert result.exit_code == 0, f"{line}\n{result.output}"
        else:
            done = call(*words[1:])
            assert done.code == 0, f"{line}\n{done.err}"
    assert {"skips.png", "synflow.csv"} <= {p.name for p in tmp_path.iterdir()}


def test_every_setting_of_the_network_is_on_the_page() -> None:
    table = PAGE.split("| `--net` | what | default |")[1].split("Several processes")[0]
    assert set(SupernetSettings.model_fields) - {"space", "nesterov"} == {
        name for row in table.splitlines() for name in re.findall(r"`(\w+)`", row.split("|")[1] if "|" in row else "")
    }


def test_the_plan_on_the_page_is_one(tmp_path: Path) -> None:
    from gpu_validation.plan import jobs, read_plan

    path = tmp_path / "my-plan.yaml"
    path.write_text(re.findall(r"^```yaml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)[0])
    assert [job.name for job in jobs(read_plan(path))] == [
        "darts-seed0",
        "darts-c8-seed0",
        "darts-seed1",
        "darts-seed2",
    ]
