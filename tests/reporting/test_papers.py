"""Papers as data: every row has a search that can be made, or says why not; tables hold what the runs say."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from nasbench_sim.errors import SpecError, TableError
from nasbench_sim.reporting.compare import judge
from nasbench_sim.reporting.gallery import figure_kind
from nasbench_sim.reporting.paper_tables import epochs_to_convergence, paper_tables, scored_on
from nasbench_sim.reporting.papers import folder_name, load_paper, paper_names, unique, wanted
from nasbench_sim.reporting.published import labelled_row
from nasbench_sim.runs import Run, make_spec, search_all
from nasbench_sim.searchers import get_method
from nasbench_sim.tables.table import Key, Table
from tests.synthetic import SPACE, synthetic_table

SMALL = {"epochs": 3, "steps_per_epoch": 10}
PAPER = {
    "schema": 1,
    "name": "small",
    "title": "A small paper",
    "citation": "nobody",
    "note": "made up",
    "tables": [
        {
            "name": "one",
            "title": "Table one",
            "quantities": ["valid", "test"],
            "datasets": ["cifar10", "cifar100"],
            "rows": [
                {"label": "DARTS", "published": ["balenas_table1.json", "DARTS (1st)"],
                 "search": {"method": "darts", "searched_on": "cifar10", **SMALL}},
                {"label": "again", "search": {"method": "darts", "searched_on": "cifar10", **SMALL}},
                {"label": "each", "search": {"method": "darts", "params_on": {"cifar100": {"lr": 0.01}}, **SMALL}},
                {"label": "best", "optimum": True, "published": ["balenas_table1.json", "optimal"]},
                {"label": "ensemble", "unavailable": "needs predictions",
                 "published": ["bpnas_slides.json", "BPNAS ensemble"]},
            ],
        },
        {
            "name": "two",
            "title": "Table two",
            "quantities": ["epochs"],
            "datasets": ["cifar10"],
            "rows": [{"label": "BPNAS", "published": ["bpnas_slides.json", "BPNAS"], "search": {
                "method": "bpnas", "params": {"delta": 0.02, "lr": 0.05}, "landscape": "tabular",
                "epochs": 4, "steps_per_epoch": 120}}, {"label": "best", "optimum": True}],
        },
    ],
}  # fmt: skip


def two_data_sets() -> Table:
    """The synthetic table with a second data set of other numbers."""
    table, other = synthetic_table(), synthetic_table(1)
    more = {key._replace(dataset="cifar100"): values for key, values in other.accuracy.items()}
    return Table(**{**vars(table), "accuracy": {**table.accuracy, **more}})


def folder_with(tmp_path: Path, document: object) -> Path:
    (tmp_path / "small.json").write_text(json.dumps(document))
    return tmp_path


def run_all(table: Table, places: dict[tuple[str, str, str], object]) -> dict[tuple[str, str, str], Run]:
    specs = unique(places)  # type: ignore[arg-type]
    runs = search_all(specs, table, folders=[None] * len(specs), on_tick=lambda _: None, workers=1)
    by_spec = {specs[i].model_dump_json(): run for i, run in runs}
    return {place: by_spec[spec.model_dump_json()] for place, spec in places.items()}  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", paper_names())
def test_every_row_of_a_shipped_paper_can_be_made_or_says_why(name: str) -> None:
    paper = load_paper(name)
    assert paper.name == name
    for table in paper.tables:
        assert len({row.label for row in table.rows}) == len(table.rows)
        for row in table.rows:
            if row.published is not None:  # raises for a file or label that does not exist
                assert any(labelled_row(*row.published, dataset) for dataset in table.datasets)
            if row.search is not None:
                for dataset in table.datasets:
                    get_method(row.search.method).make(**row.search.params, **row.search.params_on.get(dataset, {}))
    for figure in paper.figures:
        figure_kind(figure.kind)
        table = next(t for t in paper.tables if t.name == figure.table)
        searched = {row.label for row in table.rows if row.search is not None}
        assert set(figure.rows) <= searched and figure.dataset in table.datasets


@pytest.mark.parametrize("name", paper_names())
@pytest.mark.parametrize("seeds", [1, 200, range(100, 400)])
def test_no_two_searches_of_a_shipped_paper_share_a_folder(name: str, seeds: int | range) -> None:
    specs = unique(wanted(load_paper(name), synthetic_table(name="nb201"), seeds=seeds))
    assert len({folder_name(spec) for spec in specs}) == len(specs)


def test_the_four_papers_are_there() -> None:
    assert paper_names() == ["balenas", "bpnas", "lecture", "parsec"]


def test_balenas_tables_have_every_printed_row() -> None:
    """All rows of tables 1 (and two of ours), 2, 4 and 5, in the order of the paper."""
    paper = load_paper("balenas")
    sizes = {t.name: len(t.rows) for t in paper.tables}
    assert sizes["table1"] == 15 and sizes["table2"] == 6 and sizes["table4"] == 10 and sizes["table5"] == 7
    rows = {row.label: row for row in paper.tables[0].rows}
    assert rows["BaLeNAS-TF"].search is not None and rows["BaLeNAS-TF"].search.params["draws"] == 100


def test_equal_searches_are_run_once_and_folders_differ(tmp_path: Path) -> None:
    paper = load_paper("small", folder_with(tmp_path, PAPER))
    places = wanted(paper, two_data_sets(), seeds=2)
    assert len(places) == 7
    specs = unique(places)
    # DARTS on cifar10 (for three rows), on cifar100 with its own rate, BPNAS
    assert [(s.method, s.dataset, s.params) for s in specs] == [
        ("darts", "cifar10", {}),
        ("darts", "cifar100", {"lr": 0.01}),
        ("bpnas", "cifar10", {"delta": 0.02, "lr": 0.05}),
    ]
    assert len({folder_name(s) for s in specs}) == 3
    assert len(wanted(paper, two_data_sets(), seeds=2, datasets=["cifar10"])) == 4


def test_tables_hold_what_the_runs_say(tmp_path: Path) -> None:
    table = two_data_sets()
    paper = load_paper("small", folder_with(tmp_path, PAPER))
    runs = run_all(table, wanted(paper, table, seeds=3))  # type: ignore[arg-type]
    (_, one), (_, two) = paper_tables(paper, runs, table)
    rows = {(r.method, r.dataset, r.role): r for r in one.rows}
    assert len(one.rows) == 5 * 2 * 2
    index = SPACE.index(runs["one", "DARTS", "cifar10"].archs)
    for dataset in ("cifar10", "cifar100"):
        for role in ("valid", "test"):
            values = table.accuracy[Key(dataset, role, 200, "mean")][index].astype(float)
            row = rows["DARTS", dataset, role]
            assert row.mean == pytest.approx(values.mean()) and row.sd == pytest.approx(values.std(ddof=1))
            published = labelled_row("balenas_table1.json", "DARTS (1st)", dataset)
            assert published is not None and row.their_mean == published.scores[role].mean  # type: ignore[index]
            assert row.inside == judge(row.mean, published.scores[role])  # type: ignore[index]
            assert rows["again", dataset, role].mean == row.mean and rows["again", dataset, role].inside is None
            best = rows["best", dataset, role]
            assert best.mean == pytest.approx(float(table.accuracy[Key(dataset, role, 200, "mean")].max()))
            lost = rows["ensemble", dataset, role]
            assert math.isnan(lost.mean) and lost.ours == "not available" and lost.inside is None
    assert "scored on cifar100" in " ".join(rows["DARTS", "cifar100", "test"].notes)
    assert rows["ensemble", "cifar100", "test"].their_mean == 77.47
    assert "needs predictions" in one.footnotes and "not available" in one.to_markdown()
    assert all(record["mean"] is None for record in one.records() if record["method"] == "ensemble")
    epochs = epochs_to_convergence(runs["two", "BPNAS", "cifar10"])
    active = runs["two", "BPNAS", "cifar10"].history["active_ops"]
    assert epochs.tolist() == [float(np.argmax(a == 6) + 1) if (a == 6).any() else math.nan for a in active]
    assert two.rows[0].mean == pytest.approx(np.nanmean(epochs)) and two.rows[0].their_mean == 63.0
    assert two.rows[0].inside is None
    assert two.rows[1].ours == "not available" and "looked up" in two.rows[1].missing


def test_a_failed_search_has_no_accuracy_elsewhere() -> None:
    table = two_data_sets()
    spec = make_spec(method="darts", params={"lr": 1e39}, table=table.name, dataset="cifar10", seeds=2, **SMALL)
    run = next(iter(search_all([spec], table, folders=[None], on_tick=lambda _: None, workers=1)))[1]
    assert np.isnan(scored_on(run, table, "cifar100", "test")).all()


def test_a_search_the_table_cannot_give_is_a_row_that_says_so(tmp_path: Path) -> None:
    table = two_data_sets()
    paper = load_paper("small", folder_with(tmp_path, PAPER))
    places = wanted(paper, table, seeds=2, datasets=["cifar10"])
    lacking = dict.fromkeys(places, "no proxies here")
    (_, one), _ = paper_tables(paper, {}, table, datasets=["cifar10"], lacking=lacking)
    darts = next(r for r in one.rows if r.method == "DARTS")
    assert darts.missing == "no proxies here" and darts.their_mean is not None and "no proxies here" in one.footnotes


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"titel": "x"}, "titel"),
        ({"tables": [{"name": "t", "title": "t", "rows": [{"label": "x"}]}]}, "needs one of"),
        ({"schema": 2}, "schema"),
    ],
)
def test_a_damaged_description_is_refused(change: dict[str, object], message: str, tmp_path: Path) -> None:
    with pytest.raises(TableError, match=message):
        load_paper("small", folder_with(tmp_path, {**PAPER, **change}))


def test_unknown_papers_and_rows_are_named(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="did you mean 'balenas'"):
        load_paper("balena")
    with pytest.raises(TableError, match="has no row"):
        labelled_row("balenas_table1.json", "DARTS (3rd)", "cifar10")
