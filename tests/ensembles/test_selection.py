"""ForwardSelect against brute force and a naive rewriting; NES-RS by its closed forms."""

from __future__ import annotations

import itertools
from math import comb

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare

from nasbench_sim.ensembles import Predictions, forward_select, nes_rs
from nasbench_sim.ensembles.metrics import accuracy, average, nll
from nasbench_sim.errors import SpecError
from tests.ensembles.helpers import make, reordered

LOSS = {"nll": nll, "accuracy": lambda p, y: -accuracy(p, y)}
metrics = pytest.mark.parametrize("metric", list(LOSS))


def naive(p: Predictions, size: int, metric: str, replacement: bool = False) -> list[int]:
    """The definition: average all members anew for every candidate; ties by NLL, then by row."""
    chosen: list[int] = []
    for _ in range(size):
        candidates = [n for n in range(len(p)) if replacement or n not in chosen]
        means = {n: average(p.probabilities[[*chosen, n]]) for n in candidates}
        chosen.append(min(candidates, key=lambda n: (LOSS[metric](means[n], p.labels), nll(means[n], p.labels), n)))
    return chosen


@metrics
@given(seed=st.integers(0, 10**6), size=st.integers(1, 6), replacement=st.booleans())
def test_it_is_the_naive_greedy_selection(metric: str, seed: int, size: int, replacement: bool) -> None:
    p = make(models=7, samples=23, seed=seed)
    found = forward_select(p, size, metric=metric, replacement=replacement)
    assert found.members.tolist() == naive(p, size, metric, replacement)
    for m in range(1, size + 1):
        mean = average(p.probabilities[found.members[:m]])
        expected = nll(mean, p.labels) if metric == "nll" else accuracy(mean, p.labels)
        assert found.scores[m - 1] == pytest.approx(expected, rel=1e-12)


@metrics
@given(seed=st.integers(0, 10**6))
def test_brute_force_over_all_ensembles_is_a_bound_and_greedy_starts_at_the_best(metric: str, seed: int) -> None:
    p = make(models=7, samples=23, seed=seed)
    for size in (1, 2, 3):
        losses = {
            s: LOSS[metric](average(p.probabilities[list(s)]), p.labels) for s in itertools.combinations(range(7), size)
        }
        found = LOSS[metric](average(p.probabilities[forward_select(p, size, metric=metric).members]), p.labels)
        assert found >= min(losses.values()) - 1e-12
        if size == 1:
            assert found == pytest.approx(min(losses.values()))


def test_greedy_finds_the_best_ensemble_where_steps_do_not_mislead() -> None:
    """Of 40 small pools most have the optimal pair, and a pool exists where greed does not (so the bound is strict)."""
    exact = 0
    for seed in range(40):
        p = make(models=6, samples=15, seed=seed)
        pairs = itertools.combinations(range(6), 2)
        best = min(pairs, key=lambda s: nll(average(p.probabilities[list(s)]), p.labels))
        exact += set(best) == set(forward_select(p, 2).members.tolist())
    assert 20 <= exact < 40


def test_it_takes_the_complement_and_not_the_second_best() -> None:
    """Two equal good models and one that is right where they are wrong."""
    good, other = [[0.9, 0.1], [0.6, 0.4]], [[0.3, 0.7], [0.1, 0.9]]
    p = make(models=3, samples=2, classes=2, labels=[0, 1])
    p = Predictions([good, good, other], [0, 1], p.archs, "toy", "noise", "valid", p.seeds, "made for a test")
    assert forward_select(p, 2).members.tolist() == [0, 2]
    assert forward_select(p, 3, replacement=True).members.tolist() == naive(p, 3, "nll", replacement=True)


@metrics
@given(seed=st.integers(0, 10**6), order=st.permutations(range(8)))
def test_the_order_of_models_does_not_matter(metric: str, seed: int, order: list[int]) -> None:
    p = make(models=8, samples=30, seed=seed)
    mixed = forward_select(reordered(p, np.array(order)), 4, metric=metric).members
    assert np.array(order)[mixed].tolist() == forward_select(p, 4, metric=metric).members.tolist()


def test_a_pool_is_a_subset() -> None:
    p = make(models=16)
    pool = [14, 3, 9, 5, 0]
    chosen = forward_select(p, 3, pool=pool).members
    assert chosen.tolist() == np.array(pool)[forward_select(p.subset(pool), 3).members].tolist()


