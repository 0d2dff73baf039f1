"""The LSTM controller: against PyTorch's and finite differences, REINFORCE against enumeration, rows and memory."""

from __future__ import annotations

import os
import subprocess
import sys
from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from nasbench_sim.searchers.controller import Controller, Trace
from nasbench_sim.searchers.enas import CHUNK, ControllerSearcher
from nasbench_sim.searchers.lstm import prefixes
from nasbench_sim.streams import Streams
from tests.searchers.helpers import SPACE, same

SEEDS = np.arange(3)


def weights(controller: Controller, options: int, scale: float = 1.0, seeds: np.ndarray = SEEDS) -> np.ndarray:
    return scale * controller.init(Streams(seeds), options, np.float64)


def uniforms(m: int, d: int, seeds: np.ndarray = SEEDS) -> np.ndarray:
    return Streams(seeds).uniform("test", 0, (m, d)).astype(np.float64)


def every_cell(controller: Controller, w: np.ndarray, mask: np.ndarray) -> Trace:
    """Each cell of a small space once, in order: the uniforms are put amid the intervals that lead to it."""
    d, k = mask.shape
    cells = np.array([c for c in product(range(k), repeat=d) if mask[np.arange(d), c].all()])
    uniform = np.zeros((len(w), *cells.shape))
    for t in range(d):
        p = controller.write(w, uniform, mask).heads.p[t].transpose(1, 2, 0)
        at = np.broadcast_to(cells[:, t, None], (*uniform.shape[:2], 1))
        uniform[:, :, t] = np.take_along_axis(p.cumsum(axis=2) - p / 2, at, axis=2)[..., 0]
    trace = controller.write(w, uniform, mask)
    assert (trace.cells == cells).all()
    return trace


@pytest.mark.parametrize(("layers", "m", "learn"), [(1, 6, 6), (2, 6, 6), (3, 6, 6), (2, 12, 12), (2, 52, 4)])
def test_gradient_by_finite_differences(layers: int, m: int, learn: int) -> None:
    """Also where decisions have a row a prefix (12 cells: 2 of them, 52 cells: 3), and where only some cells count."""
    random = np.random.default_rng(layers)
    controller = Controller(hidden=3, layers=layers)
    mask = np.ones((4, 5), bool)
    mask[1, 3:] = mask[3, 0] = False
    w, uniform = weights(controller, 5, 4.0), uniforms(m, 4)
    trace = controller.write(w, uniform, mask, controller.tape((3, m, 4), 5, np.float64, learn))
    assert np.take_along_axis(np.broadcast_to(mask, (3, m, 4, 5)), trace.cells[..., None], -1).all()
    assert trace.log_prob.shape == trace.entropy.shape == (3, learn)
    a, b = random.normal(size=(2, 3, learn))
    g = controller.gradient(w, trace, mask, a, b)
    numeric = np.empty_like(g)
    for p in range(w.shape[1]):
        up, down = w.copy(), w.copy()
        up[:, p] += 1e-6
        down[:, p] -= 1e-6
        high, low = controller.write(up, uniform, mask), controller.write(down, uniform, mask)
        assert np.array_equal(high.cells, trace.cells) and np.array_equal(low.cells, trace.cells)
        value = [(a * t.log_prob[:, :learn] + b * t.entropy[:, :learn]).sum(axis=1) for t in (high, low)]
        numeric[:, p] = (value[0] - value[1]) / 2e-6
    assert np.allclose(g, numeric, atol=2e-7)
    assert (np.abs(g) > 1e-6).mean() > 0.6  # a gradient of zeros would prove nothing


@given(cells=st.integers(1, 300), decisions=st.integers(1, 8), options=st.integers(1, 7))
def test_rows_are_all_prefixes_or_one_a_cell(cells: int, decisions: int, options: int) -> None:
    rows = prefixes(cells, decisions, options)
    assert rows == [options**t for t in range(len(rows))] and 1 <= len(rows) <= decisions
    assert all(2 * n <= cells for n in rows[1:])
    if len(rows) < decisions:
        assert 2 * options * rows[-1] > cells


