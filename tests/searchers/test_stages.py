"""Search in stages: when and what is cut, what is kept of alpha, and how the two progressive methods differ."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nasbench_sim.errors import SpecError
from nasbench_sim.landscapes import Horizon
from nasbench_sim.searchers import State, View, methods
from nasbench_sim.searchers.stages import StagedPruning, into_stage, stage_of, strongest
from nasbench_sim.streams import Streams
from tests.searchers.helpers import HORIZON, LANDSCAPES, SPACE

SEEDS = np.arange(7)
LAND = LANDSCAPES["shared"]


def trajectory(name: str, steps: int = HORIZON.steps, **params: object) -> list[State]:
    """The state before each step and after the last."""
    searcher = methods()[name].make(**params)
    state, shared = searcher.init(SPACE, SEEDS, LAND.dtype), LAND.init(SEEDS, HORIZON)
    out = [state]
    for _ in range(steps):
        state, shared, _ = searcher.step(state, LAND, shared)
        out.append(state)
    return out


@given(steps=st.integers(1, 500), stages=st.integers(1, 6))
def test_stages_are_equally_long_and_in_order(steps: int, stages: int) -> None:
    numbers = [stage_of(step, steps, stages) for step in range(steps)]
    assert numbers == sorted(numbers) and set(numbers) <= set(range(stages))
    lengths = [numbers.count(i) for i in range(stages)]
    assert max(lengths) - min(lengths) <= 1
    assert stage_of(steps, steps, stages) == stages - 1


def test_into_stage_starts_again_with_each_stage() -> None:
    shared = LAND.init(SEEDS, Horizon(3, 10))
    shares = [into_stage(View(LAND, shared, Streams(SEEDS), step), 3) for step in (0, 4, 9, 10, 15, 20, 29, 30)]
    assert np.allclose(shares, [0, 0.4, 0.9, 0, 0.5, 0, 0.9, 1])


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 1000), keep=st.integers(1, 5))
def test_the_strongest_options_stay(seed: int, keep: int) -> None:
    random = np.random.default_rng(seed)
    alpha = random.integers(-2, 3, (3, 4, 5)).astype(float)  # with ties
    mask = random.random(alpha.shape) < 0.7
    mask[..., seed % 5] = True
    kept = strongest(alpha, mask, keep)
    assert not (kept & ~mask).any()
    assert (kept.sum(axis=-1) == np.minimum(mask.sum(axis=-1), keep)).all()
    lost = np.where(mask & ~kept, alpha, -np.inf).max(axis=-1)
    assert (np.where(kept, alpha, np.inf).min(axis=-1) >= lost).all()


@pytest.mark.parametrize(
    ("keep", "match"), [((), "keep"), ((3, 5), "never growing"), ((5, 0), "at least 1"), ((5, 3, 4), "never growing")]
)
def test_impossible_stages_are_refused(keep: tuple[int, ...], match: str) -> None:
    with pytest.raises(SpecError, match=match):
        StagedPruning(keep)


def test_a_first_stage_narrower_than_the_space_is_refused_and_says_what_to_give() -> None:
    with pytest.raises(SpecError, match=r"starts with 5; give keep=\(5, 2\)"):
        trajectory("drnas-progressive", 1, keep=(3, 2))


@pytest.mark.parametrize(("name", "keep"), [("drnas-progressive", (5, 3)), ("p-darts", (5, 3, 2))])
def test_options_are_cut_at_the_end_of_each_stage_and_nowhere_else(name: str, keep: tuple[int, ...]) -> None:
    states = trajectory(name, lr=0.02)
    for step, state in enumerate(states):
        assert (state.mask.sum(axis=-1) == keep[stage_of(step, HORIZON.steps, len(keep))]).all()


def test_the_options_that_go_are_the_weakest() -> None:
    states = trajectory("drnas-progressive", lr=0.02)
    before, after = states[HORIZON.steps // 2 - 1], states[HORIZON.steps // 2]
    cut = before.mask & ~after.mask
    assert (cut.sum(axis=-1) == 2).all()
    weakest_kept = np.where(after.mask, after.alpha, np.inf).min(axis=-1)
    assert (np.where(cut, after.alpha, -np.inf).max(axis=-1) <= weakest_kept).all()


def test_drnas_keeps_alpha_through_a_cut_and_p_darts_starts_afresh() -> None:
    for name, stages, fresh in (("drnas-progressive", 2, False), ("p-darts", 3, True)):
        end = next(s for s in range(HORIZON.steps) if stage_of(s + 1, HORIZON.steps, stages) == 1)
        states = trajectory(name, lr=0.02)
        before, after = states[end], states[end + 1]
        assert np.abs(before.alpha).max() > 0.1
        if fresh:
            assert np.abs(after.alpha).max() < 6e-3  # 1e-3 N(0, 1), |x| < 5.9
            assert (after.slots["m"] == 0).all() and (after.slots["power1"] == 1).all()
            assert not np.array_equal(after.alpha, states[0].alpha)  # a new draw, not the first one
        else:
            assert np.abs(after.alpha - before.alpha).max() < 0.1  # one step of the update, no restart
            assert (after.slots["power1"] < 1).all() and np.abs(after.slots["m"]).max() > 0


@pytest.mark.parametrize(("name", "stages", "share"), [("drnas-progressive", 2, 0.2), ("p-darts", 3, 0.4)])
def test_alpha_rests_while_a_stage_warms_up(name: str, stages: int, share: float) -> None:
    """10 of DrNAS's 50 epochs, 10 of P-DARTS' 25, in every stage; the weights train on."""
    states = trajectory(name)
    total = HORIZON.steps
    for step in range(total - 1):
        if stage_of(step + 1, total, stages) != stage_of(step, total, stages):
            continue  # this step ends with a cut
        resting = step * stages % total / total < share
        assert np.array_equal(states[step].alpha, states[step + 1].alpha) == resting
    no_rest = trajectory(name, 2, warmup=0.0)
    assert not np.array_equal(no_rest[0].alpha, no_rest[1].alpha)


def test_one_stage_without_warm_up_is_drnas() -> None:
    """The progressive form adds stages and warm-up, and nothing else."""
    staged = trajectory("drnas-progressive", 30, keep=(5,), warmup=0.0)[-1]
    assert np.array_equal(staged.alpha, trajectory("drnas", 30)[-1].alpha)


def test_p_darts_drops_skips_where_drnas_does_not() -> None:
    """Late in the search the forward weights of some edges have no skip at all; DrNAS draws are never exactly 0."""
    skip = SPACE.skip
    for name, expected in (("p-darts", True), ("drnas-progressive", False)):
        searcher = methods()[name].make()
        state, shared = searcher.init(SPACE, SEEDS, LAND.dtype), LAND.init(SEEDS, HORIZON)
        dropped = 0
        for _ in range(HORIZON.steps):
            active = state.mask & skip
            state, shared, info = searcher.step(state, LAND, shared)
            dropped += int((active & (info.theta == 0)).sum())
        assert (dropped > 0) == expected


def test_p_darts_needs_a_dropout_rate_a_stage() -> None:
    with pytest.raises(SpecError, match="one dropout rate a stage"):
        methods()["p-darts"].make(keep=(5, 2))
    methods()["p-darts"].make(keep=(5, 2), dropout=(0.0, 0.4))


def test_p_darts_final_cells_have_two_skips_at_most() -> None:
    skips = SPACE.skip.argmax(axis=1)
    for limit in (0, 2):
        searcher = methods()["p-darts"].make(skips=limit, lr=0.02)
        state = trajectory("p-darts", lr=0.02, skips=limit)[-1]
        # a search that leans to skips everywhere they are left
        alpha = np.where(state.mask & SPACE.skip, 3.0, state.alpha).astype(state.alpha.dtype)
        cells = searcher.derive(state._replace(alpha=alpha), LAND, LAND.init(SEEDS, HORIZON))
        assert ((cells == skips).sum(axis=1) <= limit).all()
        assert np.take_along_axis(state.mask, cells[..., None], -1).all()
