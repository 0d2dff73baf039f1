"""Where the time of a controller step of ENAS goes, and what its choices were made over.

pytest tests/benchmarks/test_controller_bench.py --benchmark-enable --benchmark-only

At the published size; a controller step comes every 7.8 weight steps, so that 100 us a seed are 13 us a seed-step.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from nasbench_sim.landscapes import Horizon, SharedWeightsLandscape
from nasbench_sim.searchers import controller as module
from nasbench_sim.searchers import enas
from nasbench_sim.searchers.controller import Controller
from nasbench_sim.searchers.enas import AHEAD, CHUNK, ControllerSearcher
from nasbench_sim.searchers.lstm import UNITS, forward
from nasbench_sim.streams import Streams
from tests.synthetic import SPACE, VALID, synthetic_table

CONTROLLER, LEARN = Controller(), 20
SHAPE = (CHUNK, LEARN + AHEAD, SPACE.D)
W = CONTROLLER.init(Streams(range(CHUNK)), SPACE.K, np.float32)
UNIFORM = Streams(range(CHUNK)).uniform("bench", 0, SHAPE[1:])
ON = Streams(range(CHUNK)).normal("bench", 0, (2, LEARN))


def note(benchmark: Any, seeds: int, steps: float = 1, flop: float = 0) -> None:
    if benchmark.enabled:
        seconds = benchmark.stats.stats.median / seeds / steps
        benchmark.extra_info["us_a_seed"] = seconds * 1e6
        if flop:
            benchmark.extra_info["gflops"] = flop / seconds / 1e9


@pytest.mark.parametrize("part", ["write", "gradient", "write and gradient"])
@pytest.mark.parametrize("how", ["as it is", "a row a cell", "a new tape"])
@pytest.mark.benchmark(group="write 28 cells and learn from 20, 25 seeds")
def test_write_and_learn(benchmark: Any, monkeypatch: pytest.MonkeyPatch, how: str, part: str) -> None:
    expected = CONTROLLER.write(W, UNIFORM, SPACE.mask, CONTROLLER.tape(SHAPE, SPACE.K, np.float32, LEARN))
    if how == "a row a cell":
        monkeypatch.setattr(module, "prefixes", lambda cells, decisions, options: [1])
    tape = CONTROLLER.tape(SHAPE, SPACE.K, np.float32, LEARN)
    trace = CONTROLLER.write(W, UNIFORM, SPACE.mask, tape)

    def write() -> Any:
        used = CONTROLLER.tape(SHAPE, SPACE.K, np.float32, LEARN) if how == "a new tape" else tape
        return CONTROLLER.write(W, UNIFORM, SPACE.mask, used)

    def both() -> Any:
        return CONTROLLER.gradient(W, write(), SPACE.mask, ON[:, 0], ON[:, 1])

    def gradient() -> Any:
        return CONTROLLER.gradient(W, trace, SPACE.mask, ON[:, 0], ON[:, 1])

    g = benchmark({"write": write, "gradient": gradient, "write and gradient": both}[part])
    note(benchmark, CHUNK)
    if part != "write":
        assert np.allclose(g, CONTROLLER.gradient(W, expected, SPACE.mask, ON[:, 0], ON[:, 1]), rtol=1e-3, atol=1e-4)


@pytest.mark.benchmark(group="write 28 cells and learn from 20, 25 seeds")
def test_the_products_alone(benchmark: Any) -> None:
    """What no choice of layout takes away: the matrix products of a step, on memory that is ready for them."""
    random, h, s = np.random.default_rng(0), CONTROLLER.hidden, CHUNK

    def make(*shape: int) -> Any:
        return random.random(shape, dtype=np.float32)

    rows = 1 + SPACE.K + (SPACE.D - 2) * LEARN
    products = []
    for width in (h + 3 + SPACE.K, 2 * h + 2):
        by_gate, back, dz = make(s, 4, width, h), make(s, h, 4 * h).swapaxes(1, 2), make(s, rows, 4 * h)
        inputs = make(s, rows + AHEAD * SPACE.D, width)
        products += [(inputs[:, None, :n], by_gate) for n in (1, SPACE.K, *[LEARN + AHEAD] * (SPACE.D - 2))]
        products += [(dz[:, :n], back) for n in (SPACE.K, *[LEARN] * (SPACE.D - 2))]
        products.append((inputs[:, :rows].swapaxes(1, 2), dz))
    products.append((dz, back))  # from the second layer to the first
    out = [a @ b for a, b in products]
    flop = sum(2 * x[0].size * a.shape[-1] for x, (a, _) in zip(out, products, strict=True))
    assert 7.2e6 < flop < 7.8e6

    def run() -> None:
        for (a, b), to in zip(products, out, strict=True):
            np.matmul(a, b, out=to)

    benchmark(run)
    note(benchmark, s, flop=flop)


@pytest.mark.parametrize("how", ["units first", "side by side"])
@pytest.mark.benchmark(group="one LSTM cell but for its product, 28 rows, 25 seeds")
def test_gates(benchmark: Any, how: str) -> None:
    z = np.random.default_rng(0).normal(size=(UNITS, CHUNK, 28, 32)).astype(np.float32)
    before, half = np.zeros((CHUNK, 28, 32), np.float32), np.float32(0.5)
    beside = np.ascontiguousarray(z[:4].transpose(1, 2, 0, 3)).reshape(CHUNK, 28, 128)

    def side_by_side() -> Any:
        gates = np.tanh(beside)
        sigmoids = gates[..., :96]
        sigmoids *= half
        sigmoids += half
        memory = gates[..., 64:96] * before + gates[..., 32:64] * gates[..., 96:]
        return memory, gates[..., :32] * np.tanh(memory)

    def units_first() -> Any:
        scratch = z.copy()
        return forward(scratch, before), scratch[6]

    expected, got = units_first(), benchmark(side_by_side if how == "side by side" else units_first)
    note(benchmark, CHUNK)
    assert all(np.allclose(a, b, atol=1e-6) for a, b in zip(expected, got, strict=True))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.benchmark(group="Adam of 25 controllers")
def test_adam(benchmark: Any, dtype: Any) -> None:
    w, g, v = np.random.default_rng(0).random((3, CHUNK, CONTROLLER.size(SPACE.K))).astype(dtype)
    new, new_v = np.empty_like(w), np.empty_like(v)
    benchmark(ControllerSearcher()._adam, w, g, v, np.full(CHUNK, 0.9), new, new_v)
    note(benchmark, CHUNK)
    assert (new <= w).all() and (new < w).mean() > 0.99 and (new_v > 0).all()


@pytest.mark.parametrize("chunk", [10, 25, 50, 100])
@pytest.mark.benchmark(group="steps of ENAS, 100 seeds, by chunk")
def test_chunk(benchmark: Any, monkeypatch: pytest.MonkeyPatch, chunk: int) -> None:
    monkeypatch.setattr(enas, "CHUNK", chunk)
    land, seeds = SharedWeightsLandscape(synthetic_table(), **VALID._asdict()), np.arange(100)
    searcher, steps = ControllerSearcher(), 78
    state, shared = searcher.init(SPACE, seeds, np.float32), land.init(seeds, Horizon(250, 391))

    def run() -> Any:
        nonlocal state, shared
        for _ in range(steps):
            state, shared, info = searcher.step(state, land, shared)
        return info

    info = benchmark.pedantic(run, rounds=5, warmup_rounds=1)
    note(benchmark, 100, steps)
    assert info.loss.shape == (100,)