@pytest.mark.parametrize("m", [9, 28, 60])
def test_a_cell_is_the_same_alone_and_among_others_that_share_its_rows(m: int) -> None:
    """Each cell once more in a batch of its own, where no decision but the first has rows in common."""
    controller, mask = Controller(hidden=5), SPACE.mask
    w, uniform = weights(controller, 5, 6.0), uniforms(m, 6)
    together = controller.write(w, uniform, mask)
    w_each = np.repeat(w, m, axis=0)
    alone = controller.write(w_each, uniform.reshape(3 * m, 1, 6), mask)
    assert np.array_equal(together.cells.reshape(3 * m, 1, 6), alone.cells)
    assert np.array_equal(controller.cells(w, uniform, mask), together.cells)
    for name in ("log_prob", "entropy"):
        assert np.allclose(getattr(together, name).reshape(-1, 1), getattr(alone, name), rtol=0, atol=1e-12)
    on = np.random.default_rng(0).normal(size=(2, 3, m))
    each = controller.gradient(w_each, alone, mask, *on.reshape(2, 3 * m, 1))
    assert np.allclose(controller.gradient(w, together, mask, *on), each.reshape(3, m, -1).sum(axis=1), atol=1e-11)


@pytest.mark.parametrize(("hidden", "m", "learn"), [(32, 28, 20), (8, 12, 4), (5, 3, 3)])
def test_a_seed_alone_equals_its_row_bit_for_bit(hidden: int, m: int, learn: int) -> None:
    """Matrix products round by their shape; the contract tests have one, and not the published one."""
    controller, seeds = Controller(hidden), np.arange(CHUNK + 4)
    w = controller.init(Streams(seeds), 5, np.float32)
    uniform, on = Streams(seeds).uniform("test", 0, (m, 6)), Streams(seeds).normal("test", 0, (2, learn))

    def all_of_it(part: slice) -> list[np.ndarray]:
        tape = controller.tape((len(w[part]), m, 6), 5, np.float32, learn)
        trace = controller.write(w[part], uniform[part], SPACE.mask, tape)
        g = controller.gradient(w[part], trace, SPACE.mask, on[part, 0], on[part, 1])
        new, v = np.empty_like(g), np.empty_like(g)
        ControllerSearcher()._adam(w[part], g, g * g, np.full(len(g), 0.5), new, v)
        return [trace.cells, trace.log_prob, trace.entropy, trace.marginal, g, new, v]

    together = all_of_it(slice(None))
    for part in (*(slice(i, i + 1) for i in seeds), slice(3, CHUNK + 2)):
        assert all(np.array_equal(a[part], b) for a, b in zip(together, all_of_it(part), strict=True))


