"""The KL of DrNAS against SciPy and finite differences, and what sets DrNAS apart from BPNAS and DARTS."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.special import gammaln, polygamma

from nasbench_sim.errors import SpecError
from nasbench_sim.landscapes import Horizon, TabularLandscape
from nasbench_sim.searchers import View, methods
from nasbench_sim.searchers.base import rows
from nasbench_sim.searchers.links import Concentration
from nasbench_sim.searchers.regularisers import DirichletKL, trigamma
from nasbench_sim.searchers.relaxations import Deterministic, Dirichlet
from nasbench_sim.streams import Streams
from tests.searchers.helpers import LANDSCAPES, SPACE, TABLE, VALID, run, same


def some(seed: int, masked: bool) -> tuple[np.ndarray, np.ndarray | None]:
    """alpha `[4, 3, 5]` around 0, where the slope of elu + 1 has its corner, and a mask of one option or more."""
    random = np.random.default_rng(seed)
    alpha = random.normal(0, 1.5, (4, 3, 5))
    if not masked:
        return alpha, None
    mask = random.random(alpha.shape) < 0.5
    mask[..., 1] = True
    return alpha, mask


@pytest.mark.parametrize("masked", [False, True])
def test_the_kl_is_that_of_scipys_dirichlet(masked: bool) -> None:
    """KL(Dir(c) || Dir(1)) = -entropy(c) - log Gamma(n), for the uniform density is Gamma(n)."""
    alpha, mask = some(0, masked)
    expected = np.zeros(len(alpha))
    for s, d in np.ndindex(alpha.shape[:2]):
        c = Concentration.value(alpha[s, d])
        c = c if mask is None else c[mask[s, d]]
        if len(c) > 1:  # with one option left there is nothing to choose
            expected[s] += -stats.dirichlet(c).entropy() - gammaln(len(c))
    assert np.allclose(DirichletKL(1.0).value(alpha, mask), expected, atol=1e-12)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 1000), masked=st.booleans())
def test_its_gradient_by_finite_differences(seed: int, masked: bool) -> None:
    kl, h = DirichletKL(0.3), 1e-5
    alpha, mask = some(seed, masked)
    slope = kl.slope(alpha, mask)
    for d, k in np.ndindex(alpha.shape[1:]):
        up, down = alpha.copy(), alpha.copy()
        up[:, d, k] += h
        down[:, d, k] -= h
        numeric = (kl.value(up, mask) - kl.value(down, mask)) / (2 * h)
        # dc/dalpha has a corner at 0, but both sides have slope 1 there
        assert np.allclose(slope[:, d, k], numeric, atol=1e-8)
    if mask is not None:
        assert (slope[~mask] == 0).all()
        assert np.array_equal(kl.slope(np.where(mask, alpha, 7.0), mask), slope)  # what is pruned is not looked at


def test_it_pulls_to_the_uniform_dirichlet() -> None:
    kl = DirichletKL(1.0)
    alpha, _ = some(3, False)
    for _ in range(2000):
        alpha = alpha - 0.1 * kl.slope(alpha, None)
    assert np.abs(alpha).max() < 0.05 and kl.value(alpha, None).max() < 1e-3


def test_trigamma_is_the_one_of_scipy() -> None:
    x = np.geomspace(1e-6, 1e6, 4001)
    assert np.allclose(trigamma(x), polygamma(1, x), rtol=1e-10, atol=0)


def test_a_negative_scale_is_refused() -> None:
    for scale in (-1e-3, float("nan")):
        with pytest.raises(SpecError, match="scale"):
            DirichletKL(scale)
    with pytest.raises(SpecError, match="reg_scale"):
        methods()["drnas"].make(reg_scale=-1.0)


def test_the_kl_keeps_rows_and_types_apart_from_their_batch() -> None:
    alpha = np.random.default_rng(5).normal(0, 1, (67, 6, 5)).astype(np.float32)
    whole = DirichletKL().slope(alpha, None)
    assert whole.dtype == np.float32
    for row in (0, 31, 66):
        assert np.array_equal(DirichletKL().slope(alpha[row : row + 1], None), whole[row : row + 1])


def test_drnas_without_its_regulariser_is_bpnas_without_its_cuts() -> None:
    """The two differ in exactly these parts."""
    land, seeds = LANDSCAPES["shared"], np.arange(5)
    bare = {kind: methods()["drnas"].make(reg_type=kind, reg_scale=0.0) for kind in ("l2", "kl")}
    uncut = run(methods()["bpnas"].make(delta=0.99), land, seeds, 40)[0]
    for searcher in bare.values():
        assert np.array_equal(run(searcher, land, seeds, 40)[0].alpha, uncut.alpha)
    regularised = [
        run(methods()["drnas"].make(reg_type=kind, lr=0.02, reg_scale=0.1), land, seeds, 40)[0].alpha
        for kind in ("l2", "kl")
    ]
    free = run(methods()["drnas"].make(lr=0.02, reg_scale=0.0), land, seeds, 40)[0].alpha
    for alpha in regularised:
        assert np.abs(alpha).mean() < np.abs(free).mean()
    assert not np.array_equal(*regularised)


def test_the_kl_enters_the_gradient_of_one_step() -> None:
    """With SGD-like first step of Adam, alpha moves by lr times the sign of g + dr/dalpha, g as without a KL."""
    land, seeds = LANDSCAPES["tabular"], np.arange(6)
    kl = methods()["drnas"].make(reg_type="kl", reg_scale=50.0, lr=0.01)
    state, shared = kl.init(SPACE, seeds, land.dtype), land.init(seeds, Horizon(2, 40))
    state = state._replace(alpha=state.alpha * 500)
    seen = Dirichlet().estimate(View(land, shared, Streams(seeds), 0), state.alpha, None, None)
    pull = DirichletKL(50.0).slope(state.alpha, None)
    total = seen.grad + pull
    assert (np.sign(total) != np.sign(seen.grad)).any()  # the KL decides some of the signs
    moved = kl.step(state, land, shared)[0].alpha - state.alpha
    clear = np.abs(total) > 1e-5
    assert np.allclose(moved[clear], -0.01 * np.sign(total[clear]), atol=1e-4)


def test_drnas_estimates_the_gradient_of_the_expected_loss() -> None:
    """A table's loss is linear in each edge and edges are drawn apart: E_theta L(theta) = L(E theta), DARTS' at c / C.

    What is left is the acceptance term that the path leaves out (tested below 2 %) and the noise of 4,000 draws.
    """
    land = TabularLandscape(TABLE, **VALID._asdict(), dtype=np.float64)
    seeds = np.arange(4000)
    random = np.random.default_rng(2)
    alpha = np.repeat(random.normal(0, 0.7, (1, 6, 5)), len(seeds), axis=0)
    shared = land.init(seeds, Horizon(2, 40))
    view = View(land, shared, Streams(seeds), 3)
    draws = Dirichlet().estimate(view, alpha, None, None)
    mean = Deterministic(Concentration()).estimate(rows_of(view), alpha[:1], None, None)
    error = draws.grad.std(axis=0) / np.sqrt(len(seeds))
    off = np.abs(draws.grad.mean(axis=0) - mean.grad[0])
    assert (off < 4.5 * error + 0.02 * np.abs(mean.grad[0])).all()
    assert abs(draws.loss.mean() - mean.loss[0]) < 4 * draws.loss.std() / np.sqrt(len(seeds))
    assert draws.loss.std() > 1e-3  # and each draw is a mixture of its own


def rows_of(view: View) -> View:
    """The view of the first seed alone."""
    return view._replace(state=rows(view.state, slice(0, 1)), streams=Streams([0]))


@pytest.mark.parametrize("kind", list(LANDSCAPES))
def test_drnas_with_the_kl_is_the_same_alone_and_in_a_batch(kind: str) -> None:
    land, seeds = LANDSCAPES[kind], np.array([4, 2, 9, 33])
    recipe = methods()["drnas"]
    whole = run(recipe.make(reg_type="kl"), land, seeds, 25)
    assert same(run(recipe.make(reg_type="kl"), land, seeds[2:3], 25), rows(whole, slice(2, 3)))
