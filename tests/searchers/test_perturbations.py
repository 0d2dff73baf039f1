"""SDARTS and skip dropout: closed forms, smoothed losses by finite differences, worst cases by enumeration."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nasbench_sim.errors import SpecError
from nasbench_sim.landscapes import Horizon, TabularLandscape
from nasbench_sim.searchers import View, methods
from nasbench_sim.searchers.base import rows
from nasbench_sim.searchers.links import Softmax
from nasbench_sim.searchers.perturbations import Perturbed, SkipDropout, move
from nasbench_sim.searchers.relaxations import Deterministic
from nasbench_sim.streams import Streams
from tests.searchers.helpers import LANDSCAPES, SPACE, TABLE, VALID, run, same

WIDE = TabularLandscape(TABLE, **VALID._asdict(), dtype=np.float64)
SHORT = Horizon(10, 8)
kinds = pytest.mark.parametrize("kind", list(LANDSCAPES))
modes = pytest.mark.parametrize("mode", ["rs", "adv"])


def view(land: Any, seeds: np.ndarray, step: int, horizon: Horizon = SHORT) -> View:
    """A moment of a search, with untrained weights."""
    state = land.init(seeds, horizon)
    return View(land, state._replace(step=state.step + step), Streams(seeds), step)


def some_alpha(seeds: int, scale: float = 0.5) -> np.ndarray:
    return np.random.default_rng(1).normal(0, scale, (seeds, 6, 5))


class Bowl:
    """A landscape of one linear loss <w, theta> (and an optional lie about its slope), for what can be enumerated."""

    space = SPACE

    def __init__(self, weights: np.ndarray, sign: float = 1.0) -> None:
        self.weights, self.sign = weights, sign

    def init(self, seeds: np.ndarray, horizon: Horizon) -> Any:
        return WIDE.init(seeds, horizon)

    def loss_and_grad(self, state: Any, theta: np.ndarray, *, discrete: bool = False) -> tuple[np.ndarray, np.ndarray]:
        grad = np.broadcast_to(self.weights, theta.shape)
        return (grad * theta).sum(axis=(-1, -2)), self.sign * grad


# --- moving on the simplex ------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000), radius=st.floats(0, 0.99), masked=st.booleans())
def test_a_moved_point_is_on_the_simplex_of_the_active_options(seed: int, radius: float, masked: bool) -> None:
    random = np.random.default_rng(seed)
    mask = None
    if masked:
        mask = random.random((3, 6, 5)) < 0.5
        mask[..., seed % 5] = True
    theta = Softmax().forward(random.normal(0, 2, (3, 6, 5)), mask)
    moved = move(theta, random.uniform(-radius, radius, theta.shape), mask)
    assert np.allclose(moved.theta.sum(axis=-1), 1) and (moved.theta >= 0).all()
    if mask is not None:
        assert (moved.theta[~mask] == 0).all() and (moved.pullback(random.normal(size=theta.shape))[~mask] == 0).all()


def test_where_everything_is_clipped_away_the_largest_stays() -> None:
    theta = np.full((1, 1, 5), 0.2)
    moved = move(theta, np.array([[[-0.3, -0.25, -0.21, -0.3, -0.3]]]), None)
    assert moved.theta.tolist() == [[[0, 0, 1, 0, 0]]]
    assert (moved.pullback(np.ones((1, 1, 5))) == 0).all()
    mask = np.array([[[True, True, False, False, False]]])
    moved = move(np.array([[[0.5, 0.5, 0, 0, 0]]]), np.full((1, 1, 5), -0.9), mask)
    assert moved.theta.tolist() == [[[1, 0, 0, 0, 0]]]


def test_the_pullback_by_finite_differences() -> None:
    random = np.random.default_rng(3)
    theta, delta = random.dirichlet(np.ones(5), (4, 6)), random.uniform(-0.2, 0.2, (4, 6, 5))
    weight, h = random.normal(size=theta.shape), 1e-7
    pulled = move(theta, delta, None).pullback(weight)
    for k in range(5):
        up, down = theta.copy(), theta.copy()
        up[..., k] += h
        down[..., k] -= h
        change = (move(up, delta, None).theta - move(down, delta, None).theta) * weight
        assert np.allclose(pulled[..., k], change.sum(axis=-1) / (2 * h), atol=1e-5)


# --- SDARTS ---------------------------------------------------------------------------------------------------------


@kinds
@modes
def test_without_a_perturbation_sdarts_is_darts_bit_for_bit(kind: str, mode: str) -> None:
    land, seeds = LANDSCAPES[kind], np.arange(5)
    assert same(
        run(methods()["sdarts"].make(mode=mode, epsilon=0.0), land, seeds, 40),
        run(methods()["darts"].make(), land, seeds, 40),
    )


def test_the_radius_grows_as_in_the_code() -> None:
    """0.03 + (0.3 - 0.03) epoch / epochs, constant within an epoch."""
    seeds, horizon = np.arange(2), Horizon(50, 8)
    for step in (0, 7, 8, 200, 399):
        expected = 0.03 + (0.3 - 0.03) * (step // 8) / 50
        assert np.isclose(Perturbed().radius(view(WIDE, seeds, step, horizon)), expected)


def test_random_smoothing_follows_the_gradient_of_the_smoothed_loss() -> None:
    """Mean gradient over 64 draws = finite difference of the mean loss over the same 64 draws; DARTS' differs."""
    alpha, h, steps = some_alpha(3), 1e-6, range(40, 64)
    smooth = Perturbed("rs", 0.3)

    def mean_loss(at: np.ndarray) -> np.ndarray:
        return np.mean([smooth.estimate(view(WIDE, np.arange(3), t), at, None, None).loss for t in steps], axis=0)

    seen = [smooth.estimate(view(WIDE, np.arange(3), t), alpha, None, None) for t in steps]
    grad = np.mean([s.grad for s in seen], axis=0)
    for d, k in ((0, 0), (2, 3), (5, 4), (3, 1)):
        up, down = alpha.copy(), alpha.copy()
        up[:, d, k] += h
        down[:, d, k] -= h
        assert np.allclose(grad[:, d, k], (mean_loss(up) - mean_loss(down)) / (2 * h), atol=1e-7)
    plain = Deterministic().estimate(view(WIDE, np.arange(3), 40), alpha, None, None)
    assert np.abs(grad - plain.grad).max() > 1e-3
    assert not np.array_equal(seen[0].usage, seen[1].usage)  # a new draw each step


