"""The pages about files and about migrating: what they show runs as written, on small files of the same names."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.helpers import call
from tests.compat.helpers import made_up
from tests.tables.nats_factory import FOLDER, write_folder
from tests.tables.tfrecords import CHAIN, FORK, LINE, runs_of, write_tfrecord

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(page: str) -> list[tuple[str, str]]:
    """(language, content) of the fenced blocks of a page, in order."""
    return _BLOCK.findall((DOCS / page).read_text(encoding="utf-8"))


def run(kind: str, text: str, folder: Path) -> str:
    """The standard output of a block: our commands in this process, anything else in one of its own."""
    if kind == "python":
        return _process([sys.executable, "-W", "error", "-c", text], folder)
    out = []
    for line in text.splitlines():
        if line.startswith("nasbench-sim "):
            result = call(*shlex.split(line)[1:])
            assert result.code == 0, f"{line}\n{result.err}"
            out.append(result.out)
        else:
            out.append(_process(["bash", "-euc", line], folder))
    return "\n".join(out)


def _process(command: list[str], folder: Path) -> str:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, f"{command[-1]}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of what the pages read (two NATS-Bench architectures, three modules), and a home of its own."""
    write_folder(tmp_path / FOLDER, {cell: made_up(cell, seeds=(777,)) for cell in (0, 11)})
    write_tfrecord(tmp_path / "nasbench_only108.tfrecord", runs_of((CHAIN, FORK, LINE))[0])
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NASBENCH_SIM_HOME", str(tmp_path / "home"))
    return tmp_path


@pytest.mark.slow
def test_bring_your_own_benchmark(folder: Path) -> None:
    said: dict[str, str] = {}
    for kind, text in blocks("bring_your_own_benchmark.md"):
        assert kind in ("sh", "python", "console"), f"a block of kind {kind!r} is neither run nor said not to be"
        if kind != "console":
            said[text] = run(kind, text, folder)
    out = "\n".join(said.values())
    for expected in (
        "mine-with-costs",
        "nats-part: ok",
        "nes-rs",
        "nes-rs - random",
        "mine-again: imported",
        "proxies of cifar10",
    ):
        assert expected in out
    assert len(said) > 12


@pytest.mark.slow
def test_migrating(folder: Path) -> None:
    ran = [run(kind, text, folder) for kind, text in blocks("migrating.md") if kind in ("sh", "python")]
    assert len(ran) >= 3


def test_the_table_of_methods_names_methods() -> None:
    """Every `code` in the first column of a page's tables of methods is an attribute of the class it stands under."""
    from nasbench_sim.compat import NASBench, NASBench201API, NATStopology

    text = (DOCS / "migrating.md").read_text(encoding="utf-8")
    sections = dict(re.findall(r"^### `(\w+)`\n(.*?)(?=^##|\Z)", text, re.MULTILINE | re.DOTALL))
    assert set(sections) == {"NATStopology", "NASBench201API", "NASBench"}
    for offered in (NATStopology, NASBench201API, NASBench):
        rows = re.findall(r"^\| (`[^|]*`) \|", sections[offered.__name__], re.MULTILINE)
        named = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
        made = {"fixed_statistics", "computed_statistics", "valid_epochs", "evaluated_indexes", "meta_archs"}
        assert named - made and all(hasattr(offered, name) for name in named - made)
        public = {name for name in dir(offered) if not name.startswith("_")}
        assert public <= named, f"not in the page: {sorted(public - named)}"


def test_the_names_that_pickles_may_use_are_those_of_the_code() -> None:
    from nasbench_sim.tables.stream_pickle import _GLOBALS
    from nasbench_sim.tables.unpickle import FLOAT64_ARRAYS, NATS_BENCH

    text = (DOCS / "bring_your_own_benchmark.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (.*?`.*?`.*?) \| (.*?) \|$", text, re.MULTILINE)
    named = {files: set(re.findall(r"`([\w.]+)`", names)) for files, names in rows}
    nats = {".".join(name) for name in NATS_BENCH}
    assert named["NATS-Bench `*.pickle.pbz2`"] == nats
    assert named["NAS-Bench-201 `.pth`"] | nats == {".".join(name) for name in _GLOBALS}
    assert named["`metric_vals.pkl` of `nb201`"] == {".".join(name) for name in FLOAT64_ARRAYS}
