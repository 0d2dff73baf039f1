"""Exact calculus against brute-force sums and finite differences, and bit-for-bit independence of the batch."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nasbench_sim.landscapes import Multilinear
from nasbench_sim.landscapes.gemm import Plan, make_plan

COUNTS = [(5,) * 6, (3, 2, 4), (4,), (2, 3, 2, 4, 1), (2, 2)]


def brute(tensor: np.ndarray, theta: np.ndarray) -> float:
    return sum(
        tensor[arch] * np.prod([theta[d, k] for d, k in enumerate(arch)])
        for arch in itertools.product(*(range(k) for k in tensor.shape))
    )


@pytest.mark.parametrize("counts", COUNTS[1:])
def test_value_equals_the_brute_force_sum(counts: tuple[int, ...]) -> None:
    random = np.random.default_rng(0)
    tensor, theta = random.normal(size=counts), random.normal(size=(3, len(counts), max(counts)))
    value, _ = Multilinear(tensor).value_and_grad(theta)
    assert np.allclose(value, [brute(tensor, t) for t in theta], rtol=1e-12)


def test_value_on_all_cells_of_nb201_equals_the_sum_over_15625() -> None:
    random = np.random.default_rng(1)
    tensor, theta = random.random((5,) * 6), random.dirichlet(np.ones(5), (4, 6))
    value, _ = Multilinear(tensor).value_and_grad(theta)
    expected = np.einsum("abcdef,sa,sb,sc,sd,se,sf->s", tensor, *theta.transpose(1, 0, 2))
    assert np.allclose(value, expected, rtol=1e-13)
    single, _ = Multilinear(tensor.astype(np.float32)).value_and_grad(theta.astype(np.float32))
    assert np.allclose(single, expected, rtol=3e-6)  # float32: 15,625 terms, pairwise inside GEMM


@pytest.mark.parametrize("counts", COUNTS)
def test_gradient_and_hessian_by_exact_differences(counts: tuple[int, ...]) -> None:
    """A multilinear function is linear along one option, so its difference quotient is exact for any step."""
    random = np.random.default_rng(2)
    form = Multilinear(random.normal(size=counts))
    theta = random.random((2, len(counts), max(counts)))
    value, grad = form.value_and_grad(theta)
    hessian = form.hessian(theta)
    for d, count in enumerate(counts):
        for k in range(count):
            moved = theta.copy()
            moved[:, d, k] += 0.5
            value2, grad2 = form.value_and_grad(moved)
            assert np.allclose((value2 - value) / 0.5, grad[:, d, k], atol=1e-10)
            assert np.allclose((grad2 - grad) / 0.5, hessian[:, d, k], atol=1e-10)
        assert (grad[:, d, count:] == 0).all()


def test_two_point_distribution_equals_the_general_form() -> None:
    random = np.random.default_rng(3)
    for counts in COUNTS:
        form = Multilinear(random.normal(size=counts))
        options, other = random.integers(0, counts, (7, len(counts))), random.integers(0, counts)
        own = random.random((7, len(counts)))
        theta = np.zeros((7, len(counts), max(counts)))
        rows, decisions = np.arange(7)[:, None], np.arange(len(counts))
        np.add.at(theta, (rows, decisions, options), own)
        np.add.at(theta, (rows, decisions, other), 1 - own)
        assert np.allclose(form.two_point(options, own, other), form.value_and_grad(theta)[0], rtol=1e-12)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@settings(max_examples=25, deadline=None)
@given(start=st.integers(0, 150), length=st.integers(1, 150))
def test_a_row_does_not_depend_on_its_batch(dtype: str, start: int, length: int) -> None:
    form, theta, value, grad = _batch(dtype)
    value2, grad2 = form.value_and_grad(theta[start : start + length])
    assert np.array_equal(value2, value[start : start + length])
    assert np.array_equal(grad2, grad[start : start + length])


def _batch(dtype: str, cache: dict[str, tuple] = {}) -> tuple:  # noqa: B006  (a cache between examples)
    if dtype not in cache:
        random = np.random.default_rng(4)
        form = Multilinear(random.random((5,) * 6).astype(dtype))
        theta = random.random((300, 6, 5)).astype(dtype)
        cache[dtype] = (form, theta, *form.value_and_grad(theta))
    return cache[dtype]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_plan_rounds_alike_at_every_place_and_in_every_size(dtype: str) -> None:
    plan = make_plan(((125, 125), (125, 25)), dtype)
    random = np.random.default_rng(5)
    matrix, column = random.random((125, 125)).astype(dtype), random.random((125, 1)).astype(dtype)
    seen = set()
    for used in (1, 5, 16, 100, 256, 300):
        out = np.empty((125, plan.width(used)), dtype=dtype)
        plan.product(matrix, column.repeat(plan.width(used), axis=1), out)
        seen |= {c.tobytes() for c in np.ascontiguousarray(out[:, plan.margin : plan.margin + used].T)}
    assert len(seen) == 1


def test_every_plan_computes_the_product() -> None:
    random = np.random.default_rng(6)
    matrix = random.random((25, 125))
    for plan in (Plan(0, 0), Plan(8, 0), Plan(0, 16), Plan(0, 1)):
        columns = random.random((125, plan.width(50)))
        out = np.empty((25, plan.width(50)))
        plan.product(matrix, columns, out)
        assert np.allclose(out, matrix @ columns, rtol=1e-13)
        assert plan.width(50) >= 50 + 2 * plan.margin


def test_non_finite_tensors_are_refused() -> None:
    with pytest.raises(ValueError, match="finite"):
        Multilinear(np.array([1.0, np.nan]))


def with_equal_columns(dtype: str) -> tuple[np.ndarray, np.ndarray]:
    """A tensor whose last 24 columns are 5 different ones in some order, and points."""
    random = np.random.default_rng(8)
    classes = np.concatenate([np.arange(5), random.integers(0, 5, 19)])
    tensor = random.random((6, 5))[:, random.permutation(classes)].astype(dtype).reshape(2, 3, 4, 6)
    return tensor, random.random((40, 4, 6)).astype(dtype)


def test_equal_columns_are_found_and_change_nothing() -> None:
    tensor, theta = with_equal_columns("float64")
    form = Multilinear(tensor)
    assert form._gemm.matrix.shape == (6, 5) and form._gemm.transposed.shape == (5, 6)
    value, grad = form.value_and_grad(theta)
    assert np.allclose(value, [brute(tensor, t) for t in theta], rtol=1e-12)
    whole = Multilinear(tensor + 1e-13 * np.arange(tensor.size).reshape(tensor.shape))  # no two alike
    assert whole._gemm.matrix.shape == (6, 24)
    assert np.allclose(grad, whole.value_and_grad(theta)[1], rtol=1e-9)
    assert np.allclose(form.hessian(theta), whole.hessian(theta), rtol=1e-9)
    options = np.stack([np.random.default_rng(1).integers(0, k, 40) for k in tensor.shape], axis=1)
    assert np.allclose(
        form.two_point(options, theta[:, :, 0], np.zeros(4, dtype=np.int64)),
        whole.two_point(options, theta[:, :, 0], np.zeros(4, dtype=np.int64)),
        rtol=1e-9,
    )


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_row_over_equal_columns_does_not_depend_on_the_batch(dtype: str) -> None:
    tensor, theta = with_equal_columns(dtype)
    form = Multilinear(tensor)
    value, grad = form.value_and_grad(theta)
    for start, stop in ((0, 1), (3, 4), (7, 24), (39, 40)):
        some = form.value_and_grad(theta[start:stop])
        assert np.array_equal(some[0], value[start:stop]) and np.array_equal(some[1], grad[start:stop])
