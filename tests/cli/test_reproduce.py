"""`nasbench-sim reproduce`: the main job in small, and that it neither mixes nor overwrites runs."""

from __future__ import annotations

import csv
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from nasbench_sim.runs import Run
from nasbench_sim.tables import catalogue
from nasbench_sim.tables.store import write_table
from tests.cli.helpers import QUICK, REMARK, document, good, refused
from tests.tables.helpers import small_table

TWO = ("reproduce", "--method", "darts", "--method", "random", *QUICK)
RUNS = {"shared-darts", "shared-random", "tabular-darts", "tabular-random"}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished folder of two methods and two seeds, with what was printed; not to be changed."""
    folder = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NASBENCH_SIM_HOME", str(folder / "home"))
        patch.chdir(folder)
        (folder / "said.txt").write_text(good(*TWO, "--seeds", "2", "--out", "X"))
    return folder


def test_records_comparison_and_page(made: Path) -> None:
    assert {p.name for p in (made / "X").iterdir()} == {*RUNS, "comparison.csv", "comparison.md", "report.html"}
    for name in RUNS:
        run = Run.load(made / "X" / name)
        assert f"{run.spec.landscape}-{run.spec.method}" == name
        assert (run.seeds.tolist(), run.epochs, run.spec.steps_per_epoch) == ([0, 1], 2, 10)
        assert sorted(p.name for p in (made / "X" / name).iterdir()) == ["record.h5", "run.json"]
    with (made / "X" / "comparison.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {f"{r['landscape']}-{r['method']}" for r in rows} == RUNS
    for row in rows:
        final = Run.load(made / "X" / f"{row['landscape']}-{row['method']}").final("accuracy")
        assert float(row["mean"]) == pytest.approx(final.astype(float).mean(), abs=0.006)
    page = (made / "X" / "report.html").read_text()
    assert page.count("<svg") == 6 and REMARK in page
    assert (made / "X" / "comparison.md").read_text().count("|") > 20


def test_it_prints_the_table_and_where_the_page_is(made: Path) -> None:
    said = (made / "said.txt").read_text()
    lines = said.splitlines()
    assert lines[0] == "4 runs of 2 seeds on nb201-analog, cifar10; into X"
    assert REMARK in lines[1]
    assert sum(", 2 seeds: accuracy " in line for line in lines) == 4
    assert lines[2].startswith("random, tabular")  # the cheapest first, so that something is on the screen soon
    assert "54.30 ± 0.00" in said and "84.07 ± 3.61" in said
    assert lines[-1].startswith(f"Page: {made / 'X' / 'report.html'}  (")


def test_default_folder_and_json() -> None:
    said = document("reproduce", "--method", "random", "--seeds", "2", *QUICK)
    assert said["folder"].startswith("runs/reproduce-")
    assert Path(said["page"]).is_file()
    assert [r["landscape"] for r in said["runs"]] == ["tabular", "shared"]
    assert said["table"] == "nb201-analog" and REMARK in said["remark"]
    assert len(said["comparison"]) == 2


def test_the_best_table_present_is_the_default() -> None:
    write_table(replace(small_table(), name="nb201"), catalogue.table_path("nb201"))
    said = document("reproduce", "--method", "random", "--seeds", "2", *QUICK, "--out", "x")
    assert said["table"] == "nb201"
    assert all({"valid", "test"} <= set(run) for run in said["runs"])


def test_resume_keeps_what_is_finished_and_makes_what_is_missing(made: Path) -> None:
    shutil.copytree(made / "X", "X")
    kept = Path("X/shared-random/record.h5").stat().st_mtime_ns
    shutil.rmtree("X/shared-darts")
    Path("X/report.html").unlink()
    good(*TWO, "--seeds", "2", "--out", "X", "--resume")
    assert Path("X/shared-random/record.h5").stat().st_mtime_ns == kept
    assert Path("X/report.html").is_file()
    again, first = Run.load("X/shared-darts"), Run.load(made / "X" / "shared-darts")
    for name, values in first.history.items():
        np.testing.assert_array_equal(values, again.history[name])


def test_overwrite_replaces(made: Path) -> None:
    shutil.copytree(made / "X", "X")
    good(*TWO, "--seeds", "3", "--out", "X", "--overwrite")
    assert {len(Run.load(f"X/{name}").seeds) for name in RUNS} == {3}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--seeds", "2"), "X already holds runs; choose another folder, or --resume them, or --overwrite them"),
        (("--seeds", "3", "--resume"), "holds a finished run of another specification or table"),
        (("--seeds", "2", "--steps-per-epoch", "11", "--resume"), "of another specification or table"),
        (("--seeds", "2", "--resume", "--overwrite"), "give one of them"),
    ],
)
def test_a_second_run_into_the_folder_is_refused(made: Path, options: tuple[str, ...], said: str) -> None:
    shutil.copytree(made / "X", "X")
    refused(*TWO, *options, "--out", "X", said=said)


def test_runs_on_another_table_are_not_mixed_in(made: Path) -> None:
    write_table(replace(small_table(), name="nb201-analog"), Path("other.h5"))  # same name, other numbers
    shutil.copytree(made / "X", "X")
    refused(
        *TWO, "--seeds", "2", "--table", "other.h5", "--out", "X", "--resume", said="another specification or table"
    )


@pytest.mark.parametrize(
    ("prepare", "options", "said"),
    [
        ("file", (), "X is a file; give a folder"),
        ("file", ("--overwrite",), "X is a file; give a folder"),
        ("thesis", (), "is not empty and holds no runs of ours"),
        ("thesis", ("--overwrite",), "is not empty and holds no runs of ours"),
        ("thesis", ("--resume",), "is not empty and holds no runs of ours"),
        ("inside", (), "cannot write X/"),
    ],
)
def test_places_that_are_not_ours(prepare: str, options: tuple[str, ...], said: str) -> None:
    if prepare == "thesis":
        Path("X").mkdir()
        Path("X/report.html").write_text("precious")
    else:
        Path("X").write_text("precious")
    refused(*TWO, "--seeds", "2", "--out", "X/inside" if prepare == "inside" else "X", *options, said=said)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--method", "dart"), "did you mean 'darts'"),
        (("--dataset", "cifar100"), "unknown data set 'cifar100'"),
        (("--seeds", "0"), "a number of seeds is at least 1"),
        (("--epochs", "0"), "epochs"),
        (("--workers", "0"), "workers is at least 1"),
        (("--resume",), "--resume needs --out"),
        (("--overwrite",), "--overwrite needs --out"),
        (("--table", "nb201"), "tables fetch nb201"),
    ],
)
def test_mistakes_cost_nothing(options: tuple[str, ...], said: str) -> None:
    refused("reproduce", *options, said=said)


def test_a_folder_that_cannot_be_written() -> None:
    refused(*TWO, "--seeds", "2", "--out", "/proc/nowhere", said="cannot write /proc/nowhere")
