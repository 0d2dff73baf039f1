"""Zero-cost proxies and hardware costs of nb201: against their files, published figures, and the cells themselves."""

from __future__ import annotations

import csv
import gzip
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import rankdata, spearmanr

from nasbench_sim.errors import NotMeasured
from nasbench_sim.spaces import NB201
from nasbench_sim.tables.nb201_optional import ENERGY_DEVICES, LATENCY_DEVICES, PROXY_NAMES
from nasbench_sim.tables.nb201_sources import HARDWARE, PROXIES
from nasbench_sim.tables.table import Table

SPACE = NB201()
PREFIX = {"cifar10": "c10", "cifar100": "c100", "ImageNet16-120": "in16"}
WITH_PROXIES = ("cifar10", "ImageNet16-120")
ALL_NONE = 1651
NOT_FINITE = ("epe_nas", "jacov", "nwot", "zen")
Columns = dict[str, np.ndarray]


def columns(path: Path) -> Columns:
    with gzip.open(path, "rt") as file:
        rows = list(csv.DictReader(file))
    return {n: np.array([float(r[n]) for r in rows]) for n in rows[0] if n != "arch"}


@pytest.fixture(scope="module")
def proxies(shared_data: Path) -> Columns:
    return columns(shared_data / PROXIES.file)


@pytest.fixture(scope="module")
def hardware(shared_data: Path) -> Columns:
    return columns(shared_data / HARDWARE.file)


# --- proxies --------------------------------------------------------------------------------------------------------


def every_operation_counts(cell: list[int]) -> bool:
    """Whether every operation other than none (0) lies on a path from node 0 to node 3; by walking all paths."""
    edges = dict(zip(((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3)), cell, strict=True))
    paths = ([0, 3], [0, 1, 3], [0, 2, 3], [0, 1, 2, 3])
    steps = [list(pairwise(p)) for p in paths]
    on_a_path = {e for s in steps if all(edges[e] for e in s) for e in s}
    return all(e in on_a_path for e, operation in edges.items() if operation)


@pytest.mark.real
@pytest.mark.parametrize("dataset", WITH_PROXIES)
def test_the_cells_with_proxies_are_those_without_dead_operations(nb201_table: Table, dataset: str) -> None:
    expected = np.array([every_operation_counts(cell) for cell in SPACE.all.tolist()])
    assert int(expected.sum()) == 9_445
    assert nb201_table.proxies(dataset) == sorted([*PROXY_NAMES, "synflow-mean"])
    for name in PROXY_NAMES:
        computed = ~np.isnan(nb201_table.proxy(name, dataset=dataset))
        assert np.flatnonzero(computed != expected).tolist() == ([ALL_NONE] if name in NOT_FINITE else []), name


@pytest.mark.real
@pytest.mark.parametrize("dataset", WITH_PROXIES)
@pytest.mark.parametrize("name", PROXY_NAMES)
def test_every_proxy_is_its_files_in_the_same_order(
    nb201_table: Table, proxies: Columns, dataset: str, name: str
) -> None:
    theirs = proxies[f"{PREFIX[dataset]}_{name}"]
    ours = nb201_table.proxy(name, dataset=dataset)[proxies["index"].astype(np.int64)]
    scored = theirs != -1e8
    np.testing.assert_array_equal(np.isnan(ours), ~scored)
    np.testing.assert_allclose(ours[scored], theirs[scored], rtol=3e-7)  # nearest float32, moved by two steps at most
    np.testing.assert_array_equal(rankdata(ours[scored]), rankdata(theirs[scored]))


@pytest.mark.real
def test_rounding_alone_would_tie_scores(proxies: Columns) -> None:
    """Why `in_order` exists: 255 of the 245,562 scores would fall on a neighbour."""
    lost = scored = 0
    for dataset in WITH_PROXIES:
        for name in PROXY_NAMES:
            theirs = proxies[f"{PREFIX[dataset]}_{name}"]
            scored += int((theirs != -1e8).sum())
            lost += len(np.unique(theirs)) - len(np.unique(theirs.astype(np.float32)))
    assert (lost, scored) == (255, 245_562)


@pytest.mark.real
def test_argmax_of_the_proxies(nb201_table: Table) -> None:
    for dataset in WITH_PROXIES:  # all conv3x3
        assert int(np.nanargmax(nb201_table.proxy("synflow", dataset=dataset))) == 1_462
    for name in ("snip", "grad_norm", "grasp", "fisher"):
        assert int(np.nanargmax(nb201_table.proxy(name, dataset="cifar10"))) == 4_992


