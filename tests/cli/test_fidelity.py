"""`nasbench-sim fidelity`: one page and one JSON, the same in words; every slip one line and exit code 2."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from nasbench_sim.tables.store import write_table
from tests.cli.helpers import call, document, good, refused
from tests.reporting.fidelity_factory import TABLE, save, simulated_trace


@pytest.fixture
def inputs(tmp_path: Path) -> tuple[object, ...]:
    """Options for a folder of two recordings and the table they belong to, beside the working folder."""
    write_table(TABLE, tmp_path / "synthetic.h5")
    folder = tmp_path / "traces" / "breadth"
    save(folder, simulated_trace("darts", np.arange(2), params={"lr": 0.1}))
    return "--traces", folder.parent, "--table", tmp_path / "synthetic.h5", "--seeds", "4", "--workers", "1"


def test_a_page_and_its_numbers(inputs: tuple[object, ...]) -> None:
    told = document("fidelity", *inputs, "--out", "here")
    page, data = Path("here/fidelity.html"), Path("here/fidelity.json")
    assert (told.pop("page"), told.pop("json")) == (str(page), str(data)) and told.pop("seconds") > 0
    assert told == json.loads(data.read_text()) and page.read_text().startswith("<!doctype html>")
    before = page.read_bytes(), data.read_bytes()
    said = good("fidelity", *inputs, "--out", "here")  # replaced by the same
    assert (page.read_bytes(), data.read_bytes()) == before
    assert sorted(p.name for p in Path("here").iterdir()) == ["fidelity.html", "fidelity.json"]
    said = " ".join(said.split())  # lines are folded
    for line in [aim["name"] for aim in told["aims"]] + [one["text"] for one in told["verdict"]]:
        assert " ".join(line.split()) in said
    assert "tables fetch nb201" in said and "not tested: real table: DARTS collapses" in said


def test_no_transfer_is_said(inputs: tuple[object, ...]) -> None:
    told = document("fidelity", *inputs, "--no-transfer")
    assert told["transfer"] == {"left_out": "--no-transfer was given"}
    assert Path("fidelity/fidelity.json").is_file()


def test_slips_are_told_in_one_line(inputs: tuple[object, ...], tmp_path: Path) -> None:
    refused("fidelity", *inputs, "--traces", "nowhere", said="nowhere: no such folder of recordings")
    refused("fidelity", *inputs, "--traces", ".", said="no finished recording")
    refused("fidelity", *inputs, "--table", "nb201", said="tables fetch nb201")
    refused("fidelity", "--traces", tmp_path / "traces", said="no table is known for recordings on 'cifar10'")
    mend = "holds no shared-weights parameters (No such file or directory); `gpu-validation calibrate` writes some"
    refused("fidelity", *inputs, "--params", "nothing.json", said=f"nothing.json {mend}")
    refused("fidelity", *inputs, "--seeds", "1", said="at least 2 seeds")
    refused("fidelity", *inputs, "--workers", "0", said="workers is at least 1")
    Path("taken").write_text("mine")
    refused("fidelity", *inputs, "--out", "taken", said="taken is a file")


def test_help_names_what_there_is() -> None:
    said = call("fidelity", "--help").out
    assert all(word in said for word in ("--traces", "--params", "--table", "--seeds", "--out", "--full", "Example:"))
