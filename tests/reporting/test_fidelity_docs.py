"""The page about fidelity: its commands run as written, and it names every number of the JSON."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest

import nasbench_sim.cli.fidelity as command
from nasbench_sim.landscapes import SharedWeightsParams
from nasbench_sim.tables.store import write_table
from tests.cli.helpers import call
from tests.reporting.fidelity_factory import TABLE, save, simulated_trace

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "fidelity.md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_the_commands_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    save(tmp_path / "traces" / "breadth", simulated_trace("darts", np.arange(2), params={"lr": 0.1}))
    write_table(TABLE, tmp_path / "table.h5")
    good = SharedWeightsParams.load().model_dump()
    fit = {"what": "made up", "params": good, "runs": [{"method": "darts"}], "params_without": {"darts": good}}
    (tmp_path / "fit.json").write_text(json.dumps(fit))
    monkeypatch.setattr(command, "data_path", lambda *parts: tmp_path.joinpath(*parts))  # the shipped recordings
    block = re.findall(r"^```console\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)[0]
    lines = [line.removeprefix("$ ").split("  #")[0] for line in block.splitlines()]
    assert len(lines) == 3
    for line in lines:
        words = shlex.split(line)[1:]
        words += [] if "--table" in words else ["--table", "table.h5"]  # of recordings on made-up data
        done = call(*words, "--workers", "1")
        assert done.code == 0, f"{line}\n{done.err}"
    assert {"fidelity", "fidelity-100", "fidelity-mine"} <= {p.name for p in tmp_path.iterdir()}
    mine = json.loads((tmp_path / "fidelity-mine" / "fidelity.json").read_text())
    for name in ("accuracy_distance", "skip_rmse", "theta_skip_rmse", "agreement", "agreement_of_mode", "chance"):
        assert name in mine["scenes"][0]["methods"][0]["against_supernet"]["held_out"]


def test_every_number_is_on_the_page() -> None:
    table = PAGE.split("| in the JSON | what |")[1].split("\n\n")[0]
    named = set(re.findall(r"^\| `(\w+)`", table, re.MULTILINE))
    assert named == {
        *("accuracy_distance", "skip_rmse", "theta_skip_rmse", "agreement", "agreement_of_mode", "chance"),
        *("supernet_agreement", "collapse", "ranking", "one_shot"),
    }
