"""What searching on the NAS-Bench-1Shot1 spaces costs, on the weight-sharing landscape of a made-up table.

Run with `pytest tests/benchmarks/test_nb1shot1_bench.py --benchmark-only --benchmark-enable`. No time is asserted.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest

from nasbench_sim.landscapes import Horizon, SharedWeightsLandscape
from nasbench_sim.searchers import methods
from tests.nb1shot1 import VALID, space_of, synthetic

SEEDS = np.arange(256)
STEPS = 10

spaces = pytest.mark.parametrize("number", [1, 2, 3])


def start(method: str, number: int) -> tuple[Any, Any, Any, Any]:
    """A searcher, its landscape and the states of 256 seeds."""
    params = {"samples": 3} if method == "balenas" else {}
    searcher = methods()[method].make(**params)
    land = SharedWeightsLandscape(synthetic(number), **VALID._asdict())
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
