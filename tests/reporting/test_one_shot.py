"""One-shot against stand-alone: the shared weights are those of the run, the correlations those of the definitions."""

from __future__ import annotations

import dataclasses
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import nasbench_sim as nb
from nasbench_sim.cli import app
from nasbench_sim.errors import RunError, SpecError, UserError
from nasbench_sim.reporting import save_figure
from nasbench_sim.reporting.one_shot import one_shot, plot_one_shot
from nasbench_sim.runs.record import Run
from tests.nb1shot1 import TEST, VALID, synthetic
from tests.reporting.test_regret import completed

TABLE = synthetic(1)
QUIET: dict[str, Any] = {"preference": {}, "idiosyncrasy": 0.0}


def run_of(method: str = "darts", seeds: int = 3, table: nb.Table = TABLE, **about: Any) -> Run:
    return nb.search(method, table=table, dataset="cifar10", seeds=seeds, epochs=3, steps_per_epoch=8, **about)


def test_losses_are_those_of_the_searchs_own_weights() -> None:
    run = run_of(seeds=5)
    seen = one_shot(run, TABLE, cells=40, seeds=2, role="test")
    land = nb.SharedWeightsLandscape(TABLE, **VALID._asdict())
    searcher = nb.get_method("darts").make()
    state = searcher.init(TABLE.space, run.seeds[:2], np.float32)
    shared = land.init(run.seeds[:2], nb.Horizon(3, 8))
    for _ in range(24):
        state, shared, _ = searcher.step(state, land, shared)
    archs = np.repeat(TABLE.space.at(seen.cells)[None], 2, axis=0)
    assert np.array_equal(seen.loss, land.arch_loss(shared, archs).astype(np.float64))
    assert np.allclose(seen.stand_alone, TABLE.accuracy[TEST][seen.cells])
    assert len(np.unique(seen.cells)) == 40 and seen.spearman.shape == seen.kendall.shape == (2, 3)


def test_correlations_by_their_definitions() -> None:
    seen = one_shot(run_of(), TABLE, cells=60)
    truth = seen.stand_alone
    for loss, rho, tau in zip(seen.loss, seen.spearman[:, -1], seen.kendall[:, -1], strict=True):
        ranks = [np.argsort(np.argsort(x, kind="stable"), kind="stable") for x in (-loss, truth)]
        assert len(np.unique(loss)) == len(np.unique(truth)) == 60, "without ties both definitions are short"
        assert rho == pytest.approx(np.corrcoef(*ranks)[0, 1])
        signs = [np.sign((loss[j] - loss[i]) * (truth[i] - truth[j])) for i, j in combinations(range(60), 2)]
        assert tau == pytest.approx(np.mean(signs))


def test_ripe_weights_without_preference_rank_as_the_table_does_and_a_strong_one_turns_it_round() -> None:
    fair = one_shot(run_of(landscape_params={**QUIET, "rate": {"nor_conv_1x1": 60.0, "nor_conv_3x3": 60.0}}), TABLE)
    assert fair.spearman[:, -1].min() > 0.97
    tilted = {"preference": {"maxpool3x3": 5.0}, "onset": 0.0}
    assert one_shot(run_of(landscape_params=tilted), TABLE).spearman[:, -1].max() < -0.5


def test_a_penalty_is_no_part_of_the_one_shot_loss() -> None:
    """RSPS trains on uniform cells whatever they cost, so that a price must leave every loss as it is."""
    plain, priced = (one_shot(run_of("rsps", penalty=p), TABLE, cells=30) for p in ({}, {"params_m": 1.0}))
    assert np.array_equal(plain.loss, priced.loss)


def test_only_measured_cells_of_a_completed_table_are_ranked() -> None:
    table = completed()
    seen = one_shot(run_of(table=table), table, cells=100)
    assert (seen.cells % 2 == 0).all() and len(seen.cells) == 100


def test_what_has_no_shared_weights_is_refused_in_one_line() -> None:
    run = run_of()
    with pytest.raises(RunError, match="no shared weights"):
        one_shot(run_of(landscape="tabular"), TABLE)
    with pytest.raises(RunError, match="the table synthetic-nb1shot1-1 here has"):
        one_shot(run, synthetic(1, seed=1))
    with pytest.raises(SpecError, match="unknown role 'tset'; did you mean 'test'"):
        one_shot(run, TABLE, role="tset")
    for wrong in ({"cells": 2}, {"seeds": 0}):
        with pytest.raises(SpecError, match="at least 3 cells and 1 seed"):
            one_shot(run, TABLE, **wrong)
    with pytest.raises(RunError, match="every search of this run failed"):
        one_shot(dataclasses.replace(run, failures={"seed": run.seeds}), TABLE)
    skipped = one_shot(dataclasses.replace(run, failures={"seed": run.seeds[:1]}), TABLE, cells=30)
    assert np.array_equal(skipped.loss, one_shot(run, TABLE, cells=30).loss[1:])


def test_the_command_line_draws_regret_and_one_shot(tmp_path: Path) -> None:
    table = nb.open_table("nb201-analog")
    for name in ("a", "b"):
        nb.search("darts", table=table, dataset="cifar10", seeds=2, epochs=2, steps_per_epoch=8, out=tmp_path / name)
    a, b, out = tmp_path / "a", tmp_path / "b", tmp_path / "f.svg"
    for words in (("regret", a, b), ("one_shot", a, "--cells", "20", "--seeds", "1", "--role", "accuracy")):
        out.unlink(missing_ok=True)
        result = CliRunner().invoke(app, ["plot", *map(str, words), "--out", str(out)])
        assert result.exit_code == 0 and out.read_bytes().startswith(b"<?xml"), result.output
    for words, match in (
        (("one_shot", a, b), "one at a time, got 2"),
        (("regret", a, "--role", "test"), "belong to the figure one_shot, not to regret"),
        (("final", a, "--cells", "20"), "belong to the figure one_shot, not to final"),
        (("final", a, "--seeds", "2"), "belong to the figure one_shot, not to final"),
        (("one_shot", a, "--cells", "1"), "at least 3 cells"),
        (("oneshot", a), "did you mean 'one_shot'"),
    ):
        result = CliRunner().invoke(app, ["plot", *map(str, words), "--out", str(out)])
        assert isinstance(result.exception, UserError) and match in str(result.exception)


@pytest.mark.parametrize("seeds", [1, 3])
def test_the_figure_shows_every_cell_and_the_correlations(seeds: int, tmp_path: Path) -> None:
    run = run_of(seeds=seeds)
    seen = one_shot(run, TABLE, cells=50, role="test")
    figure = plot_one_shot(run, TABLE, cells=50, role="test")
    scatter, curve = figure.axes
    dots = scatter.get_lines()[0]
    assert np.array_equal(dots.get_xdata(), seen.stand_alone) and np.array_equal(dots.get_ydata(), seen.loss[0])
    assert scatter.get_xlabel() == "stand-alone test accuracy (%)" and scatter.yaxis_inverted()
    for drawn, values in zip(curve.get_lines(), (seen.spearman, seen.kendall), strict=False):
        np.testing.assert_allclose(drawn.get_ydata(), values.mean(axis=0))
    figure.draw_without_rendering()
    note = figure.get_supxlabel().replace("\n", " ")
    assert f"Spearman {seen.spearman[:, -1].mean():.3f}" in note and ("±" in note.split("Kendall")[0]) == (seeds > 1)
    assert save_figure(figure, tmp_path / "f.png").stat().st_size > 5000
