"""Searches on the real table against what can be computed exactly, and against the published rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from nasbench_sim.reporting.published import labelled_row
from nasbench_sim.tables.table import Table
from tests.blackbox.helpers import batch, result

pytestmark = pytest.mark.real

# (data set, n, epochs) of random search with n evaluations
SEARCHES = [
    *((d, n, 200) for d in ("cifar10", "cifar100", "ImageNet16-120") for n in (10, 50, 100)),
    *((d, n, 12) for d in ("cifar10", "cifar100", "ImageNet16-120") for n in (50, 100)),
    ("cifar10", 10, 12),
    ("cifar10", 200, 12),
]


def best_of(table: Table, dataset: str, epochs: int, n: int) -> tuple[float, float]:
    """Exact mean and sd of the test accuracy of the best of n draws with replacement.

    P(the best has rank r) = (r^n - (r - 1)^n) / A^n; ties share their test accuracies.
    """
    valid = table.values(dataset=dataset, split="valid", epochs=epochs, seed="mean").astype(np.float64)
    test = table.values(dataset=dataset, split="test", epochs=200, seed="mean").astype(np.float64)
    _, group, size = np.unique(valid, return_inverse=True, return_counts=True)
    up_to = np.cumsum(size) / len(valid)
    p = np.diff(np.concatenate([[0.0], up_to**n]))
    mean, square = (np.bincount(group, weights=w) / size for w in (test, test**2))
    expected = float(p @ mean)
    return expected, float(np.sqrt(p @ square - expected**2))


def random_search(table: Table, dataset: str, epochs: int, n: int, seeds: int = 500) -> np.ndarray:
    """Test accuracy `[S]` of random search with n evaluations at this number of epochs."""
    about = {"budget": n, "epochs": 1, "cost": "evaluations", "fidelities": [epochs]}
    return result(batch("rs", range(seeds), params={}, table=table, dataset=dataset, **about))["test"][:, -1]


@pytest.mark.parametrize(("dataset", "n", "epochs"), SEARCHES)
def test_random_search_is_the_best_of_n(nb201_table: Table, dataset: str, n: int, epochs: int) -> None:
    """The mean of 500 searches is within three standard errors of the exact expectation."""
    ours = random_search(nb201_table, dataset, epochs, n)
    mean, sd = best_of(nb201_table, dataset, epochs, n)
    assert abs(ours.mean() - mean) < 3 * sd / np.sqrt(len(ours))
    assert ours.std(ddof=1) == pytest.approx(sd, rel=0.25)


PUBLISHED = {"rea": "REA", "rs": "RS", "reinforce": "REINFORCE"}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_rows_at_12000_seconds(nb201_table: Table, name: str) -> None:
    """Ours within a third of their standard deviation; seeds and training times are not the same as theirs."""
    out = result(batch(name, range(500), params={}, table=nb201_table, budget=12_000.0, epochs=1))
    theirs = labelled_row("nb201_blackbox.json", PUBLISHED[name], "cifar10")
    assert theirs is not None and set(theirs.scores) == {"valid", "test"}
    for role, score in theirs.scores.items():
        assert score.sd is not None and abs(out[role][:, -1].mean() - score.mean) < score.sd / 3
    assert 80 < out["evaluations"].mean() < 130


def test_the_learning_rate_of_the_first_script_is_worse_on_cifar100(nb201_table: Table) -> None:
    """What the card of `reinforce` says: 0.5 ends more than a point of test accuracy below 0.01, in 40,000 s."""
    about = {"table": nb201_table, "dataset": "cifar100", "budget": 40_000.0, "epochs": 1}
    low, high = (
        result(batch("reinforce", range(200), params={"lr": lr}, **about))["test"][:, -1] for lr in (0.01, 0.5)
    )
    error = np.hypot(low.std(ddof=1), high.std(ddof=1)) / np.sqrt(200)
    assert low.mean() - high.mean() - 2 * error > 1


def test_more_budget_is_better_and_costs_more_evaluations(nb201_table: Any) -> None:
    """Anytime curves: the mean validation accuracy rises with simulated time, REA passes random search."""
    curves = {
        name: result(batch(name, range(500), params={}, table=nb201_table, budget=20_000.0, epochs=5))
        for name in ("rs", "rea")
    }
    for out in curves.values():
        error = 1 - out["loss"].mean(axis=0)
        assert (np.diff(error) > 0).all()
    assert curves["rea"]["loss"][:, -1].mean() < curves["rs"]["loss"][:, -1].mean()
