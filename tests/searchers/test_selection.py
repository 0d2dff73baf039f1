"""Which cell a distribution stands for: the mode, the mode with few skips, the best proxy among posterior draws."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, stats

from nasbench_sim.errors import NotMeasured, SpecError
from nasbench_sim.landscapes import Horizon, TabularLandscape
from nasbench_sim.searchers import View, gradient_searcher, methods
from nasbench_sim.searchers.links import Softmax
from nasbench_sim.searchers.relaxations import Deterministic
from nasbench_sim.searchers.selection import Argmax, AtMostSkips, ProxySample, mode
from nasbench_sim.searchers.updates import Adam
from nasbench_sim.streams import Streams
from nasbench_sim.tables.table import Table
from tests.searchers.helpers import LANDSCAPES, SPACE, TABLE, run

LAND = LANDSCAPES["tabular"]
PROXY = TABLE.proxy("synflow", dataset="cifar10")
EVERYTHING = np.ones((1, 6, 5), dtype=bool)


class Spy:
    """A landscape whose proxy is a function of the cell, and which remembers the cells it was asked for."""

    space = SPACE

    def __init__(self, score: Any) -> None:
        self.score, self.asked, self.dataset = score, np.zeros(0), ""

    def proxy(self, name: str, archs: np.ndarray, *, dataset: str | None = None) -> np.ndarray:
        self.asked, self.dataset = archs, dataset or "own"
        return np.asarray(self.score(archs), dtype=float)


def view(land: Any, seeds: np.ndarray, step: int = 3) -> View:
    return View(land, LANDSCAPES["tabular"].init(seeds, Horizon(2, 40)), Streams(seeds), step)


def posterior(seeds: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    random = np.random.default_rng(2)
    mask = np.ones((seeds, 6, 5), dtype=bool)
    mask[:, 1, 3] = mask[:, 4, :3] = False
    alpha, sd = random.normal(0, 0.5, (1, 6, 5)), random.uniform(0.1, 1, (1, 6, 5))
    return np.repeat(alpha, seeds, 0), np.repeat(sd, seeds, 0), mask


# --- the mode, with few skips ---------------------------------------------------------------------------------------


def few_skips(theta: np.ndarray, mask: np.ndarray, skips: int) -> np.ndarray:
    """One search, edge by edge: while there are too many skips, the least probable one that can give way does."""
    off = np.zeros(6, dtype=bool)
    while True:
        allowed = mask & ~(off[:, None] & SPACE.skip)
        cell = np.where(allowed, theta, -1).argmax(axis=1)
        chosen = [d for d in range(6) if SPACE.skip[d, cell[d]]]
        can = [d for d in chosen if (mask[d] & ~SPACE.skip[d]).any()]
        if len(chosen) <= skips or not can:
            return cell
        off[min(can, key=lambda d: theta[d, SPACE.skip[d]][0])] = True


@settings(max_examples=80, deadline=None)
@given(seed=st.integers(0, 10_000), skips=st.integers(0, 6))
def test_at_most_so_many_skips_by_brute_force(seed: int, skips: int) -> None:
    random = np.random.default_rng(seed)
    alpha = random.normal(0, 1, (5, 6, 5)) + 2 * SPACE.skip  # skips lead on most edges
    mask = random.random(alpha.shape) < 0.6
    mask |= (~mask.any(axis=-1, keepdims=True)) & SPACE.skip
    cells = AtMostSkips(skips).select(view(LAND, np.arange(5)), alpha, None, mask)
    theta = Softmax().forward(alpha, mask)
    assert cells.tolist() == [few_skips(t, m, skips).tolist() for t, m in zip(theta, mask, strict=True)]
    assert np.take_along_axis(mask, cells[..., None], -1).all()


def test_a_cell_with_few_skips_is_the_mode() -> None:
    alpha = np.random.default_rng(0).normal(0, 1, (300, 6, 5))
    mask = np.repeat(EVERYTHING, 300, 0)
    modes = mode(alpha, mask)
    limited = AtMostSkips(2).select(view(LAND, np.arange(300)), alpha, None, mask)
    number = (modes == SPACE.skip.argmax(axis=1)).sum(axis=1)
    assert np.array_equal(limited[number <= 2], modes[number <= 2])
    assert (number > 2).any() and (limited[number > 2] != modes[number > 2]).any(axis=1).all()
    assert np.array_equal(Argmax().select(view(LAND, np.arange(300)), alpha, None, mask), modes)
    with pytest.raises(SpecError, match="at least 0"):
        AtMostSkips(-1)


# --- the best proxy among draws from the posterior ------------------------------------------------------------------


def largest(normal: Any, others: list[Any]) -> float:
    """P(a draw of `normal` exceeds one of each of `others`), by quadrature."""
    return float(integrate.quad(lambda x: normal.pdf(x) * np.prod([n.cdf(x) for n in others]), -8, 8)[0])


def test_cells_are_drawn_with_the_probability_that_their_option_is_the_largest() -> None:
    """P(k) = integral of phi_k(x) prod_{j != k} Phi_j(x): the argmax of independent normals, by quadrature."""
    seeds = 300
    alpha, sd, mask = posterior(seeds)
    spy = Spy(lambda archs: np.zeros(archs.shape[:2]))
    ProxySample(200).select(view(spy, np.arange(seeds)), alpha, sd, mask)
    assert spy.asked.shape == (seeds, 200, 6)
    total = seeds * 200
    for d in range(6):
        active = np.flatnonzero(mask[0, d])
        normals = [stats.norm(alpha[0, d, k], sd[0, d, k]) for k in active]
        for i, k in enumerate(active):
            p = largest(normals[i], normals[:i] + normals[i + 1 :])
            seen = (spy.asked[..., d] == k).mean()
            assert abs(seen - p) < 5 * np.sqrt(p * (1 - p) / total) + 1e-4
        assert np.isin(spy.asked[..., d], active).all()


def test_the_best_score_wins_and_a_cell_without_one_is_no_candidate() -> None:
    alpha, sd, mask = posterior(40)

    def score(archs: np.ndarray) -> np.ndarray:
        value = archs[..., 0] * 10.0 + archs[..., 5]
        return np.where(archs[..., 0] == 3, np.nan, value)

    spy = Spy(score)
    chosen = ProxySample(50).select(view(spy, np.arange(40)), alpha, sd, mask)
    scores = score(spy.asked)
    assert (spy.asked[..., 0] == 3).any()
    assert np.array_equal(score(chosen[:, None])[:, 0], np.nanmax(scores, axis=1))
    assert all((spy.asked[s] == chosen[s]).all(axis=1).any() for s in range(40))


def test_where_no_draw_has_a_score_the_mode_is_kept() -> None:
    alpha, sd, mask = posterior(3)
    spy = Spy(lambda archs: np.full(archs.shape[:2], np.nan))
    cells = ProxySample(9).select(view(spy, np.arange(3)), alpha, sd, mask)
    assert np.array_equal(cells, mode(alpha, mask))


def test_one_draw_is_a_sample_of_the_posterior_whatever_its_score() -> None:
    alpha, sd, mask = posterior(30)
    spy = Spy(lambda archs: -np.ones(archs.shape[:2]))
    cells = ProxySample(1).select(view(spy, np.arange(30)), alpha, sd, mask)
    eps = Streams(np.arange(30)).normal("selection", 3, (1, 6, 5))[:, 0]
    assert np.array_equal(cells, mode(alpha + sd * eps, mask))
    assert len(np.unique(cells, axis=0)) > 5


def test_without_noise_the_draws_are_the_mode() -> None:
    alpha, sd, mask = posterior(8)
    best = ProxySample(20).select(view(LAND, np.arange(8)), alpha, 0 * sd, mask)
    assert np.array_equal(best, mode(alpha, mask))


def test_a_posterior_is_needed() -> None:
    with pytest.raises(SpecError, match=r"posterior.*Adam has none"):
        gradient_searcher("x", relaxation=Deterministic(), update=Adam(), selection=ProxySample())
    with pytest.raises(SpecError, match="at least 1"):
        ProxySample(0)
    with pytest.raises(SpecError, match="at least 1"):
        methods()["balenas-tf"].make(draws=0)


def test_proxies_that_the_table_does_not_hold_are_refused_by_name() -> None:
    alpha, sd, mask = posterior(2)
    for selection, match in (
        (ProxySample(proxy="synflou"), "synflou.*did you mean 'synflow'"),
        (ProxySample(dataset="cifar100"), "cifar100.*cifar10.*proxies"),
    ):
        with pytest.raises(NotMeasured, match=match):
            selection.select(view(LAND, np.arange(2)), alpha, sd, mask)
    assert ProxySample().requires == {"proxy/synflow-mean"}
    assert ProxySample(proxy="snip", dataset="cifar10").requires == {"proxy/snip@cifar10"}
    assert methods()["balenas-tf"].make(proxy_dataset="cifar10").requires == {"proxy/synflow-mean@cifar10"}


# --- BaLeNAS-TF -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", list(LANDSCAPES))
def test_balenas_tf_searches_as_balenas_and_chooses_by_proxy(kind: str) -> None:
    land, seeds = LANDSCAPES[kind], np.arange(20)
    same = {"init_precision": 100.0, "lr": 0.01}
    plain, free = methods()["balenas"].make(**same), methods()["balenas-tf"].make(**same, proxy="synflow")
    state, shared = run(plain, land, seeds, 40)
    ours, _ = run(free, land, seeds, 40)
    assert np.array_equal(state.alpha, ours.alpha) and np.array_equal(state.slots["s"], ours.slots["s"])
    modes, best = plain.derive(state, land, shared), free.derive(ours, land, shared)

    def score(cells: np.ndarray) -> np.ndarray:
        return np.asarray(PROXY[SPACE.index(cells)])

    assert np.isfinite(score(best)).all()
    finite = np.isfinite(score(modes))
    assert score(best).mean() > score(modes)[finite].mean() + 0.5
    more = methods()["balenas-tf"].make(**same, proxy="synflow", draws=1000).derive(ours, land, shared)
    assert score(more).mean() > score(best).mean()


@pytest.mark.real
def test_cifar100_has_no_proxies_and_takes_those_of_cifar10_when_told(nb201_table: Table) -> None:
    key = nb201_table.search_key_for("cifar100")
    land = TabularLandscape(nb201_table, **key._asdict())
    if not nb201_table.proxies("cifar10"):
        pytest.skip("the zero-cost proxies are not among the raw files")
    alpha, sd, mask = posterior(2)
    with pytest.raises(NotMeasured, match="cifar100"):
        ProxySample(proxy="synflow").select(view(land, np.arange(2)), alpha, sd, mask)
    cells = ProxySample(proxy="synflow", dataset="cifar10").select(view(land, np.arange(2)), alpha, sd, mask)
    assert cells.shape == (2, 6)
