"""The typed numbers are the papers' numbers, and a damaged file is told in one line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nasbench_sim.errors import TableError
from nasbench_sim.reporting.published import PublishedRow, absent_note, all_rows, published_rows
from nasbench_sim.resources import data_path

DATASETS = ("cifar10", "cifar100", "ImageNet16-120")


def _scores(row: PublishedRow) -> dict[str, tuple[float, float | None]]:
    return {role: (score.mean, score.sd) for role, score in row.scores.items()}


def _row(label: str, dataset: str, source: str) -> PublishedRow:
    found = [r for r in all_rows(dataset) if r.label == label and r.source.startswith(source)]
    assert len(found) == 1, found
    return found[0]


def _means(label: str, source: str) -> list[float]:
    return [_row(label, d, source).scores[role].mean for d in DATASETS for role in ("valid", "test")]  # type: ignore[index]


@pytest.mark.parametrize(("label", "source"), [("DARTS (1st)", "BaLeNAS"), ("DARTS-V1", "NAS-Bench-201")])
def test_darts_is_the_all_skip_cell(label: str, source: str) -> None:
    assert _means(label, source) == [39.77, 54.30, 15.03, 15.61, 16.43, 16.32]


@pytest.mark.parametrize("source", ["BaLeNAS", "comparison tables"])
def test_drnas_is_cell_9930(source: str) -> None:
    assert _means("DrNAS", source) == [91.55, 94.36, 73.49, 73.51, 46.37, 46.34]


def test_balenas_rows() -> None:
    assert _means("BaLeNAS (1st)", "BaLeNAS") == [91.03, 93.62, 70.88, 70.98, 45.19, 45.25]
    assert _means("BaLeNAS (2nd)", "BaLeNAS") == [91.32, 94.02, 71.53, 71.93, 45.39, 45.48]
    assert _means("BaLeNAS-TF", "BaLeNAS") == [91.52, 94.33, 72.67, 72.95, 46.14, 46.54]
    assert {_row(f"BaLeNAS{x}", "cifar10", "BaLeNAS").n for x in (" (1st)", " (2nd)", "-TF")} == {4}
    assert _row("DARTS (1st)", "cifar10", "BaLeNAS").n is None  # copied from another paper


def test_optima_as_printed_with_the_misprints_marked() -> None:
    assert _means("optimal", "BaLeNAS") == [91.61, 94.37, 74.49, 73.51, 46.77, 47.31]
    assert _row("optimal", "cifar100", "BaLeNAS").scores["valid"].corrected == 73.49
    assert _row("optimal", "ImageNet16-120", "BaLeNAS").scores["valid"].corrected == 46.73
    assert _row("optimal", "cifar10", "BaLeNAS").scores["valid"].corrected is None
    assert _means("Optimal", "NAS-Bench-201") == [91.61, 94.37, 73.49, 73.51, 46.77, 47.31]
    assert "misprint" in _row("optimal", "cifar100", "BaLeNAS").remark


def test_bpnas_has_test_accuracy_and_epochs_only() -> None:
    rows = [published_rows("bpnas", d)[0] for d in DATASETS]
    assert [_scores(r) for r in rows] == [{"test": (94.18, 0.3)}, {"test": (73.40, 0.2)}, {"test": (46.34, 0.0)}]
    assert [r.epochs for r in rows] == [63, 50, 26]
    assert all(len(published_rows("bpnas", d)) == 1 for d in DATASETS)  # the ensemble rows are never compared
    ensembles = [r for r in all_rows("cifar100") if r.kind == "ensemble"]
    assert [r.scores["test"].mean for r in ensembles] == [74.42, 75.00, 77.47]
    assert all("cannot be simulated" in r.remark for r in ensembles)


def test_random_stands_beside_rsps_and_says_why() -> None:
    (row,) = published_rows("random", "cifar10")
    assert (row.label, _scores(row)) == ("RSPS", {"valid": (80.42, 3.58), "test": (84.07, 3.61)})
    assert "our `rsps`" in row.remark and "at the uniform mixture" in row.remark
    assert published_rows("rsps", "cifar10")[0].label == "RandomNAS"


def test_parsec_has_no_row_and_says_so() -> None:
    assert all(published_rows("parsec", d) == [] for d in DATASETS)
    assert "no PARSEC result" in absent_note("parsec")
    assert "no published" in absent_note("nobody")


def test_parameters_choose_rows() -> None:
    assert [r.label for r in published_rows("balenas", "cifar10", params={})] == ["BaLeNAS (1st)"]
    second = {"order": 2, "samples": 3}
    labels = [r.label for r in published_rows("balenas", "cifar10", params=second)]
    assert labels == ["BaLeNAS (2nd)", "BaLeNAS", "M = 3"]
    assert {r.scores["test"].mean for r in published_rows("balenas", "cifar10", params=second)} == {94.02}
    assert len(published_rows("balenas", "cifar10")) == 7
    assert [r.label for r in published_rows("darts", "cifar100", params={})] == ["DARTS (1st)", "DARTS-V1", "DARTS"]


def test_where_searches_ran() -> None:
    by_label = {r.label: r.searched_on for r in published_rows("darts", "cifar100", params={})}
    assert by_label == {"DARTS (1st)": "cifar10", "DARTS-V1": "cifar10", "DARTS": "each"}


def test_every_file_is_named_in_the_readme() -> None:
    text = data_path("published", "README.md").read_text(encoding="utf-8")
    assert all(path.name in text for path in data_path("published").glob("*.json"))


@pytest.mark.parametrize(
    "change",
    [
        {"rows": [{"label": "x"}]},
        {"surprise": 1},
        {"schema": 2},
        {"source": 3},
    ],
)
def test_strict(tmp_path: Path, change: dict[str, object]) -> None:
    good = json.loads(data_path("published", "parsec.json").read_text(encoding="utf-8"))
    (tmp_path / "a.json").write_text(json.dumps(good | change), encoding="utf-8")
    with pytest.raises(TableError, match="install nasbench-sim again") as caught:
        all_rows("cifar10", folder=tmp_path)
    assert "\n" not in str(caught.value)


def test_accuracy_out_of_range_is_refused(tmp_path: Path) -> None:
    text = data_path("published", "bpnas_slides.json").read_text(encoding="utf-8")
    assert "94.18" in text
    (tmp_path / "a.json").write_text(text.replace("94.18", "9418.0"), encoding="utf-8")
    with pytest.raises(TableError):
        all_rows("cifar10", folder=tmp_path)


def test_no_files(tmp_path: Path) -> None:
    with pytest.raises(TableError, match="no published results"):
        published_rows("darts", "cifar10", folder=tmp_path)