@pytest.mark.skipif("OPENBLAS_CORETYPE" not in os.environ, reason="the other tests run on this machine's own kernels")
def test_so_it_does_on_the_kernels_that_blas_takes_by_itself() -> None:
    """AVX-512 kernels round products of few rows by their strides; where an older kernel is asked for, none is seen."""
    env = {name: value for name, value in os.environ.items() if name != "OPENBLAS_CORETYPE"}
    test = f"{__file__}::{test_a_seed_alone_equals_its_row_bit_for_bit.__name__}"
    done = subprocess.run([sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", test], env=env)
    assert done.returncode == 0


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_extreme_uniforms_and_logits_stay_among_the_options_there_are(dtype: Any) -> None:
    controller, mask = Controller(hidden=5, tanh_constant=500.0), SPACE.mask.copy()
    mask[:, 0] = mask[:, 4] = mask[2, 2:] = False
    w = 5 * controller.init(Streams(range(300)), 5, dtype)
    for u in (0.0, 2.0**-24, 1 - 2.0**-24):
        trace = controller.write(w, np.full((300, 20, 6), u, np.float32), mask)
        assert mask[np.arange(6), trace.cells].all()
        assert np.isfinite(trace.log_prob).all() and np.isfinite(trace.entropy).all()
    assert set(np.unique(trace.cells[:, :, 2])) == {1} and 3 in trace.cells


def test_a_tape_may_be_written_again() -> None:
    controller, mask = Controller(hidden=4), SPACE.mask
    w, on = weights(controller, 5, 5.0), np.ones((3, 20))
    tape = controller.tape((3, 28, 6), 5, np.float64, 20)
    for x in (*tape.inputs, *(y for layer in tape.slopes for y in layer), tape.tops[..., :-1]):
        x[...] = np.nan
    results = []
    for uniform in (uniforms(28, 6), 1 - uniforms(28, 6), uniforms(28, 6)):
        trace = controller.write(w, uniform, mask, tape)
        results.append((trace.cells, controller.gradient(w, trace, mask, on, on)))
    assert same(results[0], results[2]) and not np.array_equal(results[0][0], results[1][0])
    assert np.isfinite(results[0][1]).all()


def test_probabilities_are_those_of_pytorch() -> None:
    """The same weights in torch.nn.LSTM, Embedding and Linear, as AutoDL-Projects composes them."""
    torch = pytest.importorskip("torch")
    controller, mask = Controller(hidden=8, layers=2), np.ones((6, 5), bool)
    w = weights(controller, 5, 3.0)
    trace = controller.write(w, uniforms(7, 6), mask)
    for s in range(3):
        v = {name: torch.tensor(x[s].copy()) for name, x in controller.views(w, 5).items()}
        for name in ("input", "layer 0", "layer 1"):  # gates o, i, f, g there, i, f, g, o in PyTorch
            v[name] = v[name].roll(-8, 1)
        lstm = torch.nn.LSTM(8, 8, 2).double()
        state = {"weight_ih_l0": v["input"].T, "weight_hh_l0": v["layer 0"][:8].T}
        state |= {"weight_ih_l1": v["layer 1"][:8].T, "weight_hh_l1": v["layer 1"][8:16].T}
        state |= {f"bias_{kind}_l{n}": v[f"layer {n}"][row] for n in (0, 1) for row, kind in ((-2, "ih"), (-1, "hh"))}
        lstm.load_state_dict(state)
        for m in range(7):
            x, h, total, entropy = v["vectors"][:1], None, 0.0, 0.0
            for d in range(6):
                out, h = lstm(x[None], h)
                logits = 2.5 * torch.tanh((out[0] @ v["head"][:8] + v["head"][8]) / 5.0)
                choice = torch.distributions.Categorical(logits=logits[0])
                op = torch.tensor(int(trace.cells[s, m, d]))
                total, entropy = total + choice.log_prob(op).item(), entropy + choice.entropy().item()
                x = v["vectors"][1 + op][None]
            assert trace.log_prob[s, m] == pytest.approx(total, abs=1e-12)
            assert trace.entropy[s, m] == pytest.approx(entropy, abs=1e-12)


def test_it_is_a_distribution_and_cells_come_as_often_as_it_says() -> None:
    controller, mask = Controller(hidden=6, layers=2), np.ones((3, 3), bool)
    mask[2, 1] = False
    w = weights(controller, 3, 8.0)
    all_cells = every_cell(controller, w, mask)
    p = np.exp(all_cells.log_prob)
    assert np.allclose(p.sum(axis=1), 1)
    n = 40_000
    many = controller.write(w, uniforms(n, 3), mask)
    for s in range(3):
        codes, seen = np.unique(many.cells[s] @ [9, 3, 1], return_counts=True)
        assert np.array_equal(codes, all_cells.cells[s] @ [9, 3, 1])
        assert stats.chisquare(seen, n * p[s]).pvalue > 1e-3
    # the marginal is the mean of the distributions met on the way
    exact = np.stack([(p[..., None] * (all_cells.cells == k)).sum(axis=1) for k in range(3)], axis=-1)
    assert np.allclose(many.marginal, exact, atol=0.01) and np.allclose(many.marginal.sum(axis=-1), 1)


def test_decisions_depend_on_earlier_ones() -> None:
    """What an LSTM is for: the joint is not the product of its marginals, as any alpha[D, K] would have it."""
    controller, mask = Controller(hidden=6, layers=1), np.ones((2, 2), bool)
    trace = every_cell(controller, weights(controller, 2, 30.0), mask)
    joint = np.exp(trace.log_prob).reshape(3, 2, 2)
    apart = joint.sum(axis=2)[:, :, None] * joint.sum(axis=1)[:, None]
    assert np.abs(joint - apart).max() > 0.01


def test_reinforce_is_the_gradient_of_the_expected_reward() -> None:
    """Exact: sum over cells of p R grad log p = d E[R]; and the sample mean of (R - b) grad log p agrees, for any b."""
    random = np.random.default_rng(5)
    controller, mask = Controller(hidden=3, layers=2), np.ones((3, 2), bool)
    w = weights(controller, 2, 6.0)
    cells = every_cell(controller, w, mask)
    table = random.normal(size=8)

    def expected(v: np.ndarray) -> np.ndarray:
        t = every_cell(controller, v, mask)
        return np.asarray((np.exp(t.log_prob) * table).sum(axis=1))

    exact = controller.gradient(w, cells, mask, np.exp(cells.log_prob) * table, np.zeros((3, 8)))
    for p in random.integers(0, w.shape[1], 40):
        up, down = w.copy(), w.copy()
        up[:, p] += 1e-5
        down[:, p] -= 1e-5
        assert np.allclose((expected(up) - expected(down)) / 2e-5, exact[:, p], atol=1e-6)
    n = 60_000
    sample = controller.write(w, uniforms(n, 3), mask)
    reward = table[sample.cells @ [4, 2, 1]]
    for b in (0.0, 1.7):
        mean = controller.gradient(w, sample, mask, (reward - b) / n, np.zeros((3, n)))
        spread = np.abs(reward - b).max() / np.sqrt(n) * 4  # no score passes 4 at these weights
        assert np.abs(mean - exact).max() < 4.5 * spread
        assert np.corrcoef(mean.ravel(), exact.ravel())[0, 1] > 0.98


def test_sizes_and_start_are_the_published_ones() -> None:
    controller = Controller()
    v = controller.views(controller.init(Streams(range(20)), 5, np.float32), 5)
    for x in (v["vectors"], v["input"], v["layer 0"][:, :32], v["head"][:, :32]):
        assert 0.09 < np.abs(x).max() <= 0.1 and abs(x.mean()) < 0.01
    for x in (v["layer 1"], v["layer 0"][:, 32:], v["layer 1"][:, 64:], v["head"][:, 32:]):
        assert 0.16 < np.abs(x).max() <= 32**-0.5
    draws = 2 * Streams(range(20)).uniform("controller", 0, (17253,)) - 1  # PyTorch's order of gates, i, f, g, o
    drawn = np.float32(0.1) * draws[:, 6 * 32 : 6 * 32 + 32 * 128].reshape(20, 32, 128)
    assert np.array_equal(np.roll(v["input"], -32, axis=2), drawn)
    start = controller.write(weights(controller, 5), uniforms(200, 6), SPACE.mask)
    assert start.marginal.min() > 0.17 and start.marginal.max() < 0.23  # close to uniform
    bound = np.exp(2.5) / (np.exp(2.5) + 4 * np.exp(-2.5))
    assert np.exp(controller.write(weights(controller, 5, 1e3), uniforms(50, 6), SPACE.mask).log_prob).max() <= bound**6
