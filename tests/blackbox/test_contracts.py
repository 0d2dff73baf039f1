"""The table of contract tests: every black-box method of the registry."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nasbench_sim.runs.checkpoint import flatten, load_checkpoint, save_checkpoint
from nasbench_sim.searchers import methods
from nasbench_sim.searchers.base import rows
from nasbench_sim.searchers.blackbox import History
from nasbench_sim.streams import Streams
from tests.blackbox.helpers import (
    BUDGET,
    NAMES,
    SEEDS,
    TABLE,
    TWO_FIDELITIES,
    assert_same,
    batch,
    finish,
    poisoned,
    problem,
    result,
)
from tests.synthetic import SPACE, VALID

each = pytest.mark.parametrize("name", NAMES)


@pytest.fixture(scope="module")
def results() -> dict[str, dict[str, np.ndarray]]:
    """One finished batch a method, shared by the tests that only look at it."""
    return {name: result(batch(name)) for name in NAMES}


@each
def test_shapes_and_legal_cells(name: str, results: dict[str, Any]) -> None:
    out, s = results[name], len(SEEDS)
    n = out["evaluated_archs"].shape[1]
    assert out["evaluations"].shape == out["seconds"].shape == (s,) and n == out["evaluations"].max() >= 2
    made = np.arange(n) < out["evaluations"][:, None]
    assert (out["evaluated_archs"][made] >= 0).all() and (out["evaluated_archs"][made] < SPACE.counts).all()
    assert (out["evaluated_archs"][~made] == -1).all() and (out["evaluated_epochs"][~made] == 0).all()
    assert np.isin(out["evaluated_epochs"][made], (12, 200)).all()
    assert np.array_equal(np.isnan(out["evaluated_valid"]), ~made)
    assert np.array_equal(np.isnan(out["evaluated_clock"]), ~made)
    assert out["archs"].shape == (s, 6, SPACE.D) and out["loss"].shape == out["valid"].shape == (s, 6)


@each
def test_values_are_the_tables_and_the_clock_is_their_plain_sum(name: str, results: dict[str, Any]) -> None:
    out, asked = results[name], problem()
    for row, count in enumerate(out["evaluations"]):
        archs, epochs = out["evaluated_archs"][row, :count], out["evaluated_epochs"][row, :count]
        value, seconds = asked.evaluate(archs, np.array([asked.level(int(e)) for e in epochs]))
        assert np.array_equal(out["evaluated_valid"][row, :count], value)
        clock = out["evaluated_clock"][row, :count]
        assert np.array_equal(clock, np.cumsum(seconds))  # additive, in the order of the evaluations
        assert (np.diff(clock) > 0).all() and clock[-1] == out["seconds"][row] <= BUDGET
        assert clock[-1] + asked.seconds.max() > BUDGET  # it went on until something did not fit


@each
def test_overrun_makes_one_evaluation_more_and_no_other_difference(name: str, results: dict[str, Any]) -> None:
    out, late = results[name], result(batch(name, overrun=True))
    assert np.array_equal(late["evaluations"], out["evaluations"] + (out["seconds"] < BUDGET))
    n = out["evaluated_archs"].shape[1]
    made = np.arange(n) < out["evaluations"][:, None]
    assert np.array_equal(late["evaluated_archs"][:, :n][made], out["evaluated_archs"][made])
    assert (late["seconds"] >= BUDGET).all()


@each
def test_propose_is_pure(name: str) -> None:
    made = batch(name)
    state = made.advance(made.start()).state
    n = int(state.step.min())
    history = History(*(state.slots[f"history/{k}"] for k in History._fields[:-1]), state.step).first(n)
    slots = {k.removeprefix("method/"): v for k, v in state.slots.items() if k.startswith("method/")}
    if (state.step > n).any():  # memory is that of the row's own last evaluation
        keep = np.nonzero(state.step == n)[0]
        history, slots = rows(history, keep), rows(slots, keep)
    streams = Streams([7 + i for i in range(len(history.count))])
    for array in (*history, *slots.values()):
        array.setflags(write=False)
    once, again = (made.searcher.propose(made.problem, history, slots, streams, n) for _ in range(2))
    assert np.array_equal(once[0], again[0]) and np.array_equal(once[1], again[1])
    assert once[2].keys() == again[2].keys() == slots.keys()
    assert all(np.array_equal(once[2][k], again[2][k]) for k in slots)
    assert all(once[2][k].shape == slots[k].shape and once[2][k].dtype == slots[k].dtype for k in slots)


@each
def test_a_seed_alone_equals_its_row_in_a_batch_bit_for_bit(name: str, results: dict[str, Any]) -> None:
    together = finish(batch(name)).state
    for row in (0, 2, 4):
        alone = result(batch(name, SEEDS[row : row + 1]))
        assert_same(alone, {k: v[row : row + 1] for k, v in results[name].items()})
        memory = finish(batch(name, SEEDS[row : row + 1])).state.slots
        assert_same(memory, {k: v[row : row + 1] for k, v in together.slots.items()})


@each
def test_resumed_from_a_file_equals_uninterrupted_bit_for_bit(name: str, tmp_path: Path) -> None:
    known = {"digest": "d", "table_sha256": TABLE.sha256}
    whole = finish(batch(name))
    for cut in (1, 4):
        first = batch(name)
        progress = first.start()
        for _ in range(cut):
            progress = first.advance(progress)
        save_checkpoint(tmp_path / "part.h5", progress, **known)
        resumed = finish(batch(name), load_checkpoint(tmp_path / "part.h5", **known))
        a, b = flatten(resumed), flatten(whole)
        assert a.keys() == b.keys()
        for key in a:
            assert a[key].dtype == b[key].dtype and np.array_equal(a[key], b[key], equal_nan=a[key].dtype.kind == "f")


@each
def test_the_grid_of_the_curve_does_not_change_the_search(name: str, results: dict[str, Any]) -> None:
    fine, coarse = results[name], result(batch(name, epochs=1))
    for key in ("evaluated_archs", "evaluated_clock", "evaluations"):
        assert np.array_equal(fine[key], coarse[key], equal_nan=fine[key].dtype.kind == "f")
    assert np.array_equal(fine["archs"][:, -1], coarse["archs"][:, 0])


@each
def test_curve_is_the_incumbent_at_each_moment(name: str, results: dict[str, Any]) -> None:
    """By a plain loop: best at the highest fidelity among what had ended by budget * (e + 1) / E."""
    out = results[name]
    for row, count in enumerate(out["evaluations"]):
        for epoch in range(6):
            done = [i for i in range(count) if out["evaluated_clock"][row, i] <= BUDGET * (epoch + 1) / 6]
            if not done:
                assert np.isnan(out["valid"][row, epoch]) and (out["archs"][row, epoch] == -1).all()
                continue
            top = max(out["evaluated_epochs"][row, done])
            best = max(
                (i for i in done if out["evaluated_epochs"][row, i] == top),
                key=lambda i: (out["evaluated_valid"][row, i], -i),
            )
            cell = out["evaluated_archs"][row, best]
            assert np.array_equal(out["archs"][row, epoch], cell)
            assert out["loss"][row, epoch] == pytest.approx(1 - out["evaluated_valid"][row, best] / 100, abs=1e-6)
            assert out["valid"][row, epoch] == TABLE.accuracy[VALID][SPACE.index(cell)]
            assert out["skip_ratio"][row, epoch] == pytest.approx((cell == 1).mean())


@each
def test_incumbent_never_falls_at_equal_fidelity(name: str, results: dict[str, Any]) -> None:
    out = results[name]
    history = History(
        out["evaluated_archs"],
        np.searchsorted([12, 200], out["evaluated_epochs"]).astype(np.int8),
        out["evaluated_valid"],
        out["evaluated_clock"],
        out["evaluations"],
    )
    each_row = np.arange(len(SEEDS))
    before: tuple[np.ndarray, np.ndarray] | None = None
    for n in range(1, int(history.count.min()) + 1):
        best = history.first(n).incumbent()
        now = history.fidelity[each_row, best], history.value[each_row, best]
        if before is not None:
            same = now[0] == before[0]
            assert (now[0] >= before[0]).all() and (now[1][same] >= before[1][same]).all()
        before = now


@each
def test_search_never_reads_test_accuracies(name: str, results: dict[str, Any]) -> None:
    blind = result(batch(name, table=poisoned(TABLE)))
    for key in ("evaluated_archs", "evaluated_epochs", "evaluated_valid", "archs", "valid", "loss"):
        assert np.array_equal(blind[key], results[name][key], equal_nan=blind[key].dtype.kind == "f")
    assert np.isnan(blind["test"]).all() and np.isfinite(results[name]["test"][:, -1]).all()


@each
def test_different_seeds_search_differently(name: str) -> None:
    out = result(batch(name, range(12)))
    assert len({a.tobytes() for a in out["evaluated_archs"]}) > 1


# (parameters, seeds): those that loop over seeds get fewer
FAST: dict[str, tuple[dict[str, Any], int]] = {
    "rea": ({}, 200),
    "reinforce": ({"lr": 0.3}, 200),
    "local-search": ({}, 200),
    "gp-bo": ({"refit": 20}, 16),
    "tpe": ({}, 12),
    "pnas": ({"beam": 12, "predictor": "ridge"}, 16),
}


def z_score(ours: np.ndarray, random: np.ndarray) -> float:
    """By how many standard errors the mean of `ours` lies above that of `random`."""
    error = np.sqrt(ours.var(ddof=1) / len(ours) + random.var(ddof=1) / len(random))
    return float((ours.mean() - random.mean()) / error)


@pytest.mark.parametrize("name", FAST)
def test_better_than_random_at_equal_budget(name: str) -> None:
    """60 evaluations of any cell each, judged by what the search itself sees; p < 1e-4."""
    params, seeds = FAST[name]
    about = {"budget": 60.0, "epochs": 1, "cost": "evaluations", "fidelities": [200]}
    ours = result(batch(name, range(seeds), params=params, **about))
    random = result(batch("rs", range(1_000, 1_200), params={}, **about))
    assert z_score(ours["valid"][:, -1], random["valid"][:, -1]) > 3.7


@pytest.mark.parametrize("name", TWO_FIDELITIES)
def test_two_fidelities_beat_random_search_in_full_at_equal_seconds(name: str) -> None:
    """Where random search trains every cell for 200 epochs, cheap looks must pay; p < 1e-4."""
    about = {"budget": 40_000.0, "epochs": 1}
    ours = result(batch(name, range(20 if name == "bohb" else 200), params={}, **about))
    random = result(batch("rs", range(1_000, 1_200), params={"epochs": 200}, **about))
    assert z_score(ours["valid"][:, -1], random["valid"][:, -1]) > 3.7


@each
def test_card_is_complete_and_plain(name: str) -> None:
    card = methods()[name].card()
    json.dumps(card)
    assert card["paper"] and card["equation"] and card["summary"].endswith(".")
    assert card["family"] in ("black-box", "multi-objective")
