"""The ensemble accuracy of a run's members: with predictions the number, without them the reason."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import nasbench_sim as nb
from nasbench_sim.ensembles import ensemble_accuracy, member_archs
from nasbench_sim.ensembles.members import BEST_CELL, PUBLISHED
from nasbench_sim.ensembles.metrics import accuracy, average
from nasbench_sim.errors import NotMeasured, SpecError
from nasbench_sim.reporting.published import labelled_row
from tests.ensembles.helpers import CELLS, make


@pytest.fixture(scope="module")
def run() -> nb.Run:
    """Two BPNAS searches with two restarts each."""
    return nb.search(
        "bpnas", table=nb.open_table("nb201-analog"), dataset="cifar10", landscape="tabular", seeds=2, epochs=1,
        steps_per_epoch=20, params={"members": 2, "member_epochs": 1, "delta": 0.002}, workers=1,
    )  # fmt: skip


@pytest.mark.parametrize("of", ["run", "table", "cells"])
def test_without_predictions_it_says_why_not_and_what_to_give(of: str, run: nb.Run) -> None:
    asked: Any = {"run": run, "table": nb.open_table("nb201-analog"), "cells": CELLS[:3]}[of]
    with pytest.raises(NotMeasured) as caught:
        ensemble_accuracy(asked)
    said = str(caught.value)
    assert "77.47 %" in said and "73.51 %" in said and "Predictions" in said and "\n" not in said


def test_a_run_with_predictions_of_its_members(run: nb.Run) -> None:
    cells = member_archs(run)
    assert cells.shape == (2, 2, 6)
    p = make(models=len(np.unique(cells.reshape(-1, 6), axis=0)), archs=np.unique(cells.reshape(-1, 6), axis=0),
             space="nb201", split="test")  # fmt: skip
    found = ensemble_accuracy(run, p)
    for s in range(2):
        assert found[s] == accuracy(average(p.probabilities[p.rows(cells[s])]), p.labels)
    assert len(p) > 1
    with pytest.raises(NotMeasured, match=r"no predictions of architecture .* among the 1 models"):
        ensemble_accuracy(run, p.subset([0]))


def test_a_failed_search_has_no_accuracy() -> None:
    p = make()
    members = {"archs": np.stack([CELLS[:3], np.full((3, 2), -1)])}
    found = ensemble_accuracy(SimpleNamespace(members=members), p)
    assert found[0] == ensemble_accuracy(CELLS[:3], p)[0] and np.isnan(found[1])


def test_what_has_no_members_is_refused() -> None:
    p = make()
    for of, said in (
        (SimpleNamespace(members={}), "no ensemble members; run bpnas with members=N"),
        ({"valid": 1}, "no ensemble members"),
        (np.zeros(3, dtype=int), "members are architectures"),
        (np.zeros((2, 2)), "members are architectures"),
        (object(), "members are architectures"),
    ):
        with pytest.raises(SpecError, match=said):
            ensemble_accuracy(of, p)


def test_the_published_ensemble_is_that_of_the_file_of_published_results() -> None:
    row = labelled_row("bpnas_slides.json", "BPNAS ensemble", "cifar100")
    assert row is not None and row.scores["test"].mean == PUBLISHED


@pytest.mark.real
def test_the_published_ensemble_is_out_of_reach_of_the_table(nb201_table: nb.Table) -> None:
    key = nb201_table.report_keys_for("cifar100")["test"]
    best = float(nb201_table.values(**key._asdict()).max())
    assert round(best, 2) == BEST_CELL < PUBLISHED
