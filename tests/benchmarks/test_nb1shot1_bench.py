"""What searching on the NAS-Bench-1Shot1 spaces costs, on the weight-sharing landscape of a made-up table.

Run with `pytest tests/benchmarks/test_nb1shot1_bench.py --benchmark-only --benchmark-enable`. No time is asserted.
"""

from __future__ import annotations

import time
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np
import pytest

from nasbench_sim.landscapes import Horizon, SharedWeightsLandscape, TabularLandscape
from nasbench_sim.searchers import methods
from nasbench_sim.tables.table import Table
from tests.nb1shot1 import VALID, space_of, synthetic

SEEDS = np.arange(256)
STEPS = 10

spaces = pytest.mark.parametrize("number", [1, 2, 3])


@lru_cache(maxsize=3)
def by_module(number: int) -> Table:
    """The made-up table in which, as in every real one, architectures that are one module have one number."""
    table, classes = synthetic(number), space_of(number).classes
    first = np.unique(classes, return_index=True)[1][classes]
    accuracy = {key: column[first] for key, column in table.accuracy.items()}
    return replace(table, accuracy=accuracy, sha256=f"{table.sha256}-by-module")


@spaces
@pytest.mark.parametrize("what", ["by module", "no two alike"])
@pytest.mark.benchmark(group="exact value and gradient of 256 searches, wall clock")
def test_value_and_gradient(benchmark: Any, number: int, what: str) -> None:
    """At most 150 us a seed-step on space 3."""
    space = space_of(number)
    land = TabularLandscape(by_module(number) if what == "by module" else synthetic(number), **VALID._asdict())
    random = np.random.default_rng(0)
    theta = np.zeros((len(SEEDS), space.D, space.K), dtype=np.float32)
    for d, count in enumerate(space.counts):
        theta[:, d, :count] = random.dirichlet(np.ones(count), len(SEEDS))
    loss, grad = benchmark.pedantic(land.loss_and_grad, args=(None, theta), rounds=15, warmup_rounds=2)
    assert np.allclose((theta * grad).sum(axis=2), loss[:, None], rtol=1e-4)  # Euler
    if benchmark.stats is not None:
        benchmark.extra_info["us_a_seed_step"] = benchmark.stats.stats.median / len(SEEDS) * 1e6


def start(method: str, number: int) -> tuple[Any, Any, Any, Any]:
    """A searcher, its landscape and the states of 256 seeds."""
    params = {"samples": 3} if method == "balenas" else {}
    searcher = methods()[method].make(**params)
    land = SharedWeightsLandscape(by_module(number), **VALID._asdict())
    return searcher, land, searcher.init(space_of(number), SEEDS, land.dtype), land.init(SEEDS, Horizon(50, 260))


@spaces
@pytest.mark.parametrize("method", ["darts", "balenas", "parsec"])
@pytest.mark.benchmark(group="one step of 256 searches, processor time", timer=time.process_time)
def test_one_step(benchmark: Any, method: str, number: int) -> None:
    searcher, land, state, shared = start(method, number)

    def steps() -> Any:
        nonlocal state, shared
        for _ in range(STEPS):
            state, shared, info = searcher.step(state, land, shared)
        return info

    info = benchmark.pedantic(steps, rounds=5, warmup_rounds=1)
    assert info.theta.shape == (len(SEEDS), space_of(number).D, space_of(number).K)
    if benchmark.stats is not None:
        benchmark.extra_info["us_a_seed_step"] = benchmark.stats.stats.median / STEPS / len(SEEDS) * 1e6


@spaces
@pytest.mark.benchmark(group="Hessian of 256 searches, processor time", timer=time.process_time)
def test_hessian(benchmark: Any, number: int) -> None:
    """What `darts` records at the end of every epoch."""
    searcher, land, state, shared = start("darts", number)
    hessian = benchmark.pedantic(searcher.hessian, args=(state, land, shared), rounds=3, warmup_rounds=1)
    assert hessian.shape[0] == len(SEEDS)
    assert np.allclose(hessian, np.swapaxes(hessian, 1, 2), atol=1e-8)  # entries of float32 up to 5e-4
    if benchmark.stats is not None:
        benchmark.extra_info["ms_a_seed"] = benchmark.stats.stats.median / len(SEEDS) * 1e3
