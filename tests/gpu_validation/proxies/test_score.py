"""Scores of many cells: one network a class, in any order; what is refused; and the published columns' scale."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from gpu_validation.proxies.graph import classes
from gpu_validation.proxies.registry import ALIASES, PROXIES, as_published, get_proxy
from gpu_validation.proxies.saliency import Batch
from gpu_validation.proxies.score import Cache, Setting, class_numbers, score
from nasbench_sim.errors import ArchError, SpecError
from nasbench_sim.spaces import NB201
from nasbench_sim.tables.table import Table
from tests.gpu_validation.proxies.networks import Network

SETTING = Setting(classes=3, size=8, in_channels=1, channels=2, cells=1, seed=3)
#: three names of one computation (a dead operation; a skip; the other way round), and one of another
CELLS = np.array([[2, 0, 0, 0, 1, 0], [2, 3, 0, 0, 1, 0], [0, 1, 0, 0, 4, 2], [3, 0, 0, 0, 1, 0]])


def batch() -> Batch:
    generator = torch.Generator().manual_seed(1)
    return Batch(torch.randn(4, 1, 8, 8, generator=generator), torch.tensor([0, 1, 2, 0]))


class Counting:
    """Draws networks and remembers how many."""

    def __init__(self) -> None:
        self.cells: list[list[int]] = []

    def __call__(self, arch: Any, **how: Any) -> nn.Module:
        self.cells.append(np.asarray(arch).tolist())
        return Network(arch, **how)


@pytest.mark.parametrize("name", PROXIES)
def test_equal_cells_share_a_network_and_the_order_does_not_matter(name: str) -> None:
    make, cache = Counting(), dict[Any, float]()
    seen: list[tuple[int, int]] = []
    found = score(name, CELLS, SETTING, batch=batch(), make=make, cache=cache, progress=lambda *at: seen.append(at))
    assert found.shape == (4,) and len(set(found[:3])) == 1 and found[3] != found[0]
    drawn = len(make.cells)
    assert drawn == (2 if PROXIES[name].draws else 0) and seen[-1] == (2, 2)
    again = score(name, CELLS[::-1].reshape(2, 2, 6), SETTING, batch=batch(), make=make, cache=cache)
    assert len(make.cells) == drawn and np.array_equal(again.ravel()[::-1], found)
    alone = score(name, CELLS[3], SETTING, batch=batch(), make=Network)
    assert alone.shape == () and float(alone) == found[3]
    if PROXIES[name].draws:
        other = score(name, CELLS[3], Setting(**{**vars(SETTING), "seed": 4}), batch=batch(), make=Network)
        assert float(other) != found[3]


def test_a_cache_is_not_shared_between_settings() -> None:
    cache: Cache = {}
    one = score("synflow", CELLS[0], SETTING, make=Network, cache=cache)
    other = score("synflow", CELLS[0], Setting(**{**vars(SETTING), "size": 4}), make=Network, cache=cache)
    assert len(cache) == 2 and float(one) != float(other)


def test_networks_are_those_of_representatives() -> None:
    make = Counting()
    score("synflow", CELLS, SETTING, make=make)
    assert make.cells == [classes().cells[n].tolist() for n in np.unique(class_numbers(CELLS))]


def test_logarithms_as_published() -> None:
    assert as_published(PROXIES["synflow"], float(np.e)) == pytest.approx(1)
    assert as_published(PROXIES["snip"], 7.0) == 7.0
    assert np.isnan(as_published(PROXIES["jacov"], float("-inf")))
    assert float(score("synflow", [0] * 6, SETTING, make=Network)) == 0


def test_every_name_and_other_name_is_found() -> None:
    assert {get_proxy(name).name for name in (*PROXIES, *ALIASES)} == set(PROXIES)
    assert get_proxy("SynFlow").name == "synflow" and get_proxy("jacob-cov").name == "jacov"
    with pytest.raises(SpecError, match="did you mean 'snip'"):
        get_proxy("snipp")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"batch": None}, "give it one"),
        ({"batch": Batch(torch.zeros(4, 3, 8, 8), batch().labels)}, "but the network takes"),
        ({"batch": batch()._replace(labels=torch.tensor([0, 1, 3, 0]))}, "3 classes"),
        ({"batch": Batch(batch().images[:1], batch().labels[:1])}, "two images"),
    ],
)
def test_batches_that_do_not_fit_are_refused(change: dict[str, Any], said: str) -> None:
    with pytest.raises(SpecError, match=said):
        score("snip", CELLS, SETTING, **{"batch": batch(), "make": Network, **change})


@pytest.mark.parametrize("archs", [[1, 2, 3], [[0, 0, 0, 0, 0, 5]], [0.5] * 6, [-1] * 6, [["a"] * 6]])
def test_cells_of_other_spaces_are_refused(archs: Any) -> None:
    with pytest.raises(ArchError):
        score("synflow", archs, SETTING, make=Network)


@pytest.mark.parametrize(
    "wrong",
    [{"classes": 0}, {"size": 6}, {"size": "32"}, {"channels": 1.0}, {"cells": True}, {"seed": -1}, {"seed": 2**63}],
)
def test_networks_that_do_not_exist_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(SpecError, match=next(iter(wrong))):
        Setting(**wrong)


def test_the_benchmarks_networks_are_known_by_data_set() -> None:
    assert Setting.of("cifar100", seed=1) == Setting(100, 32, 3, 16, 5, 1)
    with pytest.raises(SpecError, match="did you mean 'cifar10'"):
        Setting.of("cifar")


@pytest.mark.real
@pytest.mark.parametrize(("name", "within"), [("nwot", 0.01), ("jacov", 0.25), ("synflow", 0.01)])
def test_scores_are_of_the_published_size(name: str, within: float, nb201_table: Table, shared_data: Path) -> None:
    """Another batch, other weights, other code: the same definition. Median over 3 cells of ours by theirs is 1."""
    with np.load(shared_data / "cifar10_jpeg_subset.npz") as file:
        images = torch.from_numpy(file["x_train"][:64]).float().permute(0, 3, 1, 2) / 255
        labels = torch.from_numpy(file["y_train"][:64].astype(np.int64).ravel())
    mean, sd = torch.tensor([0.491, 0.482, 0.447]), torch.tensor([0.247, 0.243, 0.262])
    x = Batch(((images - mean[:, None, None]) / sd[:, None, None]).contiguous(), labels)
    column = nb201_table.proxy(name, dataset="cifar10")
    cells = np.flatnonzero(np.isfinite(column))[:3]
    theirs = column[cells]
    ours = score(name, NB201().at(cells), batch=x, make=Network)
    assert np.median(ours / theirs) == pytest.approx(1, abs=within)
