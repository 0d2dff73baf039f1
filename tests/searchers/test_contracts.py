"""The table of contract tests: every method of the registry, on every landscape."""

from __future__ import annotations

import json

import numpy as np
import pytest

from nasbench_sim.searchers import methods
from nasbench_sim.searchers.base import concatenate, rows
from tests.searchers.helpers import HORIZON, LANDSCAPES, NAMES, SPACE, TABLE, leaves, make, run, same

SEEDS = np.array([11, 3, 7, 2**40, 0, 5, 8, 13, 21])
each = pytest.mark.parametrize("name", NAMES)
on = pytest.mark.parametrize("kind", list(LANDSCAPES))


@each
@on
def test_shapes_types_and_the_simplex(name: str, kind: str) -> None:
    searcher, land = make(name), LANDSCAPES[kind]
    state, shared = run(searcher, land, SEEDS, 30)
    n, d, k = len(SEEDS), SPACE.D, SPACE.K
    assert state.alpha.shape == state.mask.shape == (n, d, k)
    assert state.alpha.dtype == land.dtype and state.mask.dtype == np.bool_
    assert all(len(x) == n for x in leaves(state) + leaves(shared))
    assert all(np.isfinite(x).all() for x in leaves(state))
    assert (state.step == 30).all() and (shared.step == 30).all()
    theta = searcher.distribution(state)
    assert np.allclose(theta.sum(axis=-1), 1, atol=1e-6) and (theta >= 0).all()
    assert (theta[~state.mask] == 0).all()
    archs = searcher.derive(state, land, shared)
    assert archs.shape == (n, d) and np.take_along_axis(state.mask, archs[..., None], -1).all()
    hessian = searcher.hessian(state, land, shared)
    if hessian is not None:
        assert hessian.shape == (n, d * k, d * k)
        assert np.allclose(hessian, hessian.transpose(0, 2, 1), atol=1e-6)
    _, _, info = searcher.step(state, land, shared)
    assert info.loss.shape == (n,) and info.theta.shape == (n, d, k)
    assert np.allclose(info.theta.sum(axis=-1), 1, atol=1e-5)


@each
@on
def test_a_seed_alone_equals_its_row_in_a_batch_bit_for_bit(name: str, kind: str) -> None:
    searcher, land = make(name), LANDSCAPES[kind]
    together = run(searcher, land, SEEDS, 45)
    for row in (0, 4, 8):
        assert same(run(make(name), land, SEEDS[row : row + 1], 45), rows(together, slice(row, row + 1)))
    assert same(run(make(name), land, SEEDS[2:7], 45), rows(together, slice(2, 7)))


@each
def test_a_row_does_not_depend_on_a_batch_of_hundreds(name: str) -> None:
    """More rows than one chunk of the exact calculus (128): the row lands in another chunk and place."""
    land = LANDSCAPES["shared"]
    many = np.arange(150)
    assert same(run(make(name), land, many[140:], 12), rows(run(make(name), land, many, 12), slice(140, None)))


@each
@on
def test_resumed_equals_uninterrupted_bit_for_bit(name: str, kind: str) -> None:
    land = LANDSCAPES[kind]
    whole = run(make(name), land, SEEDS, 50)
    for cut in (1, 23):
        first = run(make(name), land, SEEDS, cut)
        copied = tuple(concatenate([rows(part, slice(0, 4)), rows(part, slice(4, None))]) for part in first)
        assert same(run(make(name), land, SEEDS, 50 - cut, resume=copied), whole)


@each
@on
def test_step_is_pure(name: str, kind: str) -> None:
    searcher, land = make(name), LANDSCAPES[kind]
    state, shared = run(searcher, land, SEEDS, 5)
    before = [x.copy() for x in leaves((state, shared))]
    once, again = searcher.step(state, land, shared), searcher.step(state, land, shared)
    assert same(once, again) or all(
        np.array_equal(a, b, equal_nan=True) for a, b in zip(leaves(once), leaves(again), strict=True)
    )
    assert all(np.array_equal(a, b) for a, b in zip(before, leaves((state, shared)), strict=True))


@each
def test_pruned_options_stay_pruned_and_an_option_is_always_left(name: str) -> None:
    searcher, land = make(name), LANDSCAPES["shared"]
    state, shared = searcher.init(SPACE, SEEDS, land.dtype), land.init(SEEDS, HORIZON)
    for _ in range(60):
        new, shared, _ = searcher.step(state, land, shared)
        assert not (new.mask & ~state.mask).any()
        assert new.mask.any(axis=-1).all()
        state = new


@each
def test_different_seeds_search_differently(name: str) -> None:
    searcher, land = make(name), LANDSCAPES["shared"]
    state, shared = run(searcher, land, np.arange(40), 40)
    assert len({a.tobytes() for a in searcher.derive(state, land, shared)}) > 1


@each
def test_float64_runs(name: str) -> None:
    land = LANDSCAPES["tabular"]
    wide = type(land)(
        TABLE,
        dataset="cifar10",
        split="valid",
        epochs=200,
        dtype=np.float64,
    )
    state, _ = run(make(name), wide, SEEDS, 10)
    assert state.alpha.dtype == np.float64


@each
def test_finds_good_cells_on_the_noise_free_table(name: str) -> None:
    """The oracle landscape is the control: given time, every method must beat 95 % of random cells there."""
    recipe = methods()[name]
    fast = {"lr": 0.02} if "lr" in recipe.parameters else {"evaluations": 60}
    land = LANDSCAPES["tabular"]
    state, shared = run(recipe.make(**fast), land, np.arange(16), 80)
    archs = recipe.make(**fast).derive(state, land, shared)
    losses = land.arch_loss(None, archs[:, None])[:, 0]
    everything = land.arch_loss(None, SPACE.all[None])[0]
    assert np.median(losses) < np.quantile(everything, 0.05)


@each
def test_card_is_complete_and_plain(name: str) -> None:
    card = methods()[name].card()
    json.dumps(card)
    assert card["paper"] and card["equation"] and card["summary"].endswith(".")
    assert len(card["parameters"]) >= 1
