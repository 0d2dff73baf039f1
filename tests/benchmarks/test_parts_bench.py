"""The choices that docstrings and docs/decisions.md give figures for, each beside what it was chosen over.

pytest tests/benchmarks/test_parts_bench.py --benchmark-enable --benchmark-only
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from nasbench_sim.landscapes import multilinear
from nasbench_sim.landscapes.gemm import Plan
from nasbench_sim.landscapes.multilinear import Multilinear, over_options
from nasbench_sim.streams import Streams

RANDOM = np.random.default_rng(0)
TENSOR = RANDOM.random((5,) * 6, dtype=np.float32)
THETA = RANDOM.dirichlet(np.ones(5), (1000, 6)).astype(np.float32)


@pytest.mark.parametrize("plan", [Plan(8, 0), Plan(0, 64), Plan(0, 16)], ids=["margin 8", "blocks 64", "blocks 16"])
@pytest.mark.benchmark(group="value and gradient of 1,000 seeds, by GEMM plan")
def test_gemm_plan(benchmark: Any, plan: Plan) -> None:
    form = Multilinear(TENSOR)
    expected = form.value_and_grad(THETA)[0]
    form.__dict__["_gemm"] = form._gemm._replace(plan=plan)  # what the cached property keeps
    assert np.allclose(benchmark(form.value_and_grad, THETA)[0], expected, rtol=1e-5)


@pytest.mark.parametrize("chunk", [128, 256, 1024])
@pytest.mark.benchmark(group="value and gradient of 1,000 seeds, by chunk")
def test_chunk(benchmark: Any, monkeypatch: pytest.MonkeyPatch, chunk: int) -> None:
    form = Multilinear(TENSOR)
    expected = form.value_and_grad(THETA)[0]
    monkeypatch.setattr(multilinear, "CHUNK", chunk)
    assert np.allclose(benchmark(form.value_and_grad, THETA)[0], expected, rtol=1e-5)


@pytest.mark.parametrize("how", ["gathers", "gathers, 128 rows", "gemm"])
@pytest.mark.benchmark(group="two points a decision, 3,200 cells")
def test_two_point(benchmark: Any, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    form, n = Multilinear(TENSOR), 3200
    options, other, own = RANDOM.integers(0, 5, (n, 6)), np.zeros(6, dtype=np.int64), RANDOM.random((n, 6), np.float32)
    theta = np.eye(5, dtype=np.float32)[options] * own[..., None]
    theta[..., 0] += 1 - own
    expected = form.value_and_grad(theta)[0]
    if how == "gemm":
        value = benchmark(form.value_and_grad, theta)[0]
    else:
        monkeypatch.setattr(multilinear, "GATHER", 128 if "128" in how else multilinear.GATHER)
        value = benchmark(form.two_point, options, own, other)
    assert np.allclose(value, expected, rtol=1e-4)


@pytest.mark.parametrize("how", ["over_options", "sum"])
@pytest.mark.benchmark(group="sum over 5 options of 500 x 6 decisions")
def test_over_options(benchmark: Any, how: str) -> None:
    x = THETA[:500]
    out = benchmark(over_options if how == "over_options" else lambda a: a.sum(axis=-1, keepdims=True), x)
    assert np.allclose(out, 1, atol=1e-5)


@pytest.mark.parametrize("how", ["streams", "ziggurat"])
@pytest.mark.benchmark(group="136 steps of 30 normals for 500 seeds")
def test_normals(benchmark: Any, how: str) -> None:
    streams, generator = Streams(range(500)), np.random.Generator(np.random.Philox(0))
    block = iter(range(10**9))

    def draw() -> Any:
        if how == "streams":  # one step of a new block makes the whole block
            return streams.normal("p", 136 * next(block), (30,))
        return generator.standard_normal((500, 136 * 30), dtype=np.float32)

    assert abs(float(benchmark(draw).mean())) < 0.1
