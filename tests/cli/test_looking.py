"""`compare`, `plot`, `report`, `query`, `methods`, `tables`: what they show, for people and for machines."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import typer

import nasbench_sim as nb
from nasbench_sim.cli import app
from nasbench_sim.reporting import FIGURES
from nasbench_sim.tables import catalogue
from nasbench_sim.tables.store import write_table
from tests.cli.helpers import KEY, QUICK, REMARK, call, document, good
from tests.cli.test_help import _walk
from tests.tables.helpers import small_table

MAGIC = {"svg": b"<?xml", "png": b"\x89PNG\r\n\x1a\n", "pdf": b"%PDF-"}


def test_compare(finished: Path) -> None:
    said = good("compare", finished / "darts", finished / "bpnas")
    for words in ("darts", "bpnas", "tabular", "shared", "54.30", REMARK, "no network was trained"):
        assert words in " ".join(said.split())
    rows = document("compare", finished / "darts", finished / "bpnas")
    assert [(r["method"], r["landscape"], r["n"]) for r in rows] == [("darts", "shared", 3), ("bpnas", "tabular", 3)]
    assert all(any(REMARK in note for note in r["notes"]) for r in rows)


def test_a_folder_of_runs_stands_for_all_of_them(finished: Path) -> None:
    both = document("compare", finished)
    assert [r["method"] for r in both] == ["bpnas", "darts"]
    assert document("compare", finished, finished / "darts") == both  # a run that is named twice counts once


@pytest.mark.parametrize("suffix", MAGIC)
@pytest.mark.parametrize("figure", [kind.name for kind in FIGURES])
def test_every_figure_in_every_format(finished: Path, figure: str, suffix: str) -> None:
    out = Path(f"figures/{figure}.{suffix}")
    assert good("plot", figure, finished, "--out", out) == f"{out}\n"
    data = out.read_bytes()
    assert data.startswith(MAGIC[suffix])
    assert len(data) > 2000
    assert list(Path("figures").iterdir()) == [out]


def test_six_figures_are_named_in_the_help() -> None:
    said = " ".join(good("plot", "--help").split())
    assert len(FIGURES) == 6
    assert all(kind.name in said for kind in FIGURES)


def test_report(finished: Path) -> None:
    assert good("report", finished, "--out", "page.html", "--title", "Mine & <yours>") == "page.html\n"
    page = Path("page.html").read_text()
    assert "<title>Mine &amp; &lt;yours&gt;</title>" in page
    assert page.count("<svg") == 6
    for words in (REMARK, "--seeds 3", "darts", "bpnas", nb.open_table("nb201-analog").sha256):
        assert words in page
    before = Path("page.html").read_bytes()
    good("report", finished, "--out", "page.html", "--title", "Mine & <yours>")
    assert Path("page.html").read_bytes() == before


@pytest.mark.parametrize("asked", ["9930", "string"])
def test_query(asked: str) -> None:
    table = nb.open_table("nb201-analog")
    arch = table.space.format(table.space.at(9930))
    value = table.query(9930, dataset="cifar10", split="baseline", epochs="unstated", seed="single")
    result = call("query", arch if asked == "string" else asked, *KEY)
    assert (result.code, result.out) == (0, f"{value:.4f}\n")
    assert result.err.startswith("Note: ") and REMARK in result.err
    said = document("query", arch if asked == "string" else asked, *KEY)
    assert (said["index"], said["arch"], said["accuracy"]) == (9930, arch, value)
    assert (said["dataset"], said["split"], said["epochs"], said["seed"]) == (
        "cifar10",
        "baseline",
        "unstated",
        "single",
    )
    assert REMARK in said["remark"]


def test_methods() -> None:
    cards = {card["name"]: card for card in document("methods", "list")}
    assert set(cards) == set(nb.methods())
    text = good("methods", "list")
    assert all(name in text for name in cards)
    for name, card in cards.items():
        assert document("methods", "show", name) == card
        shown = " ".join(good("methods", "show", name).split())
        for words in (card["title"], card["paper"], card["equation"], *card["deviations"], *card["unknowns"]):
            assert " ".join(words.split()) in shown
        assert all(f"{parameter} = " in shown for parameter in card["parameters"])


def test_tables_through_the_program() -> None:
    assert document("tables", "list")["default"] == "nb201-analog"
    good("tables", "export", "nb201-analog", "out.csv")
    rows = list(csv.DictReader(io.StringIO(Path("out.csv").read_text())))
    assert len(rows) == 15_625
    column = "cifar10/baseline/unstated/single"
    good("tables", "import", "mine", "--csv", "out.csv", "--unit", "percent", "--map", f"{column}={column}")
    good("tables", "export", "mine", "mine.h5")
    mine, analog = (document("query", "7", "--table", t, *KEY[2:]) for t in ("mine", "nb201-analog"))
    assert mine["accuracy"] == analog["accuracy"]
    by_file = document("search", "random", "--table", "mine.h5", "--seeds", "2", *QUICK)
    assert by_file["table"] == "mine" and "in-sample" in by_file["remark"]


def test_the_remark_stands_in_every_output_on_the_analog_table(finished: Path) -> None:
    for command in (
        ("search", "random", "--seeds", "2", *QUICK),
        ("compare", finished / "darts"),
        ("tables", "info", "nb201-analog"),
        ("reproduce", "--method", "random", "--seeds", "2", *QUICK, "--out", "r"),
    ):
        assert REMARK in " ".join(good(*command).split()), command
    assert REMARK in Path("r/report.html").read_text()
    assert REMARK in Path("r/comparison.md").read_text()
    assert REMARK in Path("r/comparison.csv").read_text()
    assert all(REMARK in p.read_text() for p in Path("r").glob("*/run.json"))


def test_json_is_one_document_for_every_command_that_has_it(finished: Path) -> None:
    write_table(replace(small_table(), name="nb201"), catalogue.table_path("nb201"))
    good("ensemble", "--example", "digits.h5")
    few = small_table(name="few")
    for column in few.accuracy.values():
        column[300:] = np.nan
    write_table(few, catalogue.table_path("few"))
    Path("axes.yaml").write_text(
        "name: rates\ntable: nb201-analog\nmethod: darts\nlandscape: tabular\nseeds: 2\nepochs: 2\n"
        "steps_per_epoch: 10\nmetric: accuracy\naxes: {lr: [0.001, 0.01]}\n"
    )
    calls = {
        ("reproduce",): ("--table", "nb201-analog", "--method", "random", "--seeds", "2", *QUICK, "--out", "r"),
        ("search",): ("random", "--table", "nb201-analog", "--seeds", "2", *QUICK),
        ("compare",): (finished,),
        ("query",): ("9930", *KEY),
        ("pareto",): (finished / "darts", "--metric", "params_m"),
        ("ensemble",): ("digits.h5", "--seeds", "2", "--size", "2"),
        ("ablate",): ("axes.yaml", "--workers", "1", "--out", "a"),
        ("tables", "complete"): ("few",),
        ("tables", "list"): (),
        ("tables", "fetch"): ("nb201",),  # is here already: nothing is downloaded
        ("tables", "import"): ("yours", "--h5", catalogue.table_path("nb201")),
        ("tables", "info"): ("nb201-analog",),
        ("tables", "verify"): (),
        ("tables", "export"): ("nb201-analog", "out.csv"),
        ("methods", "list"): (),
        ("methods", "show"): ("balenas",),
    }
    leaves = dict(_walk(typer.main.get_command(app)))
    have = {path for path, command in leaves.items() if any("--json" in p.opts for p in command.params)}
    elsewhere = {("ensemble-study",), ("fidelity",)}  # need files of their own; test_ensemble_study, test_fidelity
    assert have - elsewhere == set(calls), "a command with --json is not called here"
    for path, arguments in calls.items():
        assert document(*path, *arguments)
