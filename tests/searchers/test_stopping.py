"""Rules of stopping: hand-made sequences, a plain transcription, logged trajectories, whole searches."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nasbench_sim.errors import SpecError
from nasbench_sim.runs import search
from nasbench_sim.searchers import methods
from nasbench_sim.searchers.stopping import EpochEnd, NeverStop, Stopping
from nasbench_sim.searchers.stopping_rules import EigenvalueRule, SkipLimit, StableRanking
from tests.searchers.helpers import SPACE, TABLE

SKIP = int(SPACE.skip[0].argmax())
SMALL: dict[str, Any] = {"table": TABLE, "dataset": "cifar10", "epochs": 40, "steps_per_epoch": 5, "workers": 1}


def follow(rule: Stopping, ends: list[EpochEnd]) -> tuple[np.ndarray, np.ndarray]:
    """Epoch `[S]` of each search's first stop, -1 where it went on, and the alpha handed back then (else the last)."""
    slots = dict(rule.init(SPACE, ends[0].alpha))
    stopped, kept = np.full(len(ends[0].alpha), -1), ends[-1].alpha.copy()
    for end in ends:
        stop, alpha, changed = rule.look(end, slots)
        new = stop & (stopped < 0)
        stopped[new], kept[new] = end.epoch, alpha[new]
        slots |= changed
        assert all(np.isfinite(v).all() and len(v) == len(end.alpha) for v in slots.values())
    return stopped, kept


def alpha_of(epoch: int, seeds: int = 1) -> np.ndarray:
    """An alpha that says which epoch it is of."""
    return np.full((seeds, 6, 5), float(epoch))


# --- DARTS+ ---------------------------------------------------------------------------------------------------------


def cells_with(skips: list[int]) -> np.ndarray:
    return np.array([[SKIP] * n + [3] * (6 - n) for n in skips])


def test_the_search_stops_at_the_second_skip() -> None:
    counts = [[0, 2], [1, 0], [2, 0], [1, 1], [6, 1]]
    ends = [EpochEnd(e, alpha_of(e, 2), cells_with(c), None) for e, c in enumerate(counts)]
    stopped, kept = follow(SkipLimit(2), ends)
    assert stopped.tolist() == [2, 0] and kept[:, 0, 0].tolist() == [2, 0]  # the alpha of that moment
    assert follow(SkipLimit(2, first_epoch=1), ends)[0].tolist() == [2, -1]
    assert follow(SkipLimit(6), ends)[0].tolist() == [4, -1]
    assert follow(NeverStop(), ends)[0].tolist() == [-1, -1]


def test_the_search_stops_when_the_convolutions_keep_their_order() -> None:
    """Only the order of the options with weights counts, on every edge."""
    learnable = np.flatnonzero(SPACE.parametric[0])
    random = np.random.default_rng(0)
    ends = []
    for epoch in range(12):
        alpha = random.normal(0, 1, (3, 6, 5))  # the others jump about
        alpha[..., learnable] = [0.0, 1.0]
        if epoch == 4:
            alpha[1, 5, learnable] = [1.0, 0.0]  # one flip on one edge, and back: two changes
        if epoch % 2:
            alpha[2, 0, learnable] = [1.0, 0.0]
        ends.append(EpochEnd(epoch, alpha, cells_with([0, 0, 0]), None))
    # the first epoch is compared with the start, which is ends[0].alpha here
    assert follow(StableRanking(4), ends)[0].tolist() == [3, 3, -1]
    assert follow(StableRanking(6), ends)[0].tolist() == [5, 11, -1]


def test_the_order_at_the_start_counts_as_one_to_be_left() -> None:
    """A ranking that first settles in epoch 3 has stood still for 2 epochs after epoch 5."""
    learnable = np.flatnonzero(SPACE.parametric[0])
    alphas = [np.zeros((1, 6, 5)) for _ in range(8)]
    for epoch, alpha in enumerate(alphas):
        alpha[..., learnable] = [epoch % 2, 0.5] if epoch < 3 else [1.0, 0.5]
    ends = [EpochEnd(e, a, cells_with([0]), None) for e, a in enumerate(alphas)]
    assert follow(StableRanking(2), ends)[0].tolist() == [5]