def test_the_weight_step_sees_the_perturbed_theta_and_alone_if_asked() -> None:
    alpha, at = some_alpha(4), view(WIDE, np.arange(4), 70)
    plain = Deterministic().estimate(at, alpha, None, None)
    for mode in ("rs", "adv"):
        both, alone = (Perturbed(mode, where=w).estimate(at, alpha, None, None) for w in ("both", "weights"))
        assert np.array_equal(both.usage, alone.usage) and not np.allclose(both.usage, plain.usage)
        assert np.array_equal(alone.grad, plain.grad) and np.array_equal(alone.loss, plain.loss)
        assert not np.allclose(both.grad, plain.grad)
        assert np.array_equal(both.loss, WIDE.loss_and_grad(None, both.usage)[0])


@kinds
def test_the_adversary_never_lowers_the_loss(kind: str) -> None:
    """Guaranteed: a direction that has not raised the loss is undone.

    On the shared landscape the slope is a mini-batch's and the loss is not, so that some ascents follow noise.
    """
    land, seeds = LANDSCAPES[kind], np.arange(200)
    alpha = some_alpha(200, 2.0).astype(np.float32)
    for step in (0, 40, 79):
        at = view(land, seeds, step)
        plain, worst = (r.estimate(at, alpha, None, None) for r in (Deterministic(), Perturbed("adv")))
        assert (worst.loss >= plain.loss).all()
        assert (worst.loss > plain.loss).mean() > (0.99 if kind == "tabular" else 0.4)


def test_a_direction_that_does_not_raise_the_loss_is_undone() -> None:
    """With a slope that lies, every ascent goes down: theta stays as it is, and the gradient is DARTS'."""
    liar = Bowl(np.random.default_rng(0).normal(size=(6, 5)), sign=-1.0)
    alpha, at = some_alpha(3), view(liar, np.arange(3), 60)
    plain, worst = (r.estimate(at, alpha, None, None) for r in (Deterministic(), Perturbed("adv")))
    assert np.array_equal(worst.loss, plain.loss) and np.array_equal(worst.usage, plain.usage)
    assert np.allclose(worst.grad, plain.grad, atol=1e-12)


def test_the_adversary_against_every_corner_of_the_box() -> None:
    """A loss linear in theta is worst at a corner of the box: 32 corners an edge, all enumerated.

    Seven sign steps end near it, not in it: an option whose slope along the simplex changes sign swings about 0.
    """
    weights = np.random.default_rng(4).normal(size=(6, 5))
    bowl, alpha, step = Bowl(weights), some_alpha(5), 40
    at = view(bowl, np.arange(5), step)
    adversary = Perturbed("adv", 0.1, start=1.0)
    theta = Softmax().forward(alpha, None)
    corners = np.array(list(itertools.product((-0.1, 0.1), repeat=5)))
    moved = np.clip(theta[:, :, None] + corners, 0, 1)
    worst = ((moved / moved.sum(axis=-1, keepdims=True)) * weights[:, None]).sum(axis=-1).max(axis=-1).sum(axis=-1)
    found = adversary.estimate(at, alpha, None, None).loss
    clean = bowl.loss_and_grad(None, theta)[0]
    assert (found <= worst + 1e-9).all()
    assert ((found - clean) / (worst - clean)).min() > 0.9


