"""The problem of a search and its budget: what is refused, in which words, and what can be relied on."""

from __future__ import annotations

import dataclasses
import importlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nasbench_sim.errors import NotMeasured, SpecError
from nasbench_sim.runs import make_spec
from nasbench_sim.runs.evaluations import BUDGETS, EvaluationBatch, make_batch
from nasbench_sim.searchers import methods
from nasbench_sim.searchers.blackbox import History, make_problem
from nasbench_sim.searchers.blackbox.cells import codes, draw, known, mutate, neighbours
from nasbench_sim.tables.analog import load_analog
from tests.blackbox.helpers import SHORT, TABLE, TWO_FIDELITIES, batch, finish, poisoned, problem, result
from tests.synthetic import SPACE, VALID, synthetic_table


def test_problem_holds_the_search_split_at_every_fidelity() -> None:
    asked = problem()
    assert asked.fidelities == (12, 200)
    assert np.array_equal(asked.value[0], TABLE.accuracy[SHORT]) and np.array_equal(
        asked.value[1], TABLE.accuracy[VALID]
    )
    assert np.allclose(asked.seconds[1], TABLE.metrics["train_time_s", "cifar10"])
    assert np.allclose(asked.seconds[0] * 200 / 12, asked.seconds[1], rtol=1e-6)
    assert not (asked.value.flags.writeable or asked.seconds.flags.writeable)


def test_costs_grow_with_epochs_for_every_cell() -> None:
    assert (problem().seconds[1] > problem().seconds[0]).all()


def test_evaluations_as_cost() -> None:
    asked = problem(cost="evaluations")
    assert (asked.seconds == 1).all() and asked.fidelities == (12, 200)
    analog = make_problem(load_analog(), "cifar10", cost="evaluations")
    assert analog.fidelities == ("unstated",)
    assert analog.level(None) == 0
    with pytest.raises(SpecError, match=r"no fidelity of 12 epochs.*this problem has unstated epochs"):
        analog.level(12)


@pytest.mark.parametrize(
    ("table", "about", "error", "words"),
    [
        ("analog", {}, NotMeasured, "does not state its epochs.*cost='evaluations'"),
        ("analog", {"cost": "evaluations", "fidelities": [12]}, SpecError, "fidelities cannot be chosen"),
        ("one", {}, NotMeasured, "no training times.*cost='evaluations'"),
        ("timed", {}, NotMeasured, r"after 200 epochs only.*fidelities=\[200\]"),
        ("two", {"cost": "second"}, SpecError, "did you mean 'seconds'"),
        ("two", {"fidelities": [12, 108]}, SpecError, "no fidelity of 108 epochs.*12, 200"),
        ("two", {"fidelities": []}, SpecError, "one or more different numbers"),
        ("two", {"fidelities": [12, 12]}, SpecError, "one or more different numbers"),
    ],
)
def test_impossible_problems_are_refused_in_one_line(
    table: str, about: dict[str, Any], error: type[Exception], words: str
) -> None:
    one = synthetic_table()
    tables = {
        "analog": load_analog(),
        "one": one,
        "timed": dataclasses.replace(one, metrics=TABLE.metrics),
        "two": TABLE,
    }
    with pytest.raises(error, match=words) as caught:
        make_problem(tables[table], "cifar10", **about)
    assert "\n" not in str(caught.value)


def test_unknown_data_set() -> None:
    with pytest.raises(SpecError, match="unknown data set 'cifar100'; did you mean 'cifar10'"):
        make_problem(TABLE, "cifar100")


def test_full_training_alone_may_be_asked_for() -> None:
    timed = dataclasses.replace(synthetic_table(), metrics=TABLE.metrics)
    assert make_problem(timed, "cifar10", fidelities=[200]).fidelities == (200,)


