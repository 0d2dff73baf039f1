"""Every test of the command line runs in an empty folder of its own, with its own tables."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.cli.helpers import QUICK, good


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The working folder is empty; tables live beside it, so that comparing the folder shows what a call wrote."""
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    monkeypatch.setenv("NASBENCH_SIM_HOME", str(tmp_path / "home"))


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two finished runs on nb201-analog, `darts` (shared) and `bpnas` (tabular); not to be changed."""
    folder = tmp_path_factory.mktemp("finished")
    before = os.environ.get("NASBENCH_SIM_HOME")
    os.environ["NASBENCH_SIM_HOME"] = str(folder / "home")
    try:
        good("search", "darts", "--seeds", "3", *QUICK, "--out", folder / "runs" / "darts")
        good(
            "search", "bpnas", "--landscape", "tabular", "--seeds", "3", *QUICK, "--set", "delta=0.002",
            "--out", folder / "runs" / "bpnas",
        )  # fmt: skip
    finally:
        if before is None:
            del os.environ["NASBENCH_SIM_HOME"]
        else:
            os.environ["NASBENCH_SIM_HOME"] = before
    return folder / "runs"
