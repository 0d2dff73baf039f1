"""Why the preference of the weight-sharing model needs options that train together: single paths show none."""

from __future__ import annotations

import csv
import gzip
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import spearmanr

from nasbench_sim.landscapes import Horizon, SharedWeightsLandscape
from tests.landscapes.test_landscapes import PARAMS
from tests.synthetic import SPACE, VALID, synthetic_table


@pytest.mark.real
def test_a_recorded_supernet_of_single_paths_does_not_favour_skips(shared_data: Path) -> None:
    with gzip.open(shared_data / "nb201_oneshot_supernet_c10.csv.gz", "rt") as file:
        rows = list(csv.DictReader(file))
    skips = np.array([row["arch"].count("skip_connect") for row in rows])
    one_shot = np.array([float(row["oneshot_acc"]) for row in rows])
    means = [one_shot[skips == k].mean() for k in range(7)]
    assert means[0] == pytest.approx(54.8, abs=0.05) and means[6] == pytest.approx(11.2, abs=0.05)
    # a first skip costs nothing (54.8 both), each further one does
    assert means[1] == pytest.approx(means[0], abs=0.1)
    assert all(a > b for a, b in pairwise(means[1:]))


def test_single_paths_rank_cells_as_the_table_does_and_a_mixture_puts_skips_first() -> None:
    land = SharedWeightsLandscape(synthetic_table(), **VALID._asdict(), params=PARAMS, dtype=np.float64)
    random = np.random.default_rng(0)
    cells = random.integers(0, 5, (1, 400, 6))
    truth = 1 - synthetic_table().accuracy[VALID][SPACE.index(cells[0])]
    skips = (cells[0] == 1).sum(axis=1)
    ranks = {}
    for name in ("single paths", "mixture"):
        state = land.init(np.arange(1), Horizon(200, 20))
        for _ in range(4000):
            path = np.eye(5)[random.integers(0, 5, (1, 6))]
            state = land.train_weights(state, path if name == "single paths" else np.full((1, 6, 5), 0.2), 1)
        loss = land.arch_loss(state, cells)[0]
        ranks[name] = spearmanr(loss, truth).statistic, spearmanr(loss, skips).statistic
    assert ranks["single paths"][0] > 0.95 > ranks["mixture"][0]
    assert ranks["mixture"][1] < ranks["single paths"][1] - 0.3, "a mixture's loss falls with the skips of a cell"
