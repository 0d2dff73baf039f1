"""Forward selection of many pools: the choices of `forward_select`, whatever else is in the batch."""

from __future__ import annotations

import numpy as np
import pytest

from nasbench_sim.ensembles import Predictions, forward_select, nes_rs
from nasbench_sim.ensembles.greedy import TruthTable, select_pools, truth_table
from nasbench_sim.ensembles.metrics import nll
from nasbench_sim.ensembles.selection import draw_pools
from tests.ensembles.synthetic import class_cells, make_pair

VALID, _ = make_pair(class_cells()[::50], 300, seed=1)
TABLE = truth_table(VALID.probabilities, VALID.labels)
POOLS = np.sort(draw_pools(range(40), len(VALID), 30), axis=1)
FOUND = select_pools(TABLE, POOLS, 6)


def two_classes(truth: np.ndarray) -> Predictions:
    """Models with these probabilities `[N, I]` of the true class."""
    n, images = truth.shape
    p = np.stack([truth, 1 - truth], axis=2)
    return Predictions(p, np.zeros(images, dtype=int), np.arange(n), "nb201", "x", "valid", [-1] * n, "made")


def test_members_and_scores_are_those_of_one_repetition() -> None:
    for pool, members, scores in zip(POOLS, *FOUND, strict=True):
        alone = forward_select(VALID, 6, pool=pool)
        assert alone.members.tolist() == members.tolist()
        assert np.allclose(alone.scores, scores, rtol=1e-12)


def test_a_repetition_alone_is_the_row_of_the_batch_bit_for_bit() -> None:
    for r in (0, 7, 39):
        alone = select_pools(TABLE, POOLS[r : r + 1], 6)
        assert (alone.members[0] == FOUND.members[r]).all()
        assert alone.scores[0].tobytes() == FOUND.scores[r].tobytes()
    assert (draw_pools([7], len(VALID), 30) == draw_pools(range(40), len(VALID), 30)[7]).all()
    assert (nes_rs(VALID, [7], size=6, pool=30) == FOUND.members[7]).all()


def test_smaller_ensembles_are_the_beginning_of_larger_ones() -> None:
    small = select_pools(TABLE, POOLS, 2)
    assert (small.members == FOUND.members[:, :2]).all() and (small.scores == FOUND.scores[:, :2]).all()


def test_one_member_scores_as_that_model_alone_and_more_as_brute_force() -> None:
    each = np.array([nll(p, VALID.labels) for p in VALID.probabilities])
    assert np.allclose(TABLE.alone, each, rtol=1e-12)
    assert np.allclose(FOUND.scores[:, 0], each[POOLS].min(axis=1), rtol=1e-12)
    for pool, members, scores in list(zip(POOLS, *FOUND, strict=True))[:5]:
        first = VALID.probabilities[members[0]]
        pairs = [nll((first + VALID.probabilities[n]) / 2, VALID.labels) for n in pool if n != members[0]]
        assert np.isclose(scores[1], min(pairs), rtol=1e-6)
        assert (scores <= [each[members[:k]].mean() for k in range(1, 7)]).all()  # Jensen


def test_where_an_equal_is_in_the_pool_an_ensemble_is_never_worse_than_its_first_member() -> None:
    """Without one it can be: ForwardSelect has to add, and a second network may be far worse than the best."""
    best = int(TABLE.alone.argmin())
    p = np.concatenate([TABLE.p, np.repeat(TABLE.p[best : best + 1], 6, axis=0)])
    table = TruthTable(p, np.concatenate([TABLE.alone, np.repeat(TABLE.alone[best], 6)]))
    scores = select_pools(table, np.arange(len(p))[None], 6).scores[0]
    assert (scores <= scores[0] + 1e-15).all()
    assert (FOUND.scores[:, 1] > FOUND.scores[:, 0]).any()  # the other case does occur


@pytest.mark.parametrize("shape", [(0.2, 0.2), (1.0, 1.0), (5.0, 0.5), (0.5, 5.0)])
def test_probabilities_of_any_kind(shape: tuple[float, float]) -> None:
    """U-shaped, flat, confident and wrong, with zeros: the bound then says little, the choice is the same."""
    rng = np.random.default_rng(int(10 * shape[0]))
    for _ in range(20):
        truth = rng.beta(*shape, (25, 19)).astype(np.float32)
        truth[rng.random(truth.shape) < 0.1] = 0
        p = two_classes(truth)
        pools = np.sort(np.stack([rng.permutation(25)[:15] for _ in range(3)]), axis=1)
        found = select_pools(truth_table(p.probabilities, p.labels), pools, 8)
        for pool, members, scores in zip(pools, *found, strict=True):
            alone = forward_select(p, 8, pool=pool)
            assert np.allclose(alone.scores, scores, rtol=1e-12)
            assert alone.members.tolist() == members.tolist()


def test_ties_go_to_the_first_and_the_whole_pool_can_be_chosen() -> None:
    table = truth_table(*[(p := two_classes(np.full((4, 3), 0.5, dtype=np.float32))).probabilities, p.labels])
    assert select_pools(table, np.array([[0, 1, 2, 3], [2, 0, 3, 1]]), 4).members.tolist() == [
        [0, 1, 2, 3],
        [2, 0, 3, 1],
    ]


def test_a_bound_that_ruled_out_the_best_would_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """The comparison has teeth: with a slack of the wrong sign other members come out."""
    monkeypatch.setattr("nasbench_sim.ensembles.greedy.MARGIN", -0.5)
    with pytest.raises((AssertionError, ValueError)):
        assert (select_pools(TABLE, POOLS, 6).members == FOUND.members).all()


def test_equal_pools_are_selected_once() -> None:
    twice = select_pools(TABLE, POOLS[[3, 3]], 3)
    assert (twice.members[0] == twice.members[1]).all() and (twice.scores[0] == twice.scores[1]).all()


def test_the_table_lies_model_by_model() -> None:
    """A table in image order makes every copy of a pool ten times as slow."""
    assert TABLE.p.flags.c_contiguous and TABLE.p.dtype == np.float32 and VALID.truth.flags.c_contiguous
    assert isinstance(TABLE, TruthTable) and TABLE.p.min() > 0
