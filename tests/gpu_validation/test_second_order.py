"""Flat weights, second-order gradients and curvature on a net small enough for closed forms and finite differences."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, get_args

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from gpu_validation.flat import FlatNetwork, gradient
from gpu_validation.hessian import hessian, hessian_vector
from gpu_validation.second_order import RADIUS, SecondOrder, total_gradient
from nasbench_sim.errors import SpecError
from nasbench_sim.searchers.curvature import dominant, dominant_eigenvalue

WAYS = get_args(SecondOrder)


class Small(nn.Module):
    """Two options a decision: tanh and square of linear maps, mixed by gates `[2, 2]`; a buffer that moves."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.a = nn.Parameter(torch.randn(3, 3, generator=generator, dtype=torch.float64))
        self.b = nn.Parameter(torch.randn(3, 3, generator=generator, dtype=torch.float64))
        self.unused = nn.Parameter(torch.ones(2, dtype=torch.float64))
        self.register_buffer("seen", torch.zeros(3, dtype=torch.float64))
        self.register_buffer("count", torch.zeros(1, dtype=torch.int64))

    def forward(self, x: Tensor, gates: Tensor) -> Tensor:
        if self.training:
            self.seen.add_(x.mean(0))  # type: ignore[operator]
        for d in range(2):
            x = gates[d, 0] * torch.tanh(x @ self.a) + gates[d, 1] * (x @ self.b) ** 2 / 3
        return x


NET = FlatNetwork(Small())
WEIGHTS, BUFFERS = NET.initial()
GATES = torch.tensor([[0.6, 0.4], [0.3, 0.7]], dtype=torch.float64)
X = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
LR, DRIFT = 5.0, 0.01


def loss_on(x: Tensor) -> Callable[[Sequence[Tensor], Tensor], Tensor]:
    return lambda tensors, gates: (NET.call(tensors, BUFFERS, x, gates)[0] ** 2).mean()


def step(g: Tensor) -> Tensor:
    return WEIGHTS - LR * (DRIFT * WEIGHTS + g)


def after_a_step(gates: Tensor) -> float:
    leaves = NET.leaves(WEIGHTS)
    ahead = step(gradient(loss_on(X[0])(leaves, gates), leaves))
    return float(loss_on(X[1])(NET.views(ahead), gates))


def test_the_row_holds_every_weight_and_calling_changes_nothing() -> None:
    assert NET.size == len(WEIGHTS) == 20 and len(BUFFERS) == 3
    before = WEIGHTS.clone()
    out, moved = NET.call(NET.views(WEIGHTS), BUFFERS, X[0], GATES)
    assert torch.equal(out, NET.module.train()(X[0], GATES))
    assert torch.equal(moved, X[0].mean(0)) and not BUFFERS.any() and torch.equal(WEIGHTS, before)
    _, still = NET.call(NET.views(WEIGHTS), BUFFERS, X[0], GATES, training=False)
    assert torch.equal(still, BUFFERS)


def test_the_gradient_as_one_row_is_that_of_finite_differences() -> None:
    leaves = NET.leaves(WEIGHTS)
    got = gradient(loss_on(X[0])(leaves, GATES), leaves)
    e = 1e-6
    for i in range(NET.size):
        up, down = WEIGHTS.clone(), WEIGHTS.clone()
        up[i] += e
        down[i] -= e
        want = (loss_on(X[0])(NET.views(up), GATES) - loss_on(X[0])(NET.views(down), GATES)) / (2 * e)
        assert float(got[i]) == pytest.approx(float(want), abs=1e-7)
    assert not got[-2:].any()  # the unused ones


@pytest.mark.parametrize("way", WAYS)
def test_the_total_gradient_is_that_of_the_loss_after_a_step(way: Any) -> None:
    loss, grad = total_gradient(NET, WEIGHTS, GATES, loss_on(X[0]), loss_on(X[1]), step, LR, way)
    assert float(loss) == pytest.approx(after_a_step(GATES), rel=1e-12)
    e = 1e-5
    for d in range(2):
        for k in range(2):
            up, down = GATES.clone(), GATES.clone()
            up[d, k] += e
            down[d, k] -= e
            want = (after_a_step(up) - after_a_step(down)) / (2 * e)
            # DARTS's own difference has radius 0.01: its error is of the order of 1e-4 of the gradient
            assert float(grad[d, k]) == pytest.approx(want, rel=1e-7 if way != "finite difference" else 2e-3)