# --- RobustDARTS ----------------------------------------------------------------------------------------------------


def transcription(values: list[float], epochs: list[int], rule: EigenvalueRule) -> tuple[int, int]:
    """(epoch of the stop, epoch of the alpha returned), or (-1, -1): value by value, as the published class does it."""
    half, averages = rule.window // 2, []
    for n in range(len(values)):
        centre = n - half  # the average that becomes known with value n
        if centre < 0:
            continue
        averages.append(np.mean(values[max(0, n + 1 - rule.window) : n + 1]))
        back = centre - rule.delta
        if back >= 0 and epochs[back] >= rule.first_epoch and averages[centre] / averages[back] > rule.factor:
            return epochs[n], epochs[back]
    return -1, -1


def eigenvalues(rows: np.ndarray) -> list[EpochEnd]:
    """One epoch a column of `rows[S, E]`."""
    return [EpochEnd(e, alpha_of(e, len(rows)), cells_with([0] * len(rows)), rows[:, e]) for e in range(rows.shape[1])]


@settings(max_examples=100, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    delta=st.integers(1, 5),
    window=st.sampled_from([1, 3, 5, 7]),
    every=st.integers(1, 3),
    first=st.integers(0, 12),
)
def test_the_eigenvalue_rule_is_the_published_one(seed: int, delta: int, window: int, every: int, first: int) -> None:
    values = np.exp(np.cumsum(np.random.default_rng(seed).normal(0.01, 0.2, (4, 30)), axis=1))
    rule = EigenvalueRule(1.3, delta, window, every, first)
    stopped, kept = follow(rule, eigenvalues(values))
    epochs = list(range(0, 30, every))
    for s in range(4):
        stop, back = transcription(values[s, ::every].tolist(), epochs, rule)
        assert stopped[s] == stop
        if stop >= 0:
            assert (kept[s] == back).all()


def test_the_first_verdict_falls_after_epoch_22_and_returns_epoch_10() -> None:
    exploding = 1.2 ** np.arange(50.0)[None]
    stopped, kept = follow(EigenvalueRule(), eigenvalues(exploding))
    assert stopped.tolist() == [22] and (kept == 10).all()
    flat = np.full((1, 50), 0.2)
    falling = 0.98 ** np.arange(50.0)[None]
    slow = 1.3 ** (np.arange(50.0) / 8.5)[None]  # 8 epochs between the averages: just under 1.3
    fast = 1.3 ** (np.arange(50.0) / 7.5)[None]
    for values, expected in ((flat, -1), (falling, -1), (slow, -1), (fast, 22)):
        assert follow(EigenvalueRule(), eigenvalues(values))[0].tolist() == [expected]


def test_a_single_spike_is_averaged_away_and_a_lasting_rise_is_not() -> None:
    values = np.full((2, 50), 0.2)
    values[0, 30] = 0.4  # a fifth of the average: 0.24 / 0.2 < 1.3
    values[1, 30:] = 0.4
    stopped, kept = follow(EigenvalueRule(), eigenvalues(values))
    assert stopped[0] == -1
    # averages rise to 1.4 with the second high value, known at epoch 32, of the window around 28
    assert stopped[1] == 32 and (kept[1] == 20).all()


def test_logged_searches_that_collapsed_are_stopped() -> None:
    """Recorded DARTS on S1 (automl/RobustDARTS): eigenvalues at 0, 10, ..., 49, skips of 8 at 0, 5, ..., 45.

    Read between the logged epochs, the rule stops all three and returns the alpha of epochs 16, 26 and 10: 4, 8 and 2
    skips instead of 7, 8 and 7. The second, whose curve rises evenly, is caught too late.
    """
    at, skips_at = [0, 10, 20, 30, 40, 49], np.arange(0, 50, 5)
    logged = [
        ([0.18, 0.25, 0.21, 0.50, 0.64, 0.52], [0, 1, 2, 4, 5, 7, 6, 6, 7, 7]),
        ([0.17, 0.22, 0.31, 0.36, 0.65, 0.39], [4, 1, 3, 5, 6, 8, 8, 8, 8, 8]),
        ([0.15, 0.18, 0.31, 0.59, 0.37, 1.06], [4, 3, 2, 6, 6, 7, 7, 7, 7, 7]),
    ]
    curves = np.array([np.interp(np.arange(50), at, values) for values, _ in logged])
    stopped, kept = follow(EigenvalueRule(), eigenvalues(curves))
    assert stopped.tolist() == [28, 38, 22]
    assert kept[:, 0, 0].tolist() == [16, 26, 10]
    skips = [round(np.interp(alpha[0, 0], skips_at, n)) for (_, n), alpha in zip(logged, kept, strict=True)]
    assert skips == [4, 8, 2]