@pytest.mark.parametrize("name", TWO_FIDELITIES)
def test_methods_that_promote_need_two_fidelities(name: str) -> None:
    with pytest.raises(SpecError, match=rf"{name} promotes cells.*200 epochs only"):
        batch(name, fidelities=[200], budget=1e5)
    with pytest.raises(SpecError, match=rf"{name} promotes cells"):
        batch(name, table=load_analog(), cost="evaluations", budget=20)


@pytest.mark.parametrize(
    ("about", "words"),
    [
        ({"budget": 100.0}, "may end before the first evaluation.*at least that"),
        ({"budget": 1e9}, "at most 10000 a search, so give at most"),
        ({"colour": 1}, "unknown parameter 'colour'"),
        ({"overun": True}, "did you mean 'overrun'"),
        ({"overrun": 1}, "overrun: Input should be a valid boolean"),
        ({"cost": 3}, "cost: Input should be"),
        ({"fidelities": [12.5]}, "fidelities.0: Input should be a valid integer"),
        ({"fidelities": [True]}, "fidelities.0: Input should be a valid integer"),
        ({"params": {"epochs": 108}}, "no fidelity of 108 epochs"),
        ({"params": {"population": 0}}, "population and sample are at least 1"),
    ],
)
def test_impossible_runs_are_refused_in_one_line(about: dict[str, Any], words: str) -> None:
    with pytest.raises(SpecError, match=words) as caught:
        batch("rea", **about)
    assert "\n" not in str(caught.value)


def test_budget_by_default_is_the_published_one_or_asked_for() -> None:
    about = {"method": "rs", "table": "t", "dataset": "cifar10", "landscape": "evaluations", "seeds": 2}
    assert EvaluationBatch(make_spec(**about), TABLE, [0, 1]).budget == BUDGETS["cifar10"] == 12_000
    with pytest.raises(SpecError, match=r"give a budget, e\.g\. 100"):
        EvaluationBatch(make_spec(**about, landscape_params={"cost": "evaluations"}), TABLE, [0, 1])


def test_gradient_methods_are_refused_here_and_the_right_batch_is_made() -> None:
    about = {"table": "t", "dataset": "cifar10", "seeds": 2}
    with pytest.raises(SpecError, match="darts is a differentiable method"):
        EvaluationBatch(make_spec(method="darts", landscape="evaluations", **about), TABLE, [0, 1])
    assert isinstance(make_batch(make_spec(method="rs", landscape="evaluations", **about), TABLE, [0]), EvaluationBatch)
    assert not isinstance(
        make_batch(make_spec(method="darts", landscape="tabular", **about), TABLE, [0]), EvaluationBatch
    )


def test_counting_evaluations_makes_exactly_as_many() -> None:
    out = result(batch("rs", cost="evaluations", budget=17, epochs=17))
    assert (out["evaluations"] == 17).all() and (out["seconds"] == 17).all()
    assert np.isfinite(out["valid"]).all()  # one evaluation a point


def test_a_point_before_the_first_evaluation_is_empty() -> None:
    out = result(batch("rs", epochs=1_000))
    assert np.isnan(out["valid"][:, 0]).all() and (out["archs"][:, 0] == -1).all() and np.isnan(out["loss"][:, 0]).all()
    assert (
        np.isfinite(out["valid"][:, -1]).all() and np.isnan(out["entropy"]).all() and np.isnan(out["eigenvalue"]).all()
    )


def test_parts_are_joined_with_the_longest_search() -> None:
    parts = [batch("rs", [0, 1]), batch("rs", [2])]
    joined = parts[0].final_state([finish(part) for part in parts])
    whole = result(batch("rs", [0, 1, 2]))
    for name, values in joined.items():
        assert np.array_equal(values, whole[name], equal_nan=values.dtype.kind == "f"), name


def test_tables_with_holes_are_refused() -> None:
    values = TABLE.accuracy[VALID].copy()
    values[5] = np.nan
    holes = dataclasses.replace(TABLE, accuracy={**TABLE.accuracy, VALID: values})
    with pytest.raises(SpecError, match=r"no fidelity of 200 epochs.*after 12 epochs"):
        make_problem(holes, "cifar10", cost="evaluations", fidelities=[200])
    assert make_problem(poisoned(TABLE), "cifar10").fidelities == (12, 200)  # holes in the test split are no matter


