"""BPNAS' pruning on other relaxations: until the first cut each is the method below it, after it none is another."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from nasbench_sim.errors import SpecError
from nasbench_sim.landscapes import Horizon
from nasbench_sim.searchers import GradientSearcher, State, methods
from tests.searchers.helpers import LANDSCAPES, SPACE

SEEDS = np.arange(6)
#: composition, what it is built on, parameters that make both alike, and a delta that the first cuts of 60 steps reach
PAIRS: list[tuple[str, str, dict[str, Any], float]] = [
    ("bpnas-darts", "darts", {"weight_decay": 0.0, "lr": 0.01}, 0.05),
    ("bpnas-drnas", "drnas", {"reg_type": "kl", "reg_scale": 0.01, "lr": 0.01}, 0.02),
    ("bpnas-balenas", "balenas", {"init_precision": 1.0, "lr": 0.01}, 0.05),
]
pairs = pytest.mark.parametrize(("name", "below", "params", "delta"), PAIRS, ids=[p[0] for p in PAIRS])
kinds = pytest.mark.parametrize("kind", list(LANDSCAPES))


def trajectory(searcher: GradientSearcher, kind: str, steps: int = 60) -> list[State]:
    """The state before each step and after the last."""
    land = LANDSCAPES[kind]
    state, shared = searcher.init(SPACE, SEEDS, land.dtype), land.init(SEEDS, Horizon(2, 40))
    out = [state]
    for _ in range(steps):
        state, shared, _ = searcher.step(state, land, shared)
        out.append(state)
    return out


def first_cuts(states: list[State]) -> np.ndarray:
    """Number `[S]` of the first state of each search in which an option is gone, -1 where none is."""
    cut = np.array([~s.mask.all(axis=(1, 2)) for s in states])
    return np.where(cut.any(axis=0), cut.argmax(axis=0), -1)


@kinds
@pairs
def test_until_its_first_cut_it_is_the_method_below(
    name: str, below: str, params: dict[str, Any], delta: float, kind: str
) -> None:
    ours = trajectory(methods()[name].make(delta=delta, **params), kind)
    plain = trajectory(methods()[below].make(**params), kind)
    first = first_cuts(ours)
    assert (first > 1).all()
    for s, number in enumerate(first):
        for t in range(number):
            assert np.array_equal(ours[t].alpha[s], plain[t].alpha[s])
        assert not np.array_equal(ours[number].alpha[s], plain[number].alpha[s])


@kinds
@pairs
def test_the_first_cut_is_the_weakest_option_of_the_edge_that_moved_by_delta(
    name: str, below: str, params: dict[str, Any], delta: float, kind: str
) -> None:
    searcher = methods()[name].make(delta=delta, **params)
    ours = trajectory(searcher, kind)
    plain = trajectory(methods()[below].make(**params), kind)
    for s, number in enumerate(first_cuts(ours)):
        distance = [np.linalg.norm(searcher.distribution(p)[s] - 0.2, axis=-1) for p in plain[: number + 1]]
        assert distance[number].max() >= delta > np.max(distance[:number])
        (edge,), (option,) = np.nonzero(~ours[number].mask[s])
        assert edge == distance[number].argmax()
        assert option == plain[number].alpha[s, edge].argmin()


@kinds
@pairs
def test_a_cut_restarts_alpha_and_its_memory_in_that_search_alone(
    name: str, below: str, params: dict[str, Any], delta: float, kind: str
) -> None:
    searcher = methods()[name].make(delta=delta, **params)
    states = trajectory(searcher, kind)
    fresh = searcher.init(SPACE, SEEDS, LANDSCAPES[kind].dtype)
    for s, number in enumerate(first_cuts(states)):
        after = states[number]
        assert np.abs(after.alpha[s]).max() < 6e-3 and not np.array_equal(after.alpha[s], fresh.alpha[s])
        assert all(np.array_equal(after.slots[k][s], fresh.slots[k][s]) for k in fresh.slots)
        for other in np.flatnonzero(first_cuts(states) > number):
            assert not np.array_equal(after.slots["m"][other], fresh.slots["m"][other])


@kinds
@pairs
def test_what_is_cut_stays_cut_and_the_search_ends(
    name: str, below: str, params: dict[str, Any], delta: float, kind: str
) -> None:
    searcher = methods()[name].make(delta=0.005, **{**params, "lr": 0.02})
    states = trajectory(searcher, kind, 250)
    for before, after in itertools.pairwise(states):
        assert not (after.mask & ~before.mask).any() and after.mask.any(axis=-1).all()
        assert (before.mask.sum(axis=(1, 2)) - after.mask.sum(axis=(1, 2)) <= 1).all()  # one option a step
    assert searcher.finished(states[-1]).all()
    cells = searcher.derive(states[-1], LANDSCAPES[kind], LANDSCAPES[kind].init(SEEDS, Horizon(2, 40)))
    assert np.array_equal(np.take_along_axis(states[-1].mask, cells[..., None], -1)[..., 0].all(axis=1), [True] * 6)


def test_no_two_of_them_are_the_same_search() -> None:
    """Same seeds, step size and delta: from the first steps on their alphas differ."""
    alphas = [
        trajectory(methods()[name].make(delta=0.05, lr=0.01), "shared", 10)[-1].alpha
        for name in ("bpnas", "bpnas-darts", "bpnas-drnas", "bpnas-balenas")
    ]
    for i, a in enumerate(alphas):
        for b in alphas[i + 1 :]:
            assert not np.array_equal(a, b)
    # bpnas-drnas without its regulariser is bpnas: that is all that it adds
    bare = trajectory(methods()["bpnas-drnas"].make(delta=0.05, lr=0.01, reg_scale=0.0), "shared", 60)[-1]
    assert np.array_equal(bare.alpha, trajectory(methods()["bpnas"].make(delta=0.05, lr=0.01), "shared")[-1].alpha)


@pytest.mark.parametrize("name", [p[0] for p in PAIRS])
def test_an_impossible_delta_is_refused(name: str) -> None:
    for delta in (0.0, 1.0, -0.1):
        with pytest.raises(SpecError, match="delta"):
            methods()[name].make(delta=delta)
    with pytest.raises(SpecError, match="scope"):
        methods()[name].make(scope="all edges")