@pytest.mark.parametrize(
    "rule",
    [
        lambda: SkipLimit(0),
        lambda: SkipLimit(2, -1),
        lambda: StableRanking(0),
        lambda: EigenvalueRule(factor=0.0),
        lambda: EigenvalueRule(delta=0),
        lambda: EigenvalueRule(window=0),
        lambda: EigenvalueRule(every=0),
        lambda: EigenvalueRule(first_epoch=-1),
    ],
)
def test_impossible_rules_are_refused(rule: Any) -> None:
    with pytest.raises(SpecError):
        rule()


# --- whole searches -------------------------------------------------------------------------------------------------

NEVER = [
    ("darts-plus", {"skips": 7}),
    ("darts-plus", {"criterion": "ranking", "patience": 1000}),
    ("robust-darts", {"factor": 1e9}),
]
SOON = [
    ("darts-plus", {"skips": 1, "lr": 0.02}),
    ("darts-plus", {"criterion": "ranking", "patience": 5, "lr": 0.02}),
    ("robust-darts", {"factor": 0.5, "first_epoch": 4, "lr": 0.02}),
]


@pytest.mark.parametrize(("name", "params"), NEVER)
def test_a_search_that_is_never_stopped_is_darts_bit_for_bit(name: str, params: dict[str, Any]) -> None:
    ours = search(name, seeds=6, params={**params, "lr": 0.02}, **SMALL)
    plain = search("darts", seeds=6, params={"lr": 0.02}, **SMALL)
    for column in plain.history:
        assert np.array_equal(ours.history[column], plain.history[column], equal_nan=True)


@pytest.mark.parametrize(("name", "params"), SOON)
def test_a_stopped_search_stands_still(name: str, params: dict[str, Any]) -> None:
    run = search(name, seeds=8, params=params, **SMALL)
    plain = search("darts", seeds=8, params={"lr": 0.02}, **SMALL)
    searched = ~np.isnan(run.history["loss"])
    last = searched.sum(axis=1) - 1
    assert (last < 39).sum() >= 4
    for s in np.flatnonzero(last < 39):
        assert searched[s, : last[s] + 1].all()
        assert (run.history["archs"][s, last[s] :] == run.history["archs"][s, last[s]]).all()
        assert np.ptp(run.history["entropy"][s, last[s] :]) == 0
        back = last[s] - 12 if name == "robust-darts" else last[s]
        assert np.array_equal(run.archs[s], plain.history["archs"][s, back])  # the alpha of then
        assert run.history["entropy"][s, -1] == plain.history["entropy"][s, back]


@pytest.mark.parametrize(("name", "params"), SOON)
def test_a_rule_decides_for_each_search_alone(name: str, params: dict[str, Any]) -> None:
    together = search(name, seeds=(5, 11, 2, 9), params=params, **SMALL)
    alone = search(name, seeds=(2,), params=params, **SMALL)
    for column in together.history:
        assert np.array_equal(together.history[column][2:3], alone.history[column], equal_nan=True)


def test_the_two_methods_stop_by_different_signs() -> None:
    """On a table without noise nothing curves and nothing skips: RobustDARTS goes on, the stable ranking does not."""
    curved = search("robust-darts", seeds=4, landscape="tabular", params={"lr": 0.02}, **SMALL)
    ranked = search("darts-plus", seeds=4, landscape="tabular", params={"criterion": "ranking", "lr": 0.02}, **SMALL)
    assert not np.isnan(curved.history["loss"]).any()
    assert np.isnan(ranked.history["loss"][:, -1]).all()
    assert methods()["robust-darts"].make().stopping != methods()["darts-plus"].make().stopping