def test_many_models_pass_through_blocks() -> None:
    """More than two blocks of candidates, and the best one in the last."""
    p = make(models=70, samples=40, archs=np.arange(70)[:, None])
    assert forward_select(p, 5).members.tolist() == naive(p, 5, "nll")
    last = int(forward_select(p, 1).members[0])
    order = np.array([*(n for n in range(70) if n != last), last])
    assert forward_select(reordered(p, order), 1).members.tolist() == [69]


def test_nes_rs_with_a_pool_of_all_is_forward_selection() -> None:
    p = make()
    assert (nes_rs(p, range(5), size=4) == forward_select(p, 4).members).all()


def test_nes_rs_with_a_pool_of_one_is_uniform() -> None:
    p = make(models=16)
    rows = nes_rs(p, range(4000), size=1, pool=1)[:, 0]
    assert chisquare(np.bincount(rows, minlength=16)).pvalue > 1e-3


def test_nes_rs_with_one_member_is_the_best_of_the_pool() -> None:
    """P(the best of K of N without replacement has rank > r) = C(N - r, K) / C(N, K)."""
    p, k, n = make(models=16, samples=200), 4, 16
    rank = np.argsort(np.argsort([nll(q, p.labels) for q in p.probabilities]))
    found = np.bincount(rank[nes_rs(p, range(4000), size=1, pool=k)[:, 0]], minlength=n)
    above = np.array([comb(n - r, k) / comb(n, k) for r in range(n + 1)])
    expected = -np.diff(above)[: n - k + 1]
    assert found[n - k + 1 :].sum() == 0  # the k - 1 worst are never the best of k
    assert chisquare(found[: n - k + 1], 4000 * expected).pvalue > 1e-3


def test_nes_rs_does_not_repeat_a_model_and_selects_from_its_pool() -> None:
    p = make()
    chosen = nes_rs(p, range(50), size=3, pool=3)
    assert all(len(set(row)) == 3 for row in chosen.tolist())
    assert len({tuple(sorted(row)) for row in chosen.tolist()}) > 30


@metrics
def test_a_seed_alone_equals_its_row_in_a_batch(metric: str) -> None:
    p, seeds = make(samples=37), [11, 3, 2**40, 0, 5]
    together = nes_rs(p, seeds, size=3, pool=7, metric=metric)
    for row, seed in zip(together, seeds, strict=True):
        assert np.array_equal(nes_rs(p, [seed], size=3, pool=7, metric=metric), row[None])


def test_selecting_on_the_test_split_is_refused() -> None:
    test = make(split="test")
    for select in (lambda: forward_select(test, 2), lambda: nes_rs(test, [0])):
        with pytest.raises(SpecError, match="selected on validation predictions, these are of the test split"):
            select()


def test_impossible_sizes_pools_seeds_and_metrics_are_refused() -> None:
    p = make(models=5)
    for size in (0, 6, -1):
        with pytest.raises(SpecError, match=f"size {size} of an ensemble from 5 models"):
            forward_select(p, size)
    assert len(forward_select(p, 6, replacement=True).members) == 6
    for pool, said in (([5], "rows 0..4"), ([], "rows 0..4"), ([0.5], "rows 0..4"), ([1, 1], "twice")):
        with pytest.raises(SpecError, match=said):
            forward_select(p, 1, pool=pool)
    for given_, said in (
        ({"pool": 6}, "5 models are fewer than the 6"),
        ({"size": 6}, "5 models are fewer than the 6"),
        ({"pool": 2}, "a pool of 2 models has no ensemble of 3"),
        ({"size": 0}, "size is at least 1"),
        ({"metric": "nlll"}, "unknown metric 'nlll'; did you mean 'nll'"),
    ):
        with pytest.raises(SpecError, match=said):
            nes_rs(p, [0], **given_)
    for seeds in ([], [-1]):
        with pytest.raises(SpecError, match="seeds are integers >= 0"):
            nes_rs(p, seeds)


def test_an_underflown_probability_counts_as_in_the_metrics() -> None:
    """Model 0 gives the true class of sample 1 no probability: 87 nats alone, finite beside model 1."""
    p = make(models=2, samples=2, classes=2, labels=[0, 0])
    rows = [[[1.0, 0.0], [0.0, 1.0]], [[0.4, 0.6], [0.4, 0.6]]]
    p = Predictions(rows, [0, 0], p.archs, "toy", "noise", "valid", p.seeds, "made for a test")
    found = forward_select(p, 2)
    assert found.members.tolist() == [1, 0]
    assert found.scores[1] == pytest.approx(nll(average(p.probabilities[[1, 0]]), p.labels))
    alone = forward_select(p, 1, pool=[0])
    assert alone.scores[0] == pytest.approx(nll(p.probabilities[0], p.labels))
