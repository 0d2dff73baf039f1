"""Single paths: what is drawn, whose batch scores a candidate, and what tells RSPS, SETN, random and DARTS apart."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from nasbench_sim.errors import SpecError
from nasbench_sim.landscapes import Horizon, Landscape, SharedWeightsLandscape
from nasbench_sim.landscapes.penalised import PenalisedLandscape
from nasbench_sim.searchers import View, get_method
from nasbench_sim.searchers.one_shot import (
    BestOfTop,
    SinglePathSearcher,
    UniformPath,
    most_likely,
    node_inputs,
    uniform_cells,
)
from nasbench_sim.spaces import Space
from nasbench_sim.streams import Streams
from tests.landscapes.test_landscapes import PARAMS
from tests.searchers.helpers import HORIZON, LANDSCAPES, SPACE, TABLE, leaves, run, same
from tests.synthetic import VALID

SHARED, TABULAR = LANDSCAPES["shared"], LANDSCAPES["tabular"]
#: `none` is not the first option, option counts differ, and decision `c` feeds no named node
ODD = Space("odd", ("1<-0", "2<-0", "2<-1", "c"), (("x", "no"), ("x", "y", "no"), ("no", "x"), ("x", "no")), none="no")


def view(land: Landscape, seeds: np.ndarray, step: int = 0) -> View:
    return View(land, land.init(seeds, HORIZON), Streams(seeds), step)


def drawn(space: Space, n: int, *, avoid_empty: bool) -> np.ndarray:
    """n cells of one seed."""
    streams = Streams([3])
    return np.concatenate([uniform_cells(space, streams, t, avoid_empty=avoid_empty) for t in range(n)])


@pytest.mark.parametrize("space", [SPACE, ODD], ids=lambda s: s.name)
@pytest.mark.parametrize("avoid_empty", [False, True])
def test_cells_are_uniform_over_those_with_an_input_at_every_node(space: Space, avoid_empty: bool) -> None:
    """A node at a time against all its choices, counted out by hand."""
    cells = drawn(space, 20_000, avoid_empty=avoid_empty)
    space.check(cells)
    for group in node_inputs(space):
        choices = list(product(*(range(space.counts[d]) for d in group)))
        if avoid_empty and "<-" in space.decisions[group[0]]:
            choices = [c for c in choices if not all(space.none[d, k] for d, k in zip(group, c, strict=True))]
        codes = {c: n for n, c in enumerate(choices)}
        seen = np.bincount([codes[tuple(row)] for row in cells[:, group].tolist()], minlength=len(choices))
        assert len(choices) == 1 or stats.chisquare(seen).pvalue > 1e-3
    first, second = (cells[:, group] @ np.arange(1, len(group) + 1) for group in node_inputs(space)[1:3])
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.03  # nodes are drawn apart


def test_a_batch_of_its_own_is_independent_noise_of_the_stated_variance() -> None:
    seeds = np.arange(300)
    state = SHARED.init(seeds, HORIZON)
    cells = np.broadcast_to(SPACE.all[9930], (300, 40, 6))
    apart = SHARED.arch_loss(state, cells, own_batch=8)
    together = SHARED.arch_loss(state, cells, batch=True)
    assert (together == together[:, :1]).all()  # one batch cannot tell equal cells apart ...
    assert len(np.unique(apart[0])) == 40  # ... batches of their own do
    noise = apart - apart.mean(axis=1, keepdims=True)
    sd = PARAMS.noise * np.sqrt(6 / 8)
    assert stats.kstest(noise.ravel() / (sd * np.sqrt(39 / 40)), "norm").pvalue > 1e-3
    # the seed's own field stays: it belongs to the weights, not to the batch
    quiet = SHARED.arch_loss(state, cells)[:, 0]
    own = together[:, 0] - quiet  # field and the six entries of the common batch
    centre = apart.mean(axis=1) - quiet
    assert np.std(centre) == pytest.approx(np.sqrt(6 * PARAMS.idiosyncrasy**2 + sd**2 / 40), rel=0.2)
    assert np.std(own) == pytest.approx(np.sqrt(6 * (PARAMS.idiosyncrasy**2 + PARAMS.noise**2)), rel=0.2)
    later = SHARED.arch_loss(state._replace(step=state.step + 1), cells, own_batch=8)
    assert abs(np.corrcoef((later - later.mean(1, keepdims=True)).ravel(), noise.ravel())[0, 1]) < 0.05
    assert same(TABULAR.arch_loss(None, cells, own_batch=8), TABULAR.arch_loss(None, cells))
    assert same(PenalisedLandscape(SHARED, TABLE, "cifar10", {}).arch_loss(state, cells, own_batch=8), apart)


@pytest.mark.parametrize("kind", ["tabular", "shared"])
def test_rsps_returns_the_best_of_its_candidates_each_on_its_own_batch(kind: str) -> None:
    land = LANDSCAPES[kind]
    seeds = np.arange(20)
    searcher = SinglePathSearcher(evaluations=30)
    state, shared = run(searcher, land, seeds, 7)
    uniform = Streams(seeds).uniform("candidates", 7, (30, 6)).astype(np.float64)
    cells = (uniform * 5).astype(np.int64)
    losses = land.arch_loss(shared, cells, own_batch=512 / 64)
    best = searcher.derive(state, land, shared)
    assert np.array_equal(best, cells[np.arange(20), losses.argmin(axis=1)])
    if kind == "shared":  # judged on one common batch, some seeds would have kept another cell
        common = land.arch_loss(shared, cells, batch=True)
        assert (losses.argmin(axis=1) != common.argmin(axis=1)).any()


def test_rsps_on_a_table_is_the_best_of_n_uniform_cells() -> None:
    """With u the share of cells that are worse: P(u <= x) = x^n, so u^n is uniform."""
    seeds, n = np.arange(400), 20
    searcher = SinglePathSearcher(evaluations=n)
    state, shared = run(searcher, TABULAR, seeds, 0)
    best = searcher.derive(state, TABULAR, shared)
    everything = np.sort(TABULAR.arch_loss(None, SPACE.all[None])[0])
    u = 1 - np.searchsorted(everything, TABULAR.arch_loss(None, best[:, None])[:, 0]) / SPACE.size
    assert stats.kstest(u**n, "uniform").pvalue > 1e-3


def test_looking_at_the_cell_changes_nothing_and_every_moment_has_its_own() -> None:
    searcher, seeds = SinglePathSearcher(evaluations=5), np.arange(12)
    looked = run(searcher, SHARED, seeds, 0)
    cells = []
    for _ in range(9):
        cells.append(searcher.derive(looked[0], SHARED, looked[1]))
        assert np.array_equal(cells[-1], searcher.derive(looked[0], SHARED, looked[1]))
        looked = run(searcher, SHARED, seeds, 1, resume=looked)
    assert same(looked, run(searcher, SHARED, seeds, 9))
    assert len({c.tobytes() for c in cells}) == 9


def test_rsps_trains_single_paths_and_random_their_mean() -> None:
    """The difference between the two: one option an edge in full, or all of them a little; nodes are never empty."""
    rsps, random = SinglePathSearcher(), get_method("random").make()
    state, shared = run(rsps, SHARED, np.arange(400), 0)
    usage = []
    for _ in range(25):
        before = shared
        state, shared, info = rsps.step(state, SHARED, shared)
        usage.append(info.theta)
        assert same(info.loss, SHARED.arch_loss(before, info.theta.argmax(-1)[:, None], batch=True)[:, 0])
    paths = np.concatenate(usage)
    assert set(np.unique(paths)) == {0.0, 1.0} and (paths.sum(axis=-1) == 1).all()
    inputs = np.array([1, 2, 2, 3, 3, 3])
    empty = (5.0 ** (inputs - 1) - 1) / (5.0**inputs - 1)  # all-none combinations left out
    n = len(paths)
    assert np.allclose(paths[:, :, 0].mean(axis=0), empty, atol=4.5 * np.sqrt(0.2 / n))
    assert (paths[:, 0, 0] == 0).all() and not (paths[:, 1:3, 0].all(axis=1) | paths[:, 3:, 0].all(axis=1)).any()
    state, shared = run(random, SHARED, np.arange(3), 4)
    assert np.allclose(random.step(state, SHARED, shared)[2].theta, 0.2)


def test_setn_follows_darts_on_a_table_and_selects_differently() -> None:
    """A table has no weights, so only the selection is left to differ."""
    setn, darts = get_method("setn").make(), get_method("darts").make()
    a, b = run(setn, TABULAR, np.arange(9), 5), run(darts, TABULAR, np.arange(9), 5)
    assert same(a[0], b[0])
    picked = setn.derive(a[0], TABULAR, a[1])
    cells, _ = most_likely(a[0].alpha, a[0].mask, 100)
    assert np.array_equal(picked, cells[np.arange(9), TABULAR.arch_loss(None, cells).argmin(axis=1)])
    better = TABULAR.arch_loss(None, np.stack([picked, darts.derive(b[0], TABULAR, b[1])], axis=1))
    assert (better[:, 0] <= better[:, 1]).all() and (better[:, 0] < better[:, 1]).any()


def test_setn_trains_weights_that_alpha_has_turned_away_from() -> None:
    """alpha far at skip: under DARTS convolutions starve, under SETN they ripen as under uniform sampling."""
    long = Horizon(10, 400)
    params = PARAMS.model_copy(update={"rate": {"nor_conv_1x1": 1.0, "nor_conv_3x3": 1.0}})
    land = SharedWeightsLandscape(TABLE, **VALID._asdict(), params=params)
    seeds = np.arange(60)
    maturity = {}
    for name in ("setn", "darts"):
        searcher = get_method(name).make(lr=1e-9)
        state, shared = searcher.init(SPACE, seeds, land.dtype), land.init(seeds, long)
        state = state._replace(alpha=np.where(SPACE.skip, 20, 0).astype(np.float32) * np.ones_like(state.alpha))
        for _ in range(150):
            state, shared, _ = searcher.step(state, land, shared)
        maturity[name] = shared.maturity[:, SPACE.parametric]
    # log(1 - m) falls by rate lr in a fifth of the steps; lr stays near lr_max in the first 4 % of the search
    each = np.log1p(-params.lr_max)
    assert np.log1p(-maturity["setn"]).mean() == pytest.approx(150 / 5 * each, rel=0.05)
    assert maturity["darts"].max() < 1e-6


def test_setn_paths_do_not_depend_on_alpha_and_keep_to_active_options() -> None:
    seeds = np.arange(4000)
    alpha = np.random.default_rng(0).normal(0, 5, size=(1, 6, 5)).repeat(4000, axis=0).astype(np.float32)
    seen = UniformPath().estimate(view(TABULAR, seeds), alpha, None, None)
    assert same(seen.usage, UniformPath().estimate(view(TABULAR, seeds), 0 * alpha, None, None).usage)
    assert all(stats.chisquare(seen.usage[:, d].sum(axis=0)).pvalue > 1e-3 for d in range(6))
    mask = np.broadcast_to(np.array([True, False, True, False, True]), alpha.shape)
    usage = UniformPath().estimate(view(TABULAR, seeds), alpha, None, mask).usage
    assert (usage[~mask] == 0).all() and np.allclose(usage.mean(axis=0)[:, [0, 2, 4]], 1 / 3, atol=0.04)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000), n=st.integers(1, 120), d=st.integers(1, 4), k=st.integers(1, 4), ties=st.booleans())
def test_most_likely_equals_enumeration(seed: int, n: int, d: int, k: int, ties: bool) -> None:
    random = np.random.default_rng(seed)
    alpha = random.integers(-2, 3, (3, d, k)).astype(float) if ties else random.normal(size=(3, d, k))
    mask = random.random((3, d, k)) < 0.7
    mask[..., 0] = True
    cells, score = most_likely(alpha, mask, n)
    assert cells.shape == (3, min(n, k**d), d)
    everything = np.array(list(product(range(k), repeat=d)))
    for s in range(3):
        sums = np.where(mask[s], alpha[s], -np.inf)[np.arange(d), everything].sum(axis=1)
        assert np.allclose(score[s], np.sort(sums)[::-1][: len(score[s])])
        assert np.allclose(np.where(mask[s], alpha[s], -np.inf)[np.arange(d), cells[s]].sum(axis=1), score[s])
        assert len(np.unique(cells[s][np.isfinite(score[s])], axis=0)) == np.isfinite(score[s]).sum()


def test_best_of_top_keeps_to_active_options_and_one_is_the_argmax() -> None:
    seeds = np.arange(5)
    alpha = np.random.default_rng(2).normal(size=(5, 6, 5)).astype(np.float32)
    mask = np.zeros(alpha.shape, bool)
    mask[..., :2] = True
    mask[0, :, 1] = False  # one cell is left: fewer than candidates
    now = view(SHARED, seeds)
    one = BestOfTop(1).select(now, alpha, None, mask)
    assert np.array_equal(one, np.where(mask, alpha, -np.inf).argmax(axis=-1))
    many = BestOfTop(50).select(now, alpha, None, mask)
    assert (many < 2).all() and (many[0] == 0).all()


@pytest.mark.parametrize(
    ("method", "params", "said"),
    [
        ("rsps", {"evaluations": 0}, "evaluations"),
        ("rsps", {"eval_batch": 0}, "eval_batch"),
        ("random", {"evaluations": 0}, "evaluations"),
        ("setn", {"candidates": 0}, "candidates"),
        ("setn", {"eval_batch": -512}, "eval_batch"),
        ("setn", {"lr": 0.0}, "lr"),
    ],
)
def test_impossible_settings_are_refused_by_name(method: str, params: dict[str, Any], said: str) -> None:
    with pytest.raises(SpecError, match=said):
        get_method(method).make(**params)


def test_states_hold_no_more_than_they_need() -> None:
    state, _ = run(SinglePathSearcher(), SHARED, np.arange(3), 2)
    assert not state.slots and all(len(x) == 3 for x in leaves(state))
