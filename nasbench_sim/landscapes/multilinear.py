"""Exact calculus over a table: the expectation of a tensor under a factorised distribution, and its derivatives.

For a tensor T over architectures (shape K_0 x ... x K_{D-1}) and theta with one row on the simplex a decision,

    E[T](theta) = sum_arch T[arch] prod_d theta[d, arch_d]

is multilinear. Split the decisions into two halves: a = outer products of the first half's rows, b = of the second's;
then u = T b and v = a T are one GEMM each for all seeds, and every gradient is a leave-one-out contraction of u or v
with one half's outer products. No Monte Carlo, no approximation.

Cost a seed on NB201: 2 x 125 x 125 x 2 = 62,500 flop in the two GEMMs (two thirds of the time) and about 1,600 flop
element-wise, which run at memory speed, so seeds go through in cache-sized chunks.

Equal columns: architectures of NAS-Bench-1Shot1 that differ only in what is pruned are one module, so whole columns of
T are equal (space 3: 324 different ones of 1,350). Those rows of b are summed first, and the GEMMs run over the
different columns only, a quarter of the flop there; NAS-Bench-201 has none and is untouched.

Bit for bit: the GEMM's columns are used only where this machine's BLAS is found to round them alike (`gemm.Plan`), and
every other operation is element-wise over the seed axis: a seed's row does not depend on how many seeds run beside it,
nor on its place among them.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array

from nasbench_sim.landscapes.gemm import Plan, make_plan

# seeds that go through together: 125 x 256 float32 = 128 KB, in L2 (1,024 seeds: twice as slow); a larger chunk also
# needs larger sizes tried in gemm.py, for at 1,024 columns BLAS rounds differently again
CHUNK = 256
_WORTH = 0.75  # share of different columns up to which summing equal ones first pays
GATHER = 1024  # cells of a two-point sum at a time (128: 4 times slower)

Array = npt.NDArray[Any]


class Multilinear:
    """`E[T]` and its gradient for a tensor `T` of shape `counts`, at `theta[N, D, K]` (N rows of anything).

    `theta` need not be on the simplex: the function is the multilinear form itself.

    Example
    -------
    >>> T = np.arange(6.0).reshape(2, 3)
    >>> value, grad = Multilinear(T).value_and_grad(np.array([[[0.5, 0.5, 0.0], [0.0, 1.0, 0.0]]]))
    >>> value.tolist(), grad[0].tolist()
    ([2.5], [[1.0, 4.0, 0.0], [1.5, 2.5, 3.5]])
    """

    def __init__(self, tensor: Array) -> None:
        if tensor.ndim < 1 or not np.isfinite(tensor).all():
            raise ValueError("a multilinear form needs a finite tensor")
        self.dtype = tensor.dtype
        self.counts = tensor.shape
        self.D, self.K = tensor.ndim, max(tensor.shape)
        # the split whose halves have the most equal sizes keeps both GEMM operands small
        sizes = [abs(np.prod(tensor.shape[:h]) - np.prod(tensor.shape[h:])) for h in range(1, self.D)]
        self._half = 1 + int(np.argmin(sizes)) if sizes else 1
        left = int(np.prod(tensor.shape[: self._half]))
        self._matrix = np.ascontiguousarray(tensor.reshape(left, -1))

    @cached_property
    def _gemm(self) -> _Gemm:
        # gathers alone need no plan and no second copy: on nb1shot1-3 they save 2 s and 2.5 MB
        return _make_gemm(self._matrix)

    @property
    def _plan(self) -> Plan:
        return self._gemm.plan

    def value_and_grad(self, theta: Array) -> tuple[Array, Array]:
        """Value `[N]` and gradient `[N, D, K]` at `theta[N, D, K]`; absent options get gradient 0."""
        n = len(theta)
        value = np.empty(n, dtype=self.dtype)
        grad = np.empty((n, self.D, self.K), dtype=self.dtype)
        for start in range(0, n, CHUNK):
            stop = min(start + CHUNK, n)
            columns = np.zeros((self.D, self.K, self._plan.width(stop - start)), dtype=self.dtype)
            used = slice(self._plan.margin, self._plan.margin + stop - start)
            columns[:, :, used] = theta[start:stop].transpose(1, 2, 0)
            v, g = self._chunk(columns)
            value[start:stop] = v[used]
            grad[start:stop] = g[:, :, used].transpose(2, 0, 1)
        return value, grad

    def _chunk(self, theta: Array) -> tuple[Array, Array]:
        width = theta.shape[-1]
        rows = [theta[d, :k] for d, k in enumerate(self.counts)]
        left, right = _prefixes(rows[: self._half]), _prefixes(rows[self._half :])
        b = right[-1] if right else np.ones((1, width), dtype=self.dtype)
        u, v = self._gemm.products(left[-1], b)
        grad = np.zeros((self.D, self.K, width), dtype=self.dtype)
        _leave_one_out(u, rows[: self._half], left, grad[: self._half])
        if right:
            _leave_one_out(v, rows[self._half :], right, grad[self._half :])
        # Euler: a function that is linear in the first row equals that row times its gradient
        value = np.einsum("kn,kn->n", rows[0], grad[0, : self.counts[0]])
        return value, grad

    def two_point(self, options: Array, own: Array, other: Array) -> Array:
        """Value `[N]` where decision d is `options[N, D]` with weight `own[N, D]`, else `other[D]`.

        The sum over the 2^D combinations, gathered from the tensor: 64 gathers on NB201, 0.17 us a cell
        against 1.0 us through the GEMM (tests/benchmarks/test_parts_bench.py, as all figures of this file).
        A decision whose `other` is negative has no other option and weight 1: 32 gathers on nb1shot1-3, not 1,024.
        """
        out = np.empty(len(options), dtype=self.dtype)
        for i in range(0, len(options), GATHER):
            # rows last, so that every operation runs along contiguous memory
            o = np.ascontiguousarray(options[i : i + GATHER].T)
            w = np.ascontiguousarray(own[i : i + GATHER].T)
            left, wl = self._combine(o, w, other, 0, self._half)
            right, wr = self._combine(o, w, other, self._half, self.D)
            left *= self._matrix.shape[1]
            total = np.zeros(o.shape[1], dtype=self.dtype)
            for code, weight in zip(left, wl, strict=True):
                cells = self._matrix.take(code + right)
                cells *= wr
                inner = cells[0]
                for r in range(1, len(cells)):
                    inner += cells[r]
                inner *= weight
                total += inner
            out[i : i + GATHER] = total
        return out

    def _combine(self, options: Array, own: Array, other: Array, first: int, last: int) -> tuple[Array, Array]:
        """Codes and weights `[2^(last - first), n]` of all combinations of decisions first..last-1."""
        n = options.shape[1]
        codes, weights = np.zeros((1, n), dtype=np.int64), np.ones((1, n), dtype=self.dtype)
        for d in range(first, last):
            codes = codes * self.counts[d]
            if other[d] < 0:
                codes = codes + options[d]
                continue
            codes = np.concatenate([codes + options[d], codes + other[d]])
            kept = weights * own[d]
            weights = np.concatenate([kept, weights - kept])
        return codes, weights

    def hessian(self, theta: Array) -> Array:
        """Mixed second derivatives `[N, D, K, D, K]` at `theta[N, D, K]`; zero within a decision (multilinear).

        dE/dtheta[d, k] is E with row d replaced by the unit vector e_k, so its gradient is the Hessian's row:
        sum_d K_d gradients a seed (30 on NB201), used once an epoch.
        """
        n = len(theta)
        out = np.zeros((n, self.D, self.K, self.D, self.K), dtype=self.dtype)
        moved = np.repeat(theta[:, None], self.K, axis=1).astype(self.dtype)
        for d, count in enumerate(self.counts):
            batch = moved[:, :count].copy()
            batch[:, :, d] = np.eye(count, self.K, dtype=self.dtype)
            _, grad = self.value_and_grad(batch.reshape(-1, self.D, self.K))
            rows = grad.reshape(n, count, self.D, self.K)
            rows[:, :, d] = 0
            out[:, d, :count] = rows
        return out


class _Gemm(NamedTuple):
    """The different columns of a matrix and their transpose; `class_of` says which of them each column is."""

    matrix: Array
    transposed: Array
    plan: Plan
    class_of: Array | None
    sums: Any  # sparse [different, all] ones: adds up the rows of equal columns, in their order for every seed

    def products(self, a: Array, b: Array) -> tuple[Array, Array]:
        """`T b` and `a T` (as columns), for T the whole matrix."""
        u = np.empty((self.matrix.shape[0], b.shape[1]), dtype=b.dtype)
        v = np.empty((self.matrix.shape[1], b.shape[1]), dtype=b.dtype)
        self.plan.product(self.matrix, b if self.class_of is None else self.sums @ b, u)
        self.plan.product(self.transposed, a, v)
        return u, v if self.class_of is None else v.take(self.class_of, axis=0)


def _make_gemm(matrix: Array) -> _Gemm:
    rows = np.ascontiguousarray(matrix.T)
    names = rows.view(np.dtype((np.void, rows.shape[1] * rows.itemsize)))[:, 0]
    _, first, class_of = np.unique(names, return_index=True, return_inverse=True)
    if len(first) > _WORTH * len(rows):
        return _Gemm(matrix, rows, make_plan((matrix.shape, rows.shape), matrix.dtype.name), None, None)
    different = np.ascontiguousarray(rows[first])
    ones = np.ones(len(rows), dtype=matrix.dtype)
    sums = csr_array((ones, (class_of, np.arange(len(rows)))), shape=(len(first), len(rows)))
    sums.sort_indices()
    small = np.ascontiguousarray(different.T)
    plan = make_plan((small.shape, different.shape), matrix.dtype.name)
    return _Gemm(small, different, plan, class_of, sums)


def _prefixes(rows: list[Array]) -> list[Array]:
    """Running outer products: entry j is row_0 x ... x row_j, flattened, `[prod K, n]`."""
    out: list[Array] = []
    for row in rows:
        out.append((out[-1][:, None] * row[None]).reshape(-1, row.shape[-1]) if out else row)
    return out


def _leave_one_out(x: Array, rows: list[Array], prefixes: list[Array], grad: Array) -> None:
    """Fill `grad[j, k]` = sum over the half of `x` times the outer product of all rows but j, with option k at j."""
    for j in range(len(rows) - 1, 0, -1):
        count, width = rows[j].shape
        cube = x.reshape(-1, count, width)
        np.einsum("pn,pkn->kn", prefixes[j - 1], cube, out=grad[j, :count])
        x = np.einsum("pkn,kn->pn", cube, rows[j])
    grad[0, : rows[0].shape[0]] = x


def over_options(x: Array) -> Array:
    """Sum over the last axis, `[..., K] -> [..., K=1]`, in a fixed order.

    K strided adds: 5 times faster than `sum(axis=-1)` for K = 5, where NumPy pays a loop set-up a row.
    """
    out = x[..., 0]
    for k in range(1, x.shape[-1]):
        out = out + x[..., k]
    return out[..., None]
