"""The table `nb201-mini` that comes with the project: all cells trained small, twice for a tenth of them."""

from __future__ import annotations

import doctest
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import kendalltau

from nasbench_sim.errors import NotMeasured
from nasbench_sim.tables import Key, open_table
from nasbench_sim.tables.catalogue import mini_path
from nasbench_sim.tables.table import Table
from tests.tables.helpers import SPACE

EPOCHS = range(1, 7)


@pytest.fixture(scope="module")
def mini() -> Table:
    return open_table("nb201-mini")


def column(table: Table, split: str, epoch: int = 6, seed: int = 0) -> np.ndarray:
    return np.asarray(table.accuracy[Key("fashion-mini", split, epoch, seed)], dtype=np.float64)


def test_every_cell_has_a_number_of_every_epoch_and_split(mini: Table) -> None:
    assert mini_path().stat().st_size <= 10_000_000
    assert len(mini.accuracy) == 3 * 6 * 2 and len(mini.metrics) == 3 * 6 * 2  # splits, epochs, seeds
    for split in ("train", "valid", "test"):
        for epoch in EPOCHS:
            values = column(mini, split, epoch)
            losses = mini.metrics[f"loss_nats/{split}/{epoch}/0", "fashion-mini"]
            assert not np.isnan(values).any() and values.min() >= 0 and values.max() <= 100
            assert not np.isnan(losses).any() and losses.min() > 0
    assert mini.search_key == Key("fashion-mini", "valid", 6, 0) and mini.report_keys["test"].split == "test"
    with pytest.raises(NotMeasured):
        mini.search_key_for("cifar10")


def test_isomorphic_cells_share_a_network(mini: Table) -> None:
    for split in ("valid", "test"):
        by_class = np.zeros(6466)
        by_class[SPACE.classes] = column(mini, split)
        assert np.array_equal(by_class[SPACE.classes], column(mini, split))


def test_cells_through_which_nothing_flows_guess_and_the_others_differ(mini: Table) -> None:
    dead = np.array([not any(all(c[e] for e in p) for p in ((3,), (0, 4), (1, 5), (0, 2, 5))) for c in SPACE.all])
    test = column(mini, "test")
    assert dead.sum() == 341 and np.all(np.abs(test[dead] - 10) < 1)
    low, high = np.percentile(test[~dead], (1, 99))
    assert high - low > 10
    assert np.all(test[~dead] > 12)  # all others learn something


def test_the_noise_of_a_number_is_known_from_a_stratified_tenth(mini: Table) -> None:
    again = column(mini, "test", seed=1)
    twice = ~np.isnan(again)
    assert len(np.unique(SPACE.classes[twice])) == 647
    noise = np.std(again[twice] - column(mini, "test")[twice]) / np.sqrt(2)
    assert 1.7 < noise < 2.5  # percentage points, the sd of a network's accuracy over training seeds
    classes = np.unique(SPACE.classes[twice], return_index=True)[1]
    tau = kendalltau(again[twice][classes], column(mini, "test")[twice][classes])[0]
    assert 0.15 < tau < 0.35  # few epochs: two trainings order cells only roughly


def test_valid_predicts_test(mini: Table) -> None:
    assert kendalltau(column(mini, "valid"), column(mini, "test"))[0] > 0.7


def test_the_figures_of_its_page_come_out() -> None:
    page = Path(__file__).resolve().parents[2] / "docs" / "nb201-mini.md"
    failed, tried = doctest.testfile(str(page), module_relative=False)
    assert failed == 0 and tried >= 9
