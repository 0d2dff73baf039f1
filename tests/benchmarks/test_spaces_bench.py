"""What hashing NAS-Bench-101 modules and contracting the NAS-Bench-1Shot1 spaces costs.

Run with `pytest tests/benchmarks/test_spaces_bench.py --benchmark-only --benchmark-enable`. No time is asserted.
"""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import pytest

from nasbench_sim.landscapes import Multilinear
from nasbench_sim.spaces import NB1Shot1
from nasbench_sim.spaces import nb1shot1 as nb1shot1_module
from nasbench_sim.spaces.md5 import md5
from nasbench_sim.spaces.nb101 import INPUT, MAX_VERTICES, OPS, OUTPUT, module_hash, on_a_path
from nasbench_sim.spaces.nb101_batch import module_hashes

RANDOM = np.random.default_rng(0)
MODULES = 20_000
MESSAGES = RANDOM.integers(48, 58, (65_536, 116), dtype=np.uint8)
SEEDS = 256


def random_modules(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Distinct modules of 7 vertices and at most 9 edges, all on a path: the costliest and commonest kind."""
    i, j = np.triu_indices(MAX_VERTICES, 1)
    bits = np.arange(2 ** len(i))[:, None] >> np.arange(len(i)) & 1
    bits = bits[bits.sum(axis=1) <= 9]
    every = np.zeros((len(bits), MAX_VERTICES, MAX_VERTICES), dtype=np.int8)
    every[:, i, j] = bits
    every = every[on_a_path(every).all(axis=1)]
    pick = RANDOM.choice(len(every) * 3**5, n, replace=False)
    labels = np.zeros((n, MAX_VERTICES), dtype=np.int8)
    labels[:, 1:-1] = (pick // len(every))[:, None] // 3 ** np.arange(5) % 3
    return every[pick % len(every)], labels


@pytest.fixture(scope="module")
def modules() -> tuple[np.ndarray, np.ndarray]:
    """20,000 random modules."""
    return random_modules(MODULES)


@pytest.mark.benchmark(group="20,000 modules of 7 vertices")
@pytest.mark.parametrize("how", ["together", "one by one"])
def test_hashes(benchmark: Any, modules: tuple[np.ndarray, np.ndarray], how: str) -> None:
    matrices, labels = modules
    names = [[INPUT, *(OPS[k] for k in row[1:-1]), OUTPUT] for row in labels]

    def one_by_one() -> np.ndarray:
        return np.array([module_hash(*module) for module in zip(matrices, names, strict=True)], dtype="S32")

    together = how == "together"
    out = benchmark(module_hashes, *modules) if together else benchmark.pedantic(one_by_one, rounds=1)
    assert out[::1000].tolist() == [module_hash(matrices[i], names[i]).encode() for i in range(0, MODULES, 1000)]
    if benchmark.stats is not None:
        benchmark.extra_info["hashes/s"] = round(MODULES / benchmark.stats.stats.median)


@pytest.mark.benchmark(group="md5 of 65,536 messages of 116 bytes")
@pytest.mark.parametrize("how", ["md5", "hashlib"])
def test_md5(benchmark: Any, how: str) -> None:
    def library() -> np.ndarray:
        digests = [hashlib.md5(row, usedforsecurity=False).digest() for row in MESSAGES]
        return np.frombuffer(b"".join(digests), dtype=np.uint8).reshape(-1, 16)

    out = benchmark(md5, MESSAGES) if how == "md5" else benchmark(library)
    assert out[-1].tobytes() == hashlib.md5(MESSAGES[-1]).digest()


@pytest.mark.benchmark(group="all hashes of a space")
@pytest.mark.parametrize("number", [1, 2, 3])
def test_space(benchmark: Any, number: int) -> None:
    out = benchmark.pedantic(nb1shot1_module._modules.__wrapped__, (number,), rounds=3)
    assert len(out.hashes) == {1: 2_685, 2: 7_773, 3: 55_854}[number]
    benchmark.extra_info["MB kept"] = round((out.classes.nbytes + out.hashes.nbytes) / 1e6, 1)


@pytest.mark.benchmark(group="value and gradient of 256 seeds")
@pytest.mark.parametrize("number", [1, 2, 3])
def test_value_and_gradient(benchmark: Any, number: int) -> None:
    space = NB1Shot1(number)
    form = Multilinear(RANDOM.random(tuple(space.counts), dtype=np.float32))
    theta = RANDOM.random((SEEDS, space.D, space.K), dtype=np.float32) * space.mask
    theta /= theta.sum(axis=-1, keepdims=True)
    value, grad = benchmark(form.value_and_grad, theta)
    assert np.allclose((theta[:, 1] * grad[:, 1]).sum(axis=-1), value, rtol=1e-4)  # linear in every row
    if benchmark.stats is not None:
        benchmark.extra_info["us a seed"] = round(benchmark.stats.stats.median / SEEDS * 1e6, 1)