@pytest.mark.real
@pytest.mark.parametrize(
    ("dataset", "name", "rho"),
    [
        ("cifar10", "synflow", 0.734),
        ("cifar10", "jacov", 0.830),
        ("cifar10", "nwot", 0.794),
        ("cifar10", "params", 0.741),
        ("cifar10", "flops", 0.707),
        ("cifar10", "snip", 0.545),
        ("cifar10", "grad_norm", 0.543),
        ("cifar10", "grasp", 0.489),
        ("cifar10", "fisher", 0.493),
        ("cifar10", "zen", 0.101),
        ("cifar10", "plain", -0.369),
        ("ImageNet16-120", "synflow", 0.710),
        ("ImageNet16-120", "jacov", 0.784),
        ("ImageNet16-120", "nwot", 0.786),
    ],
)
def test_rank_correlation_with_the_accuracy(nb201_table: Table, dataset: str, name: str, rho: float) -> None:
    proxy = nb201_table.proxy(name, dataset=dataset)
    valid = nb201_table.values(dataset=dataset, split="valid", epochs=200, seed="mean")
    there = ~np.isnan(proxy)
    assert spearmanr(proxy[there], valid[there]).statistic == pytest.approx(rho, abs=5e-4)


@pytest.mark.real
def test_synflow_is_a_logarithm(nb201_table: Table) -> None:
    """The largest would be e^115 = 1e50; and of the cell without any operation, whose score is 0, it is 0."""
    column = nb201_table.proxy("synflow", dataset="cifar10")
    assert column[ALL_NONE] == 0
    assert 114 < np.nanmax(column) < 116


@pytest.mark.real
@pytest.mark.parametrize("dataset", WITH_PROXIES)
def test_params_of_the_proxies_are_the_formulas(nb201_table: Table, dataset: str) -> None:
    """Two sources and a formula agree on what each row is: no row is another cell's."""
    theirs = nb201_table.proxy("params", dataset=dataset)
    there = ~np.isnan(theirs)
    ours = nb201_table.metric("params_m", dataset=dataset)
    np.testing.assert_allclose(theirs[there], ours[there], rtol=1e-6)


@pytest.mark.real
def test_no_proxies_on_cifar100_and_why(nb201_table: Table) -> None:
    with pytest.raises(NotMeasured) as caught:
        nb201_table.proxy("synflow", dataset="cifar100")
    assert "Known: synflow-mean (for data set cifar100); the source computed" in str(caught.value)
    assert any("9,445 cells" in note for note in nb201_table.extra["notes"])


# --- hardware -------------------------------------------------------------------------------------------------------


@pytest.mark.real
@pytest.mark.parametrize("dataset", PREFIX)
def test_every_hardware_cost_is_its_files(nb201_table: Table, hardware: Columns, dataset: str) -> None:
    names = {
        **{f"latency_ms/{d}": f"{d}_latency" for d in LATENCY_DEVICES},
        **{f"energy_mj/{d}": f"{d}_energy" for d in ENERGY_DEVICES},
        "arithmetic_intensity/eyeriss": "eyeriss_arithmetic_intensity",
    }
    assert {n for n, d in nb201_table.metrics if d == dataset and "/" in n and "proxy" not in n} == set(names)
    for ours, theirs in names.items():
        expected = hardware[f"{PREFIX[dataset]}_{theirs}"].astype(np.float32)
        expected[expected == -1] = np.nan
        np.testing.assert_array_equal(nb201_table.metric(ours, dataset=dataset, missing="nan"), expected)
        holes = int(np.isnan(expected).sum())
        assert holes == (4_699 if ours == "latency_ms/edgetpu" else 0)


@pytest.mark.real
def test_the_first_cell_is_as_published(nb201_table: Table) -> None:
    """The README of HW-NAS-Bench prints cell 0 on cifar10, with units."""
    published = {
        "latency_ms/edgegpu": 5.807418537139893,
        "energy_mj/edgegpu": 24.226614330768584,
        "latency_ms/raspi4": 10.481976820010459,
        "latency_ms/edgetpu": 0.9571811309997429,
        "latency_ms/pixel3": 3.60585,
        "latency_ms/eyeriss": 3.645620000000001,
        "energy_mj/eyeriss": 0.6872827644999999,
        "latency_ms/fpga": 2.57296,
        "energy_mj/fpga": 18.01072,
    }
    for name, value in published.items():
        found = nb201_table.metric(name, dataset="cifar10", missing="nan")[0]
        assert found == pytest.approx(value, rel=1e-6)


@pytest.mark.real
def test_the_edge_tpu_cannot_be_asked_without_saying_so(nb201_table: Table) -> None:
    with pytest.raises(NotMeasured, match="exists for 10926 of 15625"):
        nb201_table.metric("latency_ms/edgetpu", dataset="cifar10")