def test_the_adversary_against_a_hundred_random_directions() -> None:
    """Not guaranteed (sign ascent is a heuristic), but so on a table, where losses bend little within the box."""
    seeds, alpha = np.arange(20), some_alpha(20)
    at = view(WIDE, seeds, 40)
    found = Perturbed("adv", 0.1, start=1.0).estimate(at, alpha, None, None).loss
    theta = Softmax().forward(alpha, None)
    random = np.random.default_rng(0)
    for _ in range(100):
        tried = move(theta, random.uniform(-0.1, 0.1, theta.shape), None).theta
        assert (found > WIDE.loss_and_grad(None, tried)[0]).all()


@kinds
@pytest.mark.parametrize("params", [{"mode": "adv"}, {"mode": "adv", "where": "weights"}, {"where": "weights"}])
def test_every_form_is_the_same_alone_and_in_a_batch(kind: str, params: dict[str, str]) -> None:
    land, seeds = LANDSCAPES[kind], np.array([8, 1, 30, 4, 77])
    whole = run(methods()["sdarts"].make(**params), land, seeds, 20)
    assert whole[0].alpha.dtype == land.dtype
    for row in (0, 3):
        alone = run(methods()["sdarts"].make(**params), land, seeds[row : row + 1], 20)
        assert same(alone, rows(whole, slice(row, row + 1)))


@pytest.mark.parametrize(
    "params", [{"mode": "up"}, {"where": "all"}, {"epsilon": 1.0}, {"epsilon": -0.1}, {"start": 1.5}, {"steps": 0}]
)
def test_impossible_settings_are_refused(params: dict[str, Any]) -> None:
    with pytest.raises(SpecError):
        Perturbed(**params)
    with pytest.raises(SpecError):
        methods()["sdarts"].make(**params)


# --- skip dropout of P-DARTS ----------------------------------------------------------------------------------------


def test_the_dropout_rate_falls_within_each_stage_and_starts_again() -> None:
    """chenxin061/pdarts in stages of 25 epochs: r (1 - e / 25) for 10 epochs, then r exp(-0.2 (e - 10))."""
    horizon, rule = Horizon(75, 1), SkipDropout()
    for epoch in range(75):
        stage, e = divmod(epoch, 25)
        rate = (0.0, 0.4, 0.7)[stage]
        expected = rate * (1 - e / 25) if e < 10 else rate * np.exp(-0.2 * (e - 10))
        assert np.isclose(rule.rate(view(WIDE, np.arange(2), epoch, horizon)), expected)


def test_skips_are_dropped_at_the_rate_and_the_rest_is_renormalised() -> None:
    seeds, alpha = np.arange(500), np.repeat(some_alpha(1), 500, axis=0)
    rule = SkipDropout((0.4,), warmup=1.0)
    skip = SPACE.skip
    theta = Softmax().forward(alpha, None)
    at = view(WIDE, seeds, 0, Horizon(1000, 1))
    seen = rule.estimate(at, alpha, None, None)
    dropped = (seen.usage == 0)[:, skip]
    # 3,000 edges at 0.4: sd 0.009
    assert abs(dropped.mean() - 0.4) < 0.04 and (abs(dropped.mean(axis=0) - 0.4) < 0.1).all()
    rest = np.where(skip, 0.0, theta)
    rest /= rest.sum(axis=-1, keepdims=True)
    expected = np.where(dropped[..., None], rest, theta)
    assert np.allclose(seen.usage, expected, atol=1e-12)
    assert np.allclose(seen.loss, WIDE.loss_and_grad(None, expected)[0])
    assert (seen.grad[:, skip][dropped] == 0).all() and (seen.grad[:, skip][~dropped] != 0).all()


def test_an_edge_with_nothing_but_the_skip_keeps_it() -> None:
    mask = np.ones((50, 6, 5), dtype=bool)
    mask[:, 0] = SPACE.skip[0]
    seen = SkipDropout((0.9,), warmup=1.0).estimate(view(WIDE, np.arange(50), 0), some_alpha(50), None, mask)
    assert (seen.usage[:, 0, SPACE.skip[0]] == 1).all()
    assert (seen.usage[:, 1:][:, SPACE.skip[1:]] == 0).mean() > 0.8
    assert np.allclose(seen.usage.sum(axis=-1), 1)


def test_without_dropout_it_is_darts() -> None:
    at, alpha = view(WIDE, np.arange(4), 50), some_alpha(4)
    ours, plain = (r.estimate(at, alpha, None, None) for r in (SkipDropout((0.0, 0.0)), Deterministic()))
    assert same(ours, plain)


@pytest.mark.parametrize("params", [{"rates": ()}, {"rates": (0.5, 1.0)}, {"rates": (-0.1,)}, {"decay": -1.0}])
def test_impossible_rates_are_refused(params: dict[str, Any]) -> None:
    with pytest.raises(SpecError, match=r"dropout|decay"):
        SkipDropout(**params)
