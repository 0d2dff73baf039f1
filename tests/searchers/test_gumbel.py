"""SNAS and GDAS: Gumbel noise, soft and hard draws, pathwise and straight-through gradients."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from nasbench_sim.errors import SpecError
from nasbench_sim.landscapes import Horizon, Landscape, TabularLandscape
from nasbench_sim.searchers import View, get_method
from nasbench_sim.searchers.gumbel import (
    GumbelHard,
    GumbelSoftmax,
    against_none,
    gumbel,
    one_hot,
    perturbed,
    temperature,
)
from nasbench_sim.searchers.links import Softmax
from nasbench_sim.searchers.relaxations import Deterministic
from nasbench_sim.spaces import Space
from nasbench_sim.streams import Streams
from tests.searchers.helpers import LANDSCAPES, SPACE, TABLE
from tests.synthetic import VALID

WIDE = TabularLandscape(TABLE, **VALID._asdict(), dtype=np.float64)
ROWS = 6
ALPHA = np.random.default_rng(0).normal(size=(ROWS, 6, 5))


def view(land: Landscape = WIDE, step: int = 0, horizon: Horizon | None = None, streams: Any = None) -> View:
    seeds = np.arange(ROWS)
    return View(land, land.init(seeds, horizon or Horizon(1, 100)), streams or Streams(seeds), step)


def some_options() -> np.ndarray:
    mask = np.random.default_rng(1).random((ROWS, 6, 5)) < 0.6
    mask[..., 2] = True
    return mask


@given(st.integers(0, 2**24 - 1))
def test_noise_is_finite_for_every_uniform_of_24_bits(bits: int) -> None:
    u = np.float32(bits) * np.float32(2**-24)
    g = gumbel(np.array([u], dtype=np.float32))
    assert g.dtype == np.float32 and np.isfinite(g).all()
    if bits:
        assert g[0] == pytest.approx(-np.log(-np.log1p(-float(u))), rel=1e-5, abs=1e-6)


def test_noise_has_the_gumbel_law() -> None:
    draws = gumbel(Streams([5]).uniform("gumbel", 0, (100_000,)))[0]
    assert stats.kstest(draws, stats.gumbel_r.cdf).pvalue > 1e-3


def test_hard_draws_follow_pi_and_their_order_is_a_draw_without_replacement() -> None:
    """Gumbel-max: P(first = i) = pi_i, P(second = j | first = i) = pi_j / (1 - pi_i); pruned options never win."""
    n, logits = 60_000, np.array([0.3, -1.0, 0.0, 2.0, -0.2])
    mask = np.array([True, True, False, True, True])
    pi = Softmax().forward(logits[None], mask[None])[0]
    seen = View(WIDE, WIDE.init(np.arange(1), Horizon(1, 1)), Streams([3]), 0)
    order = np.argsort(-perturbed(seen, "t", np.tile(logits, (1, n, 1)), np.tile(mask, (1, n, 1)))[0], axis=-1)
    first = np.bincount(order[:, 0], minlength=5)
    assert first[2] == 0 and (order[:, 1] != 2).all()
    assert stats.chisquare(first[mask], n * pi[mask]).pvalue > 1e-3
    pairs = np.bincount(order[:, 0] * 5 + order[:, 1], minlength=25).reshape(5, 5)
    law = pi[:, None] * pi / (1 - pi[:, None])
    np.fill_diagonal(law, 0)
    assert stats.chisquare(pairs[law > 0], n * law[law > 0]).pvalue > 1e-3


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("step", [0, 5])
def test_snas_gradient_is_pathwise_at_fixed_noise(masked: bool, step: int) -> None:
    relax, mask = GumbelSoftmax(2.0, 0.7), some_options() if masked else None
    now = view(step=step, horizon=Horizon(2, 5))
    seen = relax.estimate(now, ALPHA, None, mask)
    h = 1e-5
    for d in range(6):
        for k in range(5):
            up, down = ALPHA.copy(), ALPHA.copy()
            up[:, d, k] += h
            down[:, d, k] -= h
            slope = relax.estimate(now, up, None, mask).loss - relax.estimate(now, down, None, mask).loss
            assert np.allclose(slope / (2 * h), seen.grad[:, d, k], atol=1e-9)
    assert np.allclose(seen.usage.sum(-1), 1) and not np.allclose(seen.usage, seen.usage.round(), atol=0.1)


class SameNoise:
    """Every uniform alike: noise that the softmax does not see."""

    def uniform(self, purpose: str, step: int, shape: tuple[int, ...]) -> np.ndarray:
        return np.full((ROWS, *shape), 0.25, dtype=np.float32)


def test_snas_without_noise_at_tau_1_is_darts_and_with_noise_is_not() -> None:
    plain, relax = Deterministic(), GumbelSoftmax(1.0, 1.0)
    darts = plain.estimate(view(), ALPHA, None, None)
    quiet = relax.estimate(view(streams=SameNoise()), ALPHA, None, None)
    assert np.allclose(quiet.grad, darts.grad, atol=1e-14) and np.allclose(quiet.usage, darts.usage, atol=1e-14)
    loud = relax.estimate(view(), ALPHA, None, None)
    assert np.abs(loud.usage - darts.usage).max() > 0.3


def test_as_tau_falls_soft_draws_become_the_hard_ones_of_the_same_noise() -> None:
    hard = GumbelHard(10.0, 10.0).estimate(view(), ALPHA, None, None)
    assert set(np.unique(hard.usage)) == {0.0, 1.0} and (hard.usage.sum(-1) == 1).all()
    assert (GumbelHard(0.1, 0.1).estimate(view(), ALPHA, None, None).usage == hard.usage).all()
    gap = [
        np.abs(GumbelSoftmax(tau, tau).estimate(view(), ALPHA, None, None).usage - hard.usage).max()
        for tau in (10.0, 1.0, 1e-4)
    ]
    assert gap[0] > gap[1] > 0.3 and gap[2] < 1e-6


@pytest.mark.parametrize("masked", [False, True])
def test_gdas_reaches_the_drawn_gate_only_and_weighs_it_against_none(masked: bool) -> None:
    """The gradient by hand, from two cells of the table a decision: nothing else is looked at."""
    tau, mask = 3.0, some_options() if masked else None
    relax, now = GumbelHard(tau, tau), view()
    seen = relax.estimate(now, ALPHA, None, mask)
    cells = seen.usage.argmax(-1)
    scores = perturbed(now, "gumbel", ALPHA, mask)
    p = Softmax().forward(scores / tau, mask)
    for s in range(ROWS):
        for d in range(6):
            c, without = cells[s, d], cells[s].copy()
            without[d] = 0  # `none`
            both = WIDE.arch_loss(None, np.stack([cells[s], without])[None])[0]
            expected = p[s, d] * ((np.arange(5) == c) - p[s, d, c]) * (both[0] - both[1]) / tau
            assert np.allclose(seen.grad[s, d], expected, atol=1e-14)
            assert c != 0 or (seen.grad[s, d] == 0).all()  # a drawn `none` teaches its edge nothing
    assert (cells == 0).any() and (cells != 0).any()
    assert np.allclose(seen.loss, WIDE.arch_loss(None, cells[:, None])[:, 0])


def test_gdas_trains_the_drawn_options_only_and_snas_all() -> None:
    land, seeds = LANDSCAPES["shared"], np.arange(ROWS)
    moved, drawn = {}, None
    for name in ("gdas", "snas"):
        searcher = get_method(name).make()
        state, shared = searcher.init(SPACE, seeds, land.dtype), land.init(seeds, Horizon(1, 10))
        _, after, info = searcher.step(state, land, shared)
        moved[name] = after.maturity > shared.maturity
        drawn = info.theta if name == "gdas" else drawn
    assert drawn is not None
    assert (moved["gdas"] == (drawn > 0) & SPACE.parametric).all() and moved["gdas"].any()
    assert (moved["snas"] == SPACE.parametric).all()


def test_temperature_falls_linearly_by_epochs_and_stays_at_its_last_value() -> None:
    horizon = Horizon(5, 10)
    taus = [temperature(view(step=step, horizon=horizon), 10.0, 0.1) for step in (0, 9, 10, 25, 49, 50, 1000)]
    assert taus == pytest.approx([10.0, 10.0, 10 - 9.9 / 4, 10 - 9.9 / 2, 0.1, 0.1, 0.1])
    assert temperature(view(horizon=Horizon(1, 10)), 10.0, 0.1) == 10.0


def test_gates_and_their_reference() -> None:
    cells = np.array([[1, 0, 4, 3, 2, 2]])
    assert (one_hot(cells, np.zeros((1, 6, 5), np.float32)).argmax(-1) == cells).all()
    grad = np.random.default_rng(2).normal(size=(3, 6, 5))
    assert (against_none(SPACE, grad)[..., 0] == 0).all()
    assert np.allclose(against_none(SPACE, grad), grad - grad[..., :1])
    small = Space("small", ["a", "b"], [["p", "q"], ["none", "r", "s"]], none="none")
    here = against_none(small, grad[:, :2, :3])
    assert np.allclose(here[:, 0, :2], grad[:, 0, :2] - grad[:, 0, :2].mean(axis=-1, keepdims=True))
    assert np.array_equal(here[:, 1], grad[:, 1, :3] - grad[:, 1, :1])


@pytest.mark.parametrize("method", ["snas", "gdas"])
@pytest.mark.parametrize(("name", "value"), [("tau_max", 0.0), ("tau_min", -1.0), ("tau_min", float("nan"))])
def test_impossible_temperatures_are_refused(method: str, name: str, value: float) -> None:
    with pytest.raises(SpecError, match=name):
        get_method(method).make(**{name: value})
