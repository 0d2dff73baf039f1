"""How fast searches are: exact calculus, one step of each method, whole runs on all cores.

    pytest tests/benchmarks --benchmark-enable --benchmark-only

Without `--benchmark-enable` each runs once, small, as a test. Times are never asserted.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest

from nasbench_sim.landscapes import Horizon, Landscape, Multilinear, SharedWeightsLandscape, TabularLandscape
from nasbench_sim.runs import make_spec, search_all
from nasbench_sim.runs.search import cores
from nasbench_sim.searchers import methods
from tests.searchers.helpers import NAMES
from tests.synthetic import SPACE, VALID, synthetic_table

TABLE = synthetic_table()
SEEDS = 1000
FLOP = 2 * 2 * 125 * 125  # the two GEMMs of one seed's value and gradient


def gemm_peak(dtype: str) -> float:
    """GFLOP/s of this machine's own matrix product, 1024 x 1024, best of ten."""
    a = np.random.default_rng(0).random((1024, 1024)).astype(dtype)
    best = np.inf
    for _ in range(10):
        began = time.perf_counter()
        a @ a
        best = min(best, time.perf_counter() - began)
    return float(2 * 1024**3 / best / 1e9)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.benchmark(group="exact value and gradient over 15,625 cells")
def test_exact_value_and_gradient(benchmark: Any, dtype: str) -> None:
    random = np.random.default_rng(0)
    form = Multilinear(random.random((5,) * 6).astype(dtype))
    theta = random.dirichlet(np.ones(5), (SEEDS, 6)).astype(dtype)
    value, _ = benchmark(form.value_and_grad, theta)
    assert value.shape == (SEEDS,)
    if benchmark.enabled:
        seconds = benchmark.stats.stats.median
        benchmark.extra_info["us_a_seed_step"] = seconds / SEEDS * 1e6
        benchmark.extra_info["gflops"] = SEEDS * FLOP / seconds / 1e9
        benchmark.extra_info["gemm_peak_gflops"] = gemm_peak(dtype)


@pytest.mark.benchmark(group="exact value and gradient over 15,625 cells")
def test_plain_numpy_prototype_for_comparison(benchmark: Any) -> None:
    """The same sums as one einsum a gradient half, seeds first, no chunks: what one would write first."""
    random = np.random.default_rng(0)
    tensor = random.random((5,) * 6).astype("float32")
    theta = random.dirichlet(np.ones(5), (SEEDS, 6)).astype("float32")

    def prototype() -> tuple[Any, Any]:
        t = [theta[:, d] for d in range(6)]
        a = np.einsum("si,sj,sk->sijk", *t[:3]).reshape(SEEDS, 125)
        b = np.einsum("si,sj,sk->sijk", *t[3:]).reshape(SEEDS, 125)
        u = (b @ tensor.reshape(125, 125).T).reshape(SEEDS, 5, 5, 5)
        v = (a @ tensor.reshape(125, 125)).reshape(SEEDS, 5, 5, 5)
        grads = [
            np.einsum(f"sijk,{rows}->s{k}", x, *(t[first + o] for o in others))
            for first, x in ((0, u), (3, v))
            for k, rows, others in (("i", "sj,sk", (1, 2)), ("j", "si,sk", (0, 2)), ("k", "si,sj", (0, 1)))
        ]
        return np.einsum("sk,sk->s", t[0], grads[0]), np.stack(grads, axis=1)

    value, grad = benchmark(prototype)
    ours = Multilinear(tensor).value_and_grad(theta)
    assert np.allclose(value, ours[0], rtol=1e-4) and np.allclose(grad, ours[1], rtol=1e-4)


def landscape(kind: str) -> Landscape:
    where = VALID._asdict()
    return TabularLandscape(TABLE, **where) if kind == "tabular" else SharedWeightsLandscape(TABLE, **where)


@pytest.mark.parametrize("kind", ["tabular", "shared"])
@pytest.mark.parametrize("method", NAMES)
@pytest.mark.benchmark(group="one step of 500 searches in one process")
def test_one_step(benchmark: Any, method: str, kind: str) -> None:
    land = landscape(kind)
    seeds = np.arange(500)
    searcher = methods()[method].make()
    state, shared = searcher.init(SPACE, seeds, land.dtype), land.init(seeds, Horizon(50, 391))

    def steps() -> Any:
        nonlocal state, shared
        for _ in range(50):
            state, shared, info = searcher.step(state, land, shared)
        return info

    info = benchmark.pedantic(steps, rounds=8, warmup_rounds=1)
    assert info.theta.shape == (500, 6, 5)
    if benchmark.enabled:
        benchmark.extra_info["us_a_seed_step"] = benchmark.stats.stats.median / 50 / len(seeds) * 1e6


@pytest.mark.parametrize("method", ["darts", "balenas"])
@pytest.mark.benchmark(group="50 epochs x 391 steps, 1,000 seeds, shared landscape, all cores")
def test_whole_run(benchmark: Any, method: str) -> None:
    """Targets on 2 cores: DARTS 90 s, BaLeNAS with M = 3 240 s."""
    epochs, seeds = (50, SEEDS) if benchmark.enabled else (1, 8)
    spec = make_spec(
        method=method, table="synthetic", dataset="cifar10", landscape="shared", seeds=seeds, epochs=epochs
    )

    def run() -> Any:
        return next(iter(search_all([spec], TABLE, folders=[None], on_tick=lambda _: None)))[1]

    done = benchmark.pedantic(run, rounds=1)
    assert done.archs.shape == (seeds, 6)
    if benchmark.enabled:
        benchmark.extra_info["cores"] = cores()
        benchmark.extra_info["core_us_a_seed_step"] = done.seconds / (seeds * epochs * 391) * 1e6
