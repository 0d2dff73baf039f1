"""Scores by size: bit for bit those of `metrics`, against brute force where that is possible."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from nasbench_sim.ensembles import Predictions, score
from nasbench_sim.ensembles.by_size import score_by_size
from nasbench_sim.ensembles.selection import draw_pools
from nasbench_sim.errors import SpecError
from tests.ensembles.helpers import make
from tests.ensembles.synthetic import class_cells, make_pair

_, TEST = make_pair(class_cells()[::200], 150, seed=2)
MEMBERS = draw_pools(range(12), len(TEST), 5)


def test_every_score_is_that_of_metrics_bit_for_bit() -> None:
    found = score_by_size(TEST, MEMBERS, [1, 2, 5])
    for s, rows in enumerate(MEMBERS):
        for z, size in enumerate((1, 2, 5)):
            one = score(TEST.probabilities[rows[:size]], TEST.labels)
            assert (found.accuracy[s, z], found.nll[s, z], found.ece[s, z]) == (one.accuracy, one.nll, one.ece)
            if size == 1:
                assert one.nll == one.member_nll


def test_images_are_means_over_ensembles() -> None:
    members = np.concatenate([MEMBERS, MEMBERS[:3]])  # some twice: scored once, counted twice
    found = score_by_size(TEST, members, [2, 3])
    for name in ("accuracy", "nll"):
        assert np.allclose(found.images[name].mean(axis=1), getattr(found, name).mean(axis=0), rtol=1e-12)
    parts = [score_by_size(TEST, row[None], [2, 3]).images["nll"] for row in members]
    assert np.allclose(found.images["nll"], np.mean(parts, axis=0))


def test_random_ensembles_have_the_mean_of_all_subsets() -> None:
    """6 models, all 15 pairs and 20 triples; 4,000 random draws come within 4 standard errors."""
    p = make(models=6, samples=40, split="test")
    found = score_by_size(p, draw_pools(range(4000), 6, 3), [2, 3])
    for z, size in enumerate((2, 3)):
        every = [score(p.probabilities[list(c)], p.labels).nll for c in itertools.combinations(range(6), size)]
        assert abs(found.nll[:, z].mean() - np.mean(every)) < 4 * np.std(every) / np.sqrt(4000)


def test_the_first_class_wins_a_tie() -> None:
    p = Predictions([[[0.4, 0.4, 0.2], [0.2, 0.4, 0.4]]], [1, 1], [[0]], "toy", "x", "test", [0], "made")
    assert score_by_size(p, np.array([[0]]), [1]).images["accuracy"].tolist() == [[0.0, 100.0]]


@pytest.mark.parametrize("sizes", [[], [0], [6], [-1]])
def test_sizes_that_are_not_there(sizes: list[int]) -> None:
    with pytest.raises(SpecError, match=r"give 1..5"):
        score_by_size(TEST, MEMBERS, sizes)
