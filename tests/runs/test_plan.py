"""Relative work of runs and the order that it puts them in."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import nasbench_sim as nb
from nasbench_sim.runs import RunSpec, make_spec
from nasbench_sim.runs.plan import SHARED, TRAINED, in_good_order, work_of
from nasbench_sim.searchers import get_method


def spec(method: str = "darts", seeds: int = 1, **more: Any) -> RunSpec:
    """A run on the exact landscape unless `more` says otherwise."""
    return make_spec(method=method, table="made-up", dataset="cifar10", seeds=seeds, **{"landscape": "tabular", **more})


def test_work_grows_with_seeds_steps_method_and_landscape() -> None:
    one = work_of(spec())
    assert one == get_method("darts").work * 50 * 391
    assert work_of(spec(seeds=7, epochs=100)) == 14 * one
    assert work_of(spec(landscape="shared")) == pytest.approx(SHARED * one)
    assert work_of(spec("balenas")) / one == get_method("balenas").work / get_method("darts").work
    trained = spec("rea", 3, landscape="evaluations", epochs=9)
    assert work_of(trained) == pytest.approx(3 * TRAINED * get_method("rea").work)


@given(st.lists(st.integers(1, 50), max_size=8))
def test_the_cheapest_comes_first_then_the_dearest_first(epochs: list[int]) -> None:
    found = [run.epochs for run in in_good_order([spec(epochs=e) for e in epochs])]
    assert found == sorted(epochs)[:1] + sorted(sorted(epochs)[1:], reverse=True)


@pytest.mark.real
def test_the_papers_budget_trains_about_as_many_cells_as_is_said(nb201_table: nb.Table) -> None:
    run = nb.search("rs", table=nb201_table, dataset="cifar10", seeds=50, budget=12_000.0, epochs=10)
    trained = (run.final_state["evaluated_epochs"] != 0).sum(axis=1)
    assert abs(trained.mean() - TRAINED) < 0.1 * TRAINED, trained.mean()
