"""Ensembles end to end: restarts of BPNAS on a supernet, and NES-BS, from predictions of networks trained alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gpu_validation.search import SupernetSearch
from gpu_validation.training import train_pool
from nasbench_sim.ensembles import ensemble_accuracy, member_archs, nes_bs, score
from tests.gpu_validation import tiny
from tests.gpu_validation.training.small import DATA, SPACE, spec


def test_restarts_of_bpnas_are_trained_alone_and_averaged() -> None:
    torch.set_num_threads(1)
    params = {"delta": 0.002, "members": 2, "member_epochs": 1}
    run = SupernetSearch("bpnas", tiny.settings(batch=32), DATA, (1,), 3, params=params).run()
    cells = member_archs(run)[0]
    names = list(dict.fromkeys(SPACE.format(cell) for cell in cells))  # restarts may agree
    test = train_pool([spec(arch=name, epochs=2) for name in names], DATA).predictions("test")
    average = np.mean([test.probabilities[names.index(SPACE.format(cell))] for cell in cells], axis=0)
    expected = 100 * (average.argmax(axis=1) == test.labels).mean()
    assert ensemble_accuracy(run, test) == pytest.approx([expected])


def test_nes_bs_follows_the_posterior() -> None:
    """All mass on one cell: it is drawn three times, and three equal members are no better than one."""
    torch.set_num_threads(1)
    pool = train_pool([spec(arch=SPACE.format(SPACE.at(i)), epochs=2) for i in (9930, 1462)], DATA)
    valid, test = pool.predictions("valid"), pool.predictions("test")
    theta = np.eye(5)[SPACE.at(1462)]
    assert nes_bs(valid, theta, [0, 1], size=3).tolist() == [[1, 1, 1], [1, 1, 1]]
    one, three = (score(test.probabilities[rows], test.labels) for rows in ([1], [1, 1, 1]))
    assert (one.accuracy, one.nll, one.ece) == pytest.approx((three.accuracy, three.nll, three.ece))
