"""SynFlow of a NAS-Bench-201 network: forward only against by differentiation, and the mean of many cells at once.

`pytest tests/benchmarks/test_proxies_bench.py --benchmark-enable --benchmark-only`
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch
from pytest_benchmark.fixture import BenchmarkFixture

from gpu_validation.proxies.graph import classes
from gpu_validation.proxies.score import Setting, draw
from gpu_validation.proxies.synflow import synflow, synflow_forward
from gpu_validation.proxies.synflow_mean import synflow_mean
from tests.gpu_validation.proxies.networks import Network

SETTING = Setting()


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def test_forward_is_three_times_as_fast_as_differentiating(benchmark: BenchmarkFixture) -> None:
    """Paired, on the cell with the most weights and one of two 1x1 convolutions; the median of 5 ratios of each."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        ratios = {}
        for name, cell in (("six 3x3", [3] * 6), ("two 1x1", [4, 2, 1, 2, 1, 1])):
            network = draw(cell, SETTING, Network)
            pairs = [
                (
                    seconds(lambda n=network: synflow(n, SETTING.shape)),  # type: ignore[misc]
                    seconds(lambda n=network: synflow_forward(n, SETTING.shape)),  # type: ignore[misc]
                )
                for _ in range(6)
            ][1:]
            ratios[name] = statistics.median(a / b for a, b in pairs)
        benchmark.extra_info.update(ratios)
        benchmark.pedantic(synflow_forward, args=(network, SETTING.shape), rounds=3)
        assert not benchmark.enabled or min(ratios.values()) > 2, ratios
    finally:
        torch.set_num_threads(threads)


def test_mean_of_256_cells(benchmark: BenchmarkFixture) -> None:
    cells = classes().cells[:256]
    benchmark.pedantic(synflow_mean, args=(cells,), rounds=2)
    benchmark.extra_info["cells"] = len(cells)
