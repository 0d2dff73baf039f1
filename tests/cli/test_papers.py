"""`reproduce --paper` in small: runs, tables, page, resume, and refusals before anything runs."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

import nasbench_sim.reporting.papers as papers
from nasbench_sim.runs import Run
from nasbench_sim.tables import catalogue
from nasbench_sim.tables.store import write_table
from tests.cli.helpers import call, document, good, refused
from tests.reporting.test_papers import PAPER, folder_with, two_data_sets

FIGURE = {"name": "fig", "title": "Skips", "kind": "skip_ratio", "table": "one", "rows": ["DARTS"]}


@pytest.fixture(autouse=True)
def _small_paper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The one paper there is is a small one, and the table has two data sets."""
    folder = tmp_path / "papers"
    folder.mkdir()
    folder_with(folder, {**PAPER, "figures": [FIGURE]})
    real = papers.data_path
    monkeypatch.setattr(papers, "data_path", lambda *parts: folder if parts == ("papers",) else real(*parts))
    path = catalogue.table_path("synthetic")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_table(two_data_sets(), path)


CALL = ("reproduce", "--paper", "small", "--table", "synthetic", "--workers", "1", "--seeds", "2")


def test_tables_figures_and_page() -> None:
    said = good(*CALL, "--out", "X")
    assert "Table one" in said and "Table two" in said and "judged numbers inside" in said
    assert "no networks" not in said and "not available" in said and "made-up numbers" in said
    names = {p.name for p in Path("X").iterdir()}
    assert {"one.csv", "two.csv", "tables.md", "report.html", "fig.svg"} <= names
    folders = sorted(p for p in Path("X").iterdir() if p.is_dir())
    assert len(folders) == 3 and all(Run.load(f).epochs in (3, 4) for f in folders)
    with Path("X/one.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 20 and {r["method"] for r in rows} == {"DARTS", "again", "each", "best", "ensemble"}
    page = Path("X/report.html").read_text()
    assert page.count("<svg") == 1 and "Table two" in page and "needs predictions" in page


def test_resume_takes_up_what_is_finished() -> None:
    good(*CALL, "--out", "X")
    before = {p: p.stat().st_mtime_ns for p in Path("X").glob("*/record.h5")}
    good(*CALL, "--out", "X", "--resume")
    assert {p: p.stat().st_mtime_ns for p in Path("X").glob("*/record.h5")} == before
    refused(*CALL, "--out", "X", said="already holds runs")
    refused(*CALL[:-1], "3", "--out", "X", "--resume", said="of another specification or table")


def test_one_data_set_and_json() -> None:
    found = document(*CALL, "--dataset", "cifar10", "--json", "--out", "X")
    assert found["paper"] == "small" and {r["dataset"] for t in found["tables"] for r in t["rows"]} == {"cifar10"}


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--paper", "smal"), "did you mean 'small'"),
        (("--dataset", "cifar11"), "did you mean 'cifar10'"),
        (("--method", "darts"), "has its own methods"),
        (("--epochs", "3"), "has its own methods"),
        (("--table", "nb201-analog"), "tables fetch nb201"),
        (("--seeds", "0"), "at least 1"),
    ],
)
def test_refusals_before_anything_runs(more: tuple[str, str], said: str) -> None:
    arguments = list(CALL)
    if more[0] in arguments:
        arguments[arguments.index(more[0]) + 1] = more[1]
    else:
        arguments += list(more)
    refused(*arguments, "--out", "X", said=said)


def test_a_paper_none_of_whose_rows_can_be_had(tmp_path: Path) -> None:
    rows = [{"label": "x", "search": {"method": "darts", "params": {"order": 2}, "landscape": "tabular"}}]
    tables = [{"name": "one", "title": "t", "datasets": ["cifar10"], "rows": rows}]
    folder_with(tmp_path / "papers", {**PAPER, "tables": tables})
    result = call(*CALL, "--out", "X")
    assert result.code == 2 and "none of the paper's rows" in result.err