def test_first_order_is_something_else() -> None:
    gates = GATES.clone().requires_grad_()
    first = torch.autograd.grad(loss_on(X[1])(NET.views(WEIGHTS), gates), gates)[0]
    total = total_gradient(NET, WEIGHTS, GATES, loss_on(X[0]), loss_on(X[1]), step, LR)[1]
    assert (first - total).abs().max() > 0.03 * total.abs().max()


def test_the_two_exact_ways_agree_to_rounding_and_the_difference_to_its_radius() -> None:
    seen = {
        way: total_gradient(NET, WEIGHTS, GATES, loss_on(X[0]), loss_on(X[1]), step, LR, way)[1]  # type: ignore[arg-type]
        for way in WAYS
    }
    size = float(seen["unrolled"].abs().max())
    assert float((seen["unrolled"] - seen["hessian-vector"]).abs().max()) < 1e-13 * size
    off = float((seen["unrolled"] - seen["finite difference"]).abs().max())
    assert 0 < off < RADIUS**2 * 10 * size


def test_sums_over_processes_enter_every_part() -> None:
    """Two halves of the loss, each held by one of two (made-up) processes, join to the whole."""
    for way in ("hessian-vector", "finite difference"):
        whole = total_gradient(NET, WEIGHTS, GATES, loss_on(X[0]), loss_on(X[1]), step, LR, way)  # type: ignore[arg-type]
        halves = [lambda t, g, x=x: loss_on(x)(t, g) / 2 for x in X]
        joined = total_gradient(
            NET,
            WEIGHTS,
            GATES,
            halves[0],
            halves[1],
            step,
            LR,
            way,
            join=lambda v: 2 * v,  # type: ignore[arg-type]
        )
        assert torch.allclose(whole[0], joined[0]) and torch.allclose(whole[1], joined[1], rtol=1e-9)


def test_an_unknown_way_is_refused() -> None:
    with pytest.raises(SpecError, match="unknown way of taking second-order gradients 'magic'"):
        total_gradient(NET, WEIGHTS, GATES, loss_on(X[0]), loss_on(X[1]), step, LR, "magic")  # type: ignore[arg-type]


def curved(gates: Tensor) -> Tensor:
    return loss_on(X[0])(NET.views(WEIGHTS), gates)


def test_hessian_products_and_lanczos_agree() -> None:
    full = hessian(curved, GATES)
    v = torch.tensor([[1.0, -2.0], [0.5, 3.0]], dtype=torch.float64)
    assert torch.allclose(full @ v.reshape(-1), hessian_vector(curved, GATES, v).reshape(-1))
    e = 1e-5
    for i in range(4):
        ahead = []
        for sign in (1, -1):
            there = GATES.clone().reshape(-1)
            there[i] += sign * e
            x = there.reshape(2, 2).requires_grad_()
            ahead.append(torch.autograd.grad(curved(x), x)[0].reshape(-1))
        assert torch.allclose(full[i], (ahead[0] - ahead[1]) / (2 * e), rtol=1e-6, atol=1e-9)

    def product(u: np.ndarray) -> np.ndarray:
        return hessian_vector(curved, GATES, torch.from_numpy(u).reshape(2, 2)).reshape(-1).numpy()

    assert dominant_eigenvalue(product, 4) == pytest.approx(float(torch.linalg.eigvalsh(full).abs().max()), rel=1e-6)


@given(st.integers(1, 30), st.integers(0, 2**32 - 1))
@settings(max_examples=60, deadline=None)
def test_lanczos_finds_the_largest_of_any_symmetric_matrix(n: int, seed: int) -> None:
    random = np.random.Generator(np.random.Philox(key=seed))
    a = random.standard_normal((n, n))
    a = a + a.T
    got = dominant_eigenvalue(lambda v: a @ v, n, tolerance=1e-10)
    assert got == pytest.approx(np.abs(np.linalg.eigvalsh(a)).max(), rel=1e-6)


def test_no_curvature_and_no_numbers() -> None:
    line = torch.ones(2, dtype=torch.float64)
    assert not hessian(lambda x: (line * x).sum(), line).any()
    assert not hessian_vector(lambda x: (line * x).sum(), line, line).any()
    with pytest.raises(ValueError, match="at least 1 number"):
        dominant_eigenvalue(lambda v: v, 0)
    assert dominant_eigenvalue(lambda v: 0 * v, 9) == 0
    assert np.isnan(dominant_eigenvalue(lambda v: np.nan * v, 9)) and np.isnan(dominant(np.full((1, 2, 2), np.nan))[0])
