"""Real networks have the parameters and FLOPs of the published tables: all 15,625 cells, and thousands of modules."""

from __future__ import annotations

import csv
import gzip
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pytest
import torch

from gpu_validation.supernets.counting import Counts, count
from gpu_validation.supernets.counts import nb201_counts
from gpu_validation.supernets.nb101_network import NB101Network
from gpu_validation.supernets.nb201_network import NB201Network
from nasbench_sim.errors import NotMeasured
from nasbench_sim.spaces import NB201
from nasbench_sim.spaces.nb101 import parse_module
from nasbench_sim.tables.nb201_costs import FLOPS, PARAMS

from .nets import gen

SPACE = NB201()
#: classes, pixels and the columns' prefix in the public table
DATASETS = {"cifar10": (10, 32, "c10v"), "cifar100": (100, 32, "c100"), "ImageNet16-120": (120, 16, "in16")}
EDGES = ("e10", "e20", "e21", "e30", "e31", "e32")


class Costs(NamedTuple):
    """Per-unit costs: `base`, and what each (edge, operation) adds to it `[6, 5]`."""

    base: npt.NDArray[np.int64]
    adds: npt.NDArray[np.int64]

    def of(self, archs: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """`[A, 3]`: parameters, FLOPs as NATS-Bench, as the first NAS-Bench-201."""
        return self.base + self.adds[np.arange(6), archs].sum(axis=1)


def measured(arch: npt.ArrayLike, dataset: str) -> npt.NDArray[np.int64]:
    """Counted on the real network while it runs."""
    classes, pixels, _ = DATASETS[dataset]
    found: Counts = count(NB201Network(arch, classes=classes, generator=gen()), (3, pixels, pixels))
    return np.array([found.parameters, found.nats, found.nb201])


@pytest.fixture(scope="module", params=DATASETS)
def dataset(request: pytest.FixtureRequest) -> str:
    """Each data set."""
    return str(request.param)


@pytest.fixture(scope="module")
def costs(dataset: str) -> Costs:
    """Measured with no operation, and with each of the others on each edge alone."""
    base = measured([0] * 6, dataset)
    adds = np.zeros((6, 5, 3), dtype=np.int64)
    for edge in range(6):
        for op in range(1, 5):
            adds[edge, op] = measured(np.eye(6, dtype=np.int64)[edge] * op, dataset) - base
    return Costs(base, adds)


def test_costs_are_additive(costs: Costs, dataset: str) -> None:
    archs = np.random.Generator(np.random.Philox(key=1)).integers(5, size=(20, 6))
    assert np.array_equal(costs.of(archs), [measured(arch, dataset) for arch in archs])


def test_analytic_costs_of_all_cells(costs: Costs, dataset: str) -> None:
    """The vectorised costs of all 15,625 cells are what the networks measure, under both conventions of FLOPs."""
    found = nb201_counts(SPACE, dataset)
    assert all(column.dtype == np.int64 and column.shape == (15625,) for column in found)
    assert np.array_equal(np.stack(found, axis=1), costs.of(SPACE.all))


def test_costs_of_another_data_set() -> None:
    for a, b in zip(nb201_counts(SPACE, "cifar10-valid"), nb201_counts(SPACE, "cifar10"), strict=True):
        assert np.array_equal(a, b)
    with pytest.raises(NotMeasured, match="did you mean 'cifar10'"):
        nb201_counts(SPACE, "cifar_10")


def test_costs_are_those_of_the_package(costs: Costs, dataset: str) -> None:
    """And so of `nasbench_sim`'s own tables, which are made from these numbers."""
    for column, formula in ((0, PARAMS[dataset]), (1, FLOPS[dataset])):
        base, one, three = (round(v * 1e6) for v in formula)
        archs = SPACE.all
        expected = base + one * (archs == 2).sum(axis=1) + three * (archs == 3).sum(axis=1)
        assert np.array_equal(costs.of(archs)[:, column], expected)


@pytest.fixture(scope="module")
def rows(shared_data: Path) -> list[dict[str, str]]:
    """The public table of NAS-Bench-201."""
    with gzip.open(shared_data / "nb201_200ep.csv.gz", "rt") as file:
        return list(csv.DictReader(file))


def test_costs_are_the_tabulated_ones_of_all_cells(rows: list[dict[str, str]], costs: Costs, dataset: str) -> None:
    archs = np.array([[int(row[e]) for e in EDGES] for row in rows])
    assert np.array_equal(archs, SPACE.all)
    prefix = DATASETS[dataset][2]
    analytic = nb201_counts(SPACE, dataset)
    for column, name in ((0, "params_m"), (2, "flops_m")):
        tabulated = np.array([float(row[f"{prefix}_{name}"]) for row in rows]) * 1e6
        assert np.abs(tabulated - tabulated.round()).max() < 1e-6  # whole numbers
        whole = tabulated.round().astype(np.int64)
        assert np.array_equal(costs.of(archs)[:, column], whole)
        assert np.array_equal(analytic[column], whole)


def test_a_network_without_numbers_costs_the_same() -> None:
    arch = [3, 2, 4, 1, 0, 3]
    found = count(NB201Network(arch, channels=4, cells=1, classes=3, generator=None), (3, 8, 8))
    assert found == count(NB201Network(arch, channels=4, cells=1, classes=3, generator=gen()), (3, 8, 8))


def every_graph(shared_data: Path) -> dict[str, tuple[str, int]]:
    """`vertices:bits` of each graph in the public sample -> (module, parameters) of its first row."""
    seen: dict[str, tuple[str, int]] = {}
    with gzip.open(shared_data / "nb101_sample_108ep.csv.gz", "rt") as file:
        header = file.readline().rstrip("\n").split(",")
        arch, parameters = header.index("arch"), header.index("params")
        for line in file:
            row = line.split(",", parameters + 1)  # not the 24 columns behind
            graph = row[arch].rpartition(":")[0]
            if graph not in seen:
                seen[graph] = row[arch], int(row[parameters])
    return seen


def test_parameters_of_nas_bench_101(shared_data: Path) -> None:
    """One network of each of the 2,490 graphs; `nasbench_sim` compares its formula with all 151,644 modules."""
    graphs = every_graph(shared_data)
    sizes = {(key.split(":")[0], key.count("1", 2)) for key in graphs}
    assert (len(graphs), len(sizes)) == (2490, 20)  # 20 pairs (vertices, edges): all that the file has
    wrong = []
    for text, parameters in graphs.values():
        found = sum(p.numel() for p in NB101Network(*parse_module(text), generator=None).parameters())
        if found != parameters:
            wrong.append((text, found, parameters))
    assert wrong == []


def test_a_module_runs_at_its_full_size() -> None:
    net = NB101Network(*parse_module("7:110100100001100100101:i3pp31o"), generator=None).eval()
    assert net(torch.empty(2, 3, 32, 32, device="meta")).shape == (2, 10)
