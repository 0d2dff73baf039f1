"""Regret is the table's best minus the derived cell, by split; predictions are told from measurements."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.text import Text

import nasbench_sim as nb
import nasbench_sim.reporting as reporting
from nasbench_sim.errors import RunError
from nasbench_sim.reporting.gallery import figure_kind
from nasbench_sim.reporting.regret import FLOOR, plot_regret, regret
from nasbench_sim.runs.record import Run
from nasbench_sim.tables.table import Key, Table
from tests.nb1shot1 import TEST, VALID, synthetic
from tests.reporting.factory import BEST, make_run

STEPS: dict[str, Any] = {"dataset": "cifar10", "epochs": 3, "steps_per_epoch": 10}


def line(ax: Axes, label: str) -> tuple[np.ndarray, np.ndarray]:
    found = next(one for one in ax.get_lines() if one.get_label() == label)
    return np.asarray(found.get_xdata()), np.asarray(found.get_ydata())


def text(figure: Any) -> str:
    figure.draw_without_rendering()
    return " ".join(t.get_text() for t in figure.findobj(Text)).replace("\n", " ")


def completed() -> Table:
    """The synthetic table as one whose odd half was never measured: its numbers stand under seed `completed`."""
    table = synthetic(1)
    accuracy: dict[Key, np.ndarray] = {}
    for key in (VALID, TEST):
        holes = table.accuracy[key].copy()
        holes[1::2] = np.nan
        accuracy |= {key: holes, key._replace(seed="completed"): table.accuracy[key]}
    return dataclasses.replace(
        table,
        name="made+regressor",
        accuracy=accuracy,
        search_key=VALID._replace(seed="completed"),
        report_keys={"valid": VALID._replace(seed="completed"), "test": TEST._replace(seed="completed")},
        sha256="completed",
    )


@pytest.mark.parametrize("role", ["valid", "test"])
def test_regret_is_the_best_of_the_same_split_minus_the_cell(role: str) -> None:
    table = synthetic(1)
    run = nb.search("darts", table=table, landscape="tabular", seeds=3, params={"lr": 0.05}, **STEPS)
    column = table.accuracy[{"valid": VALID, "test": TEST}[role]].astype(np.float64)
    expected = column.max() - column[table.space.index(run.history["archs"])]
    assert np.allclose(regret(run, role), expected, atol=1e-4)
    assert (expected > 0.05).any()


def test_the_line_is_the_median_and_the_floor_holds_up_the_logarithm() -> None:
    below = np.linspace(3, 0, 7) * np.ones((5, 1))
    history = {role: BEST["cifar10"][role] - below for role in ("valid", "test")}
    figure = plot_regret([make_run("darts", seeds=5, epochs=7, history=history), make_run("rs", seeds=5, epochs=7)])
    assert [ax.get_ylabel() for ax in figure.axes] == ["validation regret (%)", "test regret (%)"]
    for ax in figure.axes:
        x, y = line(ax, "_median 0")
        assert ax.get_yscale() == "log" and x.tolist() == list(range(1, 8))
        np.testing.assert_allclose(y, [3, 2.5, 2, 1.5, 1, 0.5, FLOOR], atol=1e-4)


def test_black_box_searches_stand_over_simulated_seconds() -> None:
    run = nb.search("rs", table=synthetic(1), dataset="cifar10", seeds=4, epochs=5, budget=1_000.0)
    figure = plot_regret([run])
    x, y = line(figure.axes[1], "_median 0")
    assert x.tolist() == [200, 400, 600, 800, 1000] and figure.axes[1].get_xlabel() == "simulated seconds"
    counted = nb.search(
        "rs",
        table=synthetic(1),
        dataset="cifar10",
        seeds=2,
        epochs=3,
        budget=9.0,
        landscape_params={"cost": "evaluations"},
    )
    assert plot_regret([counted]).axes[0].get_xlabel() == "evaluations"
    assert plot_regret([counted, run]).axes[0].get_xlabel() == "seconds, evaluations"
    values = regret(run, "test")
    assert values is not None
    np.testing.assert_allclose(y, np.median(np.maximum(values, FLOOR), axis=0))


def test_what_was_not_recorded_is_no_regret() -> None:
    nothing = {role: np.full((3, 4), np.nan) for role in ("valid", "test")}
    run = make_run("darts", seeds=3, epochs=4, history=nothing)
    assert regret(run, "valid") is None
    assert "No accuracy" in text(plot_regret([run]))
    some = make_run("darts", seeds=3, epochs=4, history={"valid": np.where(np.eye(3, 4) > 0, np.nan, 90.0)})
    values = regret(some, "valid")
    assert values is not None and np.array_equal(np.isnan(values), np.eye(3, 4) > 0)
    with pytest.raises(RunError, match="no 'accuracy' accuracy; it has valid, test"):
        regret(run, "accuracy")
    with pytest.raises(RunError, match="no run to report"):
        plot_regret([])


def test_the_figure_has_a_name_and_a_page_does_without_it(tmp_path: Path) -> None:
    assert figure_kind("regret").draw is plot_regret
    assert "regret" not in {kind.name for kind in reporting.FIGURES}
    with pytest.raises(RunError, match="unknown figure 'regrets'; did you mean 'regret'"):
        figure_kind("regrets")
    runs = [make_run("darts", seeds=3, epochs=4)]
    files = [reporting.save_figure(plot_regret(runs), tmp_path / f"{n}.svg").read_bytes() for n in "ab"]
    assert files[0] == files[1] and len(files[0]) > 2000


@pytest.mark.parametrize("method", ["darts", "rs"])
def test_a_run_on_predictions_says_which_final_cells_were_measured(method: str, tmp_path: Path) -> None:
    table = completed()
    about: dict[str, Any] = STEPS if method == "darts" else {"dataset": "cifar10", "epochs": 2, "budget": 40.0}
    if method == "rs":  # no 4-epoch column here, so that every evaluation is of 108 epochs
        about |= {"landscape_params": {"cost": "evaluations"}}
    run = nb.search(method, table=table, seeds=12, **about)
    flags = run.final_state["measured"]
    assert flags.dtype == np.bool_
    assert np.array_equal(flags, table.space.index(run.archs) % 2 == 0)
    assert run.summary()["measured"] == pytest.approx(flags.mean()) and 0 < flags.mean() < 1
    run.save(tmp_path)
    assert Run.load(tmp_path).summary() == run.summary()
    assert "not measured are predictions" in text(plot_regret([run]))


def test_a_failed_search_counts_for_no_measurement_and_other_tables_have_no_share() -> None:
    run = nb.search("darts", table=completed(), seeds=3, **STEPS)
    lost = dataclasses.replace(run, failures={"seed": run.seeds[:1]})
    assert lost.summary()["measured"] == pytest.approx(run.final_state["measured"][1:].mean())
    none = dataclasses.replace(run, failures={"seed": run.seeds})
    assert none.summary()["measured"] is None
    plain = nb.search("darts", table=synthetic(1), seeds=2, **STEPS)
    assert "measured" not in plain.final_state and "measured" not in plain.summary()
    assert "predictions" not in text(plot_regret([plain]))
