"""Inside or outside against hand-made cases, notes, and escaping in every output."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from nasbench_sim.errors import RunError
from nasbench_sim.reporting.compare import compare, judge
from nasbench_sim.reporting.comparison import Comparison, ComparisonRow
from nasbench_sim.reporting.published import Score
from tests.reporting.factory import CELL, make_run


def _one(comparison: Comparison, role: str, label: str = "") -> ComparisonRow:
    found = [r for r in comparison.rows if r.role == role and label in r.their_label]
    assert len(found) == 1, found
    return found[0]


def _terminal(comparison: Comparison, width: int = 160) -> str:
    console = Console(width=width, file=io.StringIO(), record=True)
    console.print(comparison)
    return console.export_text()


@pytest.mark.parametrize(
    ("mean", "score", "inside"),
    [
        (93.86, Score(mean=93.62, sd=0.12), True),  # exactly 2 sd
        (93.8602, Score(mean=93.62, sd=0.12), False),
        (93.38, Score(mean=93.62, sd=0.12), True),
        (93.3798, Score(mean=93.62, sd=0.12), False),
        (54.304, Score(mean=54.30, sd=0.0), True),
        (54.306, Score(mean=54.30, sd=0.0), False),
        (float(np.float32(54.30)), Score(mean=54.30, sd=None), True),
        (54.29, Score(mean=54.30, sd=None), False),
        (73.49, Score(mean=74.49, sd=None, corrected=73.49), True),
    ],
)
def test_judge(mean: float, score: Score, inside: bool) -> None:
    assert judge(mean, score) is inside


def test_means_are_those_of_the_run() -> None:
    finals = {"valid": [91.0, 91.2], "test": [93.5, 93.7]}
    run = make_run("balenas", seeds=2, epochs=3, finals=finals)
    row = _one(compare([run]), "test")
    assert row.mean == pytest.approx(93.6, abs=1e-5)
    assert row.sd == pytest.approx(np.std([93.5, 93.7], ddof=1), abs=1e-5)
    assert (row.n, row.their_mean, row.their_sd, row.their_n) == (2, 93.62, 0.12, 4)
    assert row.inside is True
    assert row.mean == pytest.approx(run.summary()["test"]["mean"])
    assert row.ours == "93.60 ± 0.14 (n=2)" and row.theirs == "93.62 ± 0.12 (n=4)"


def test_collapsed_darts_is_inside_by_rounding() -> None:
    run = make_run("darts", seeds=3, epochs=2, finals={"valid": [39.77] * 3, "test": [54.30] * 3})
    row = _one(compare([run]), "test")
    assert row.inside is True
    assert row.their_label == "DARTS (1st); DARTS-V1; DARTS"  # three papers print one number: one line
    assert any("within rounding (0.005)" in note for note in row.notes)
    assert "BaLeNAS, arXiv 2111.13204, table 1" in row.source and "NAS-Bench-201" in row.source


def test_numbers_of_unlike_protocols_stay_apart() -> None:
    rows = [r for r in compare([make_run("darts", dataset="cifar100", seeds=2, epochs=2)]).rows if r.role == "test"]
    assert [(r.their_label, r.their_mean) for r in rows] == [("DARTS (1st); DARTS-V1", 15.61), ("DARTS", 38.97)]
    assert any("found by a search on CIFAR-10" in note for note in rows[0].notes)
    assert not any("found by a search on CIFAR-10" in note for note in rows[1].notes)


def test_parsec_stands_alone() -> None:
    row = _one(compare([make_run("parsec", seeds=2, epochs=2)]), "test")
    assert (row.their_mean, row.inside, row.theirs, row.verdict) == (None, None, "–", "not judged")
    assert any("no PARSEC result" in note for note in row.notes)


def test_bpnas_was_published_with_test_accuracy_only() -> None:
    comparison = compare([make_run("bpnas", seeds=2, epochs=2)])
    assert "published with test accuracy only" in _one(comparison, "valid").notes
    assert any(note == "63 search epochs, ours 2" for note in _one(comparison, "test").notes)


def test_analog_table_is_for_orientation_only() -> None:
    run = make_run("balenas", table="nb201-analog", roles=("accuracy",), remark="in-sample", seeds=2, epochs=2)
    row = _one(compare([run]), "accuracy")
    assert (row.inside, row.their_mean) == (None, 93.62)
    assert "in-sample" in row.notes and any("for orientation, not judged" in note for note in row.notes)


def test_another_space_is_not_compared() -> None:
    run = make_run("darts", cell="[conv3x3, maxpool]", seeds=2, epochs=2)
    assert all(r.their_mean is None and r.inside is None for r in compare([run]).rows)
    assert all(r.their_mean for r in compare([make_run("darts", cell=CELL, seeds=2, epochs=2)]).rows)


def test_one_seed_has_no_sd() -> None:
    row = _one(compare([make_run("balenas", seeds=1, epochs=1)]), "test")
    assert row.sd is None and "±" not in row.ours and any("no sd" in note for note in row.notes)


def test_words_about_the_landscape() -> None:
    shared, tabular = (make_run("darts", landscape=x, seeds=2, epochs=2) for x in ("shared", "tabular"))
    assert "modelled supernet signal" in compare([shared]).preamble
    assert "modelled supernet signal" not in compare([tabular]).preamble
    assert "no network was trained" in compare([shared, tabular]).preamble
    assert any("control" in note for note in compare([tabular]).rows[0].notes)


def test_variants_are_told_apart() -> None:
    runs = [make_run("balenas", params={"samples": s}, seeds=2, epochs=2) for s in (1, 3)]
    assert {r.method for r in compare(runs).rows} == {"balenas (samples=1)", "balenas (samples=3)"}


def test_no_runs() -> None:
    with pytest.raises(RunError, match="no run to report"):
        compare([])


def test_footnotes_are_numbered_once() -> None:
    comparison = compare([make_run("balenas", seeds=2, epochs=2), make_run("random", seeds=2, epochs=2)])
    assert len(set(comparison.footnotes)) == len(comparison.footnotes)
    used = {int(k) for row in comparison.rows for k in comparison.numbers(row).split(", ")}
    assert used == set(range(1, len(comparison.footnotes) + 1))


HOSTILE = ["=HYPERLINK(1)", "+1+cmd", "-2+3", "@SUM(A1)", "a|b", "x\ny", "<script>alert(1)</script>", "[red]x[/red]"]


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names(name: str, tmp_path: Path) -> None:
    comparison = compare([make_run(name, remark=name, seeds=2, epochs=2)])
    with comparison.to_csv(tmp_path / "c.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2
    for row in rows:
        assert not any(cell[:1] in tuple("=+-@\t\r") for cell in row.values())
        assert "\n" not in row["method"]
    table = [line for line in comparison.to_markdown().splitlines() if line.startswith("|")]
    assert len(table) == 4
    assert all(line.replace("\\|", "").count("|") == 9 for line in table)
    assert "<script>" not in comparison.to_markdown()
    assert name.replace("\n", " ")[:6] in _terminal(comparison)


def test_csv_numbers_stay_numbers(tmp_path: Path) -> None:
    comparison = compare([make_run("balenas", seeds=2, epochs=2, finals={"test": [93.5, 93.7]})])
    text = comparison.to_csv(tmp_path / "c.csv").read_text(encoding="utf-8")
    (row,) = [r for r in csv.DictReader(text.splitlines()) if r["role"] == "test"]
    assert (float(row["mean"]), float(row["their_mean"]), row["their_n"], row["inside"]) == (93.6, 93.62, "4", "True")


def test_narrow_terminal_cuts_nothing() -> None:
    text = _terminal(compare([make_run("balenas", seeds=200, epochs=2)]), width=80)
    assert max(len(line.rstrip()) for line in text.splitlines()) <= 80
    assert all(word in text for word in ("93.62 ± 0.12", "(n=200)", "(n=4)", "inside"))
    assert "does not say" in text


def test_records_are_plain() -> None:
    record = compare([make_run("parsec", seeds=2, epochs=2)]).records()[0]
    assert record["verdict"] == "not judged" and isinstance(record["notes"], list)
