"""The numbers of a comparison against closed forms and SciPy, and their yardsticks."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import kendalltau, wasserstein_distance

from nasbench_sim.reporting.fidelity.statistics import (
    agreement,
    agreement_of_mode,
    agreement_within,
    chance_agreement,
    collapse_epochs,
    estimate,
    kendall,
    once,
    pooled,
    ranking,
    rmse_of_means,
    wasserstein,
)

RANDOM = np.random.default_rng(0)


@pytest.mark.parametrize(("s", "n"), [(1, 1), (7, 3), (40, 40), (3, 64)])
def test_wasserstein_is_that_of_scipy_also_weighted(s: int, n: int) -> None:
    a, b = RANDOM.normal(90, 3, s).round(1), RANDOM.normal(91, 2, n).round(1)  # rounded: ties
    assert once(wasserstein, a, b) == pytest.approx(wasserstein_distance(a, b), abs=1e-12)
    wa, wb = RANDOM.dirichlet(np.ones(s), 5), RANDOM.dirichlet(np.ones(n), 5)
    expected = [wasserstein_distance(a, b, u, v) for u, v in zip(wa, wb, strict=True)]
    assert wasserstein(a, b, wa, wb) == pytest.approx(expected, abs=1e-9)


def test_kendall_is_that_of_scipy() -> None:
    a, b = RANDOM.integers(0, 5, (20, 8)).astype(float), RANDOM.normal(size=(20, 8))
    assert kendall(a, b) == pytest.approx([kendalltau(x, y).statistic for x, y in zip(a, b, strict=True)])
    assert np.isnan(kendall(np.ones((1, 3)), np.arange(3.0)[None])).all()


def test_agreement_and_its_chance_in_closed_form() -> None:
    a, b = np.array([[0, 0], [0, 1], [0, 1], [2, 1]]), np.array([[0, 0], [1, 1]])
    # edge 1: 3/4 * 1/2 + 0 * 1/2; edge 2: 1/4 * 1/2 + 3/4 * 1/2
    assert once(agreement, a, b) == pytest.approx((3 / 8 + 1 / 2) / 2)
    assert agreement_of_mode(a, b) == pytest.approx((1 / 2 + 1 / 2) / 2)
    # options 0, 1, 2: 4/8, 3/8, 1/8 and 2/4, 2/4, 0
    assert chance_agreement(a, b) == pytest.approx(1 / 4 + 3 / 16)
    pairs = [np.mean(a[i] == a[j]) for i in range(4) for j in range(4) if i != j]
    assert agreement_within(a) == pytest.approx(np.mean(pairs))
    assert np.isnan(agreement_within(a[:1]))


def test_rmse_of_means_in_closed_form() -> None:
    a, b = np.array([[0.0, 0.5, 1.0], [1.0, 0.5, 1.0]]), np.array([[0.0, 0.5, 0.0]])
    assert once(rmse_of_means, a, b) == pytest.approx(np.sqrt((0.25 + 0 + 1) / 3))


@pytest.mark.parametrize(
    ("counts", "epoch"),
    [([0, 5, 5, 6], 2), ([6, 6, 6, 6], 1), ([5, 4, 5, 4], None), ([6, 0, 0, 5], 4), ([4, 4, 4, 4], None)],
)
def test_collapse_is_the_first_epoch_of_the_last_stretch(counts: list[int], epoch: int | None) -> None:
    free = np.arange(6) < np.array(counts)[:, None]
    assert collapse_epochs(free[None]) == [epoch]


def test_collapse_of_another_number_of_decisions_is_rounded_up() -> None:
    seven = np.arange(7) < np.array([5, 6])[:, None]  # ceil(35 / 6) = 6
    assert collapse_epochs(seven[None]) == [2]


def test_the_interval_covers_and_a_perfect_simulator_is_recognised() -> None:
    """Of draws of one distribution about 95 % lie below the bound of a perfect simulator, of shifted ones none."""
    random = np.random.default_rng(1)
    inside = shifted = 0
    for i in range(60):
        sim, net = random.normal(90, 2, 100), random.normal(90, 2, 4)
        found = estimate(wasserstein, sim, net, f"case {i}")
        inside += found.value <= found.perfect
        far = estimate(wasserstein, sim, net + 6, f"case {i}")
        shifted += far.value <= far.perfect
        assert far.low < far.value < far.high
    assert inside >= 50 and shifted == 0


def test_equal_inputs_give_equal_intervals_and_none_gives_none() -> None:
    a, b = RANDOM.normal(size=30), RANDOM.normal(size=3)
    assert estimate(wasserstein, a, b, "x") == estimate(wasserstein, a, b, "x")
    assert estimate(wasserstein, a, b, "x").low != estimate(wasserstein, a, b, "y").low
    assert all(np.isnan(estimate(wasserstein, a, b[:0], "x")))


def test_ranking_of_clear_and_of_reversed_methods() -> None:
    means = (50.0, 70.0, 80.0, 90.0)
    sim, net = ([RANDOM.normal(m, 0.1, n) for m in means] for n in (40, 3))
    clear = ranking(sim, net, "a")
    assert (clear.value, clear.low, clear.high, clear.perfect) == (1, 1, 1, 1)
    assert ranking(sim[::-1], net, "a").value == -1
    mixed = ranking([RANDOM.normal(90, 5, 40) for _ in means], [RANDOM.normal(90, 5, 3) for _ in means], "a")
    assert mixed.perfect < 1  # too noisy for any simulator


def test_a_pooled_distance_of_one_method_is_its_own_and_of_several_covers_the_truth() -> None:
    """95 % intervals and bounds hold in 95 % of cases: the true root mean square is known here."""
    a, b = RANDOM.normal(0, 1, (30, 4)), RANDOM.normal(1, 1, (5, 4))
    assert pooled(rmse_of_means, [(a, b)], "one") == pytest.approx(estimate(rmse_of_means, a, b, "one"))
    assert pooled(rmse_of_means, [(a, b), (a[:0], b)], "one") == pytest.approx(estimate(rmse_of_means, a, b, "one"))
    same = [(RANDOM.normal(0, 1, (60, 20)), RANDOM.normal(0, 1, (3, 20))) for _ in range(200)]
    above = [
        pooled(rmse_of_means, [one, other], str(i)) for i, (one, other) in enumerate(zip(same, same[::-1], strict=True))
    ]
    share = np.mean([found.value > found.perfect for found in above])
    assert 0.01 < share < 0.12
    far = [(RANDOM.normal(0, 1, (60, 20)), RANDOM.normal(gap, 1, (60, 20))) for gap in (3.0, 4.0)]
    found = pooled(rmse_of_means, far, "far")
    assert found.low < np.sqrt(12.5) < found.high and found.perfect < 0.5