@pytest.mark.parametrize(
    ("method", "library"),
    [("gp-bo", "sklearn"), ("tpe", "optuna"), ("bohb", "optuna"), ("pnas", "sklearn"), ("nsga2", "pymoo")],
)
def test_a_missing_library_is_one_line_with_the_extra(
    method: str, library: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = importlib.import_module

    def absent(name: str, package: str | None = None) -> Any:
        if name.split(".")[0] == library:
            raise ImportError(name)
        return real(name, package)

    monkeypatch.setattr("nasbench_sim.searchers.blackbox.optional.import_module", absent)
    with pytest.raises(SpecError, match=rf"{method} needs {library}.*pip install 'nasbench-sim\[blackbox\]'"):
        methods()[method].make()


# --- cells ----------------------------------------------------------------------------------------------------------

cell = st.lists(st.integers(0, 4), min_size=6, max_size=6).map(np.array)
unit = st.floats(0, 1, exclude_max=True, width=32)


@given(cell)
def test_neighbours_are_those_of_the_space(arch: np.ndarray) -> None:
    ours = neighbours(SPACE, arch[None])[0]
    assert sorted(codes(SPACE, ours)) == sorted(SPACE.code(SPACE.neighbours(arch)))


@given(cell, unit, unit)
def test_mutation_changes_exactly_one_decision(arch: np.ndarray, where: float, option: float) -> None:
    child = mutate(arch[None], SPACE, np.array([[where, option]]))[0]
    assert (child != arch).sum() == 1 and SPACE.check(child.astype(np.int64)) is not None


def test_every_mutation_is_equally_likely() -> None:
    """A grid of uniform numbers meets each of the 24 neighbours equally often; weights change the edge alone."""
    grid = (np.arange(240) + 0.5) / 240
    pairs = np.stack(np.meshgrid(grid, grid), axis=-1).reshape(-1, 2)
    parents = np.tile(np.array([3, 3, 3, 1, 3, 3]), (len(pairs), 1))
    _, counts = np.unique(codes(SPACE, mutate(parents, SPACE, pairs)), return_counts=True)
    assert counts.tolist() == [len(pairs) // 24] * 24
    weights = np.array([0.5, 0.25, 0.25, 0, 0, 0])
    changed = (mutate(parents, SPACE, pairs, weights) != parents).mean(axis=0)
    assert changed.tolist() == weights.tolist()


@given(st.lists(unit, min_size=6, max_size=6))
def test_draws_are_legal(numbers: list[float]) -> None:
    arch = draw(SPACE, np.array(numbers, dtype=np.float32))
    assert (arch >= 0).all() and (arch < SPACE.counts).all()


def test_codes_and_known() -> None:
    assert np.array_equal(codes(SPACE, SPACE.all), SPACE.code(SPACE.all))
    assert known(np.array([[1, 2], [3, 4]]), np.array([[2, 9], [1, 2]])).tolist() == [[False, True], [False, False]]


def test_incumbent_prefers_fidelity_then_value_then_the_first() -> None:
    history = History(
        np.zeros((4, 4, 6), dtype=np.int8),
        np.array([[0, 0, 1, 1], [0, 0, 0, 0], [0, 0, 0, 1], [0, 0, 0, 0]], dtype=np.int8),
        np.array([[90, 80, 50, 60], [70, 80, 80, 10], [70, 75, 60, 99], [1, 1, 1, 1]], dtype=np.float32),
        np.cumsum(np.ones((4, 4)), axis=1),
        np.array([4, 4, 3, 0]),
    )
    assert history.incumbent().tolist() == [3, 1, 1, -1]
    assert history.at(2.0).incumbent().tolist() == [0, 1, 1, -1]
    assert History.empty(2, 0, 6).incumbent().tolist() == [-1, -1]
