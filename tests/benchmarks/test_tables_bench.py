"""What opening and asking a table costs, beside the official nats_bench on its own three architectures.

Run with `pytest tests/benchmarks --benchmark-only --benchmark-enable`. No time is asserted; rates are in extra_info.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nasbench_sim.tables.store import read_table, write_table
from nasbench_sim.tables.table import Table

TEST: dict[str, Any] = {"dataset": "cifar10", "split": "test", "epochs": 200, "seed": "mean"}
SLICES = (0, 11, 284)
LOOKUPS = 1_000_000

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def file(nb201_table: Table, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bench") / "nb201.h5"
    write_table(nb201_table, path)
    return path


@pytest.fixture(scope="module")
def official(shared_data: Path) -> Any:
    """nats_bench 1.8 on its own sample files. It unpickles them, so only ever give it files you trust."""
    nats_bench = pytest.importorskip("nats_bench")
    path = shared_data / "nats_tss_sample" / "NATS-tss-v1_0-3ffb9-simple"
    return nats_bench.create(str(path), "tss", fast_mode=True, verbose=False)


def official_accuracy(api: Any, index: int) -> float:
    return float(api.get_more_info(index, "cifar10", hp="200", is_random=False)["test-accuracy"])


@pytest.mark.benchmark(group="open")
def test_open_nb201(benchmark: Any, file: Path) -> None:
    table = benchmark(read_table, file)
    benchmark.extra_info["bytes"] = file.stat().st_size
    assert len(table.accuracy) == 33


@pytest.mark.benchmark(group="one lookup")
@pytest.mark.parametrize("by", ["string", "index"])
def test_handle(benchmark: Any, nb201_table: Table, by: str) -> None:
    handle = nb201_table.handle(**TEST)
    arch = 9930 if by == "index" else nb201_table.space.format(nb201_table.space.at(9930))
    assert benchmark(handle, arch) == pytest.approx(94.36, abs=0.005)


@pytest.mark.benchmark(group="one lookup")
def test_query(benchmark: Any, nb201_table: Table) -> None:
    assert benchmark(lambda: nb201_table.query(9930, **TEST)) == pytest.approx(94.36, abs=0.005)


@pytest.mark.benchmark(group="a million lookups")
def test_gather(benchmark: Any, nb201_table: Table) -> None:
    handle = nb201_table.handle(**TEST)
    indices = np.random.default_rng(0).integers(0, nb201_table.space.size, LOOKUPS)
    out = benchmark(handle.gather, indices)
    np.testing.assert_array_equal(out, nb201_table.values(**TEST)[indices])
    if benchmark.stats is not None:
        benchmark.extra_info["million lookups/s"] = round(LOOKUPS / benchmark.stats.stats.median / 1e6)


@pytest.mark.benchmark(group="beside nats_bench")
def test_ours_on_the_three_architectures(benchmark: Any, nb201_table: Table) -> None:
    handle = nb201_table.handle(**TEST)
    strings = [nb201_table.space.format(nb201_table.space.at(i)) for i in SLICES]
    benchmark(lambda: [handle(s) for s in strings])


@pytest.mark.benchmark(group="beside nats_bench")
def test_nats_bench_on_the_three_architectures(benchmark: Any, official: Any) -> None:
    for index in SLICES:
        official_accuracy(official, index)  # warm: the files are read on the first question
    benchmark(lambda: [official_accuracy(official, i) for i in SLICES])


@pytest.mark.parametrize("index", SLICES)
def test_both_give_the_same_accuracy(nb201_table: Table, official: Any, index: int) -> None:
    assert nb201_table.query(index, **TEST) == pytest.approx(official_accuracy(official, index), abs=1e-4)
    cell = official.arch(index)
    assert nb201_table.query(cell, **TEST) == nb201_table.query(index, **TEST)
