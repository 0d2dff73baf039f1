"""The dominant eigenvalue max |lambda| of a loss's Hessian in alpha: from the matrix, or by Lanczos from products."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from nasbench_sim.landscapes.base import LandscapeState

Array = npt.NDArray[Any]
Float64s = npt.NDArray[np.float64]

#: options (D K) above which Lanczos is cheaper than all columns, where each costs a product: ARPACK takes about 20
FEW = 40
TOLERANCE = 1e-4  # relative; figures show two digits


class Products(Protocol):
    """A landscape that `offers` hessian-vector: products with its Hessian cost less than the matrix."""

    def hessian_vector(self, state: LandscapeState | None, theta: Array, v: Array, s: int) -> Array:
        """Hessian of the loss of seed number `s` at `theta[S, D, K]` times `v[D, K]`."""


def dominant(hessian: Array) -> Float64s:
    """max |lambda| `[S]` of symmetric matrices `[S, n, n]`; NaN where one holds a number that is not finite.

    >>> dominant(np.array([[[1.0, 0.0], [0.0, -3.0]], [[np.nan, 0.0], [0.0, 1.0]]])).tolist()
    [3.0, nan]
    """
    good = np.isfinite(hessian).all(axis=(1, 2))
    out = np.full(len(hessian), np.nan)
    if good.any():
        out[good] = np.abs(np.linalg.eigvalsh(hessian[good])).max(axis=1)
    return out


def dominant_eigenvalue(product: Callable[[Float64s], Float64s], n: int, *, tolerance: float = TOLERANCE) -> float:
    """max |lambda| of a symmetric operator on `[n]`, by the Lanczos iterations of ARPACK on `product(v)`.

    Deterministic: it starts from a fixed vector. NaN where a product is not finite. Raises `ValueError` for n < 1.

    >>> round(dominant_eigenvalue(lambda v: np.array([1.0, -5.0, 2.0]) * v, 3), 9)
    5.0
    """
    from scipy.sparse.linalg import ArpackError, LinearOperator, eigsh  # only long searches come here

    if n < 1:
        raise ValueError(f"an operator acts on at least 1 number, got {n}")
    if n <= 3:  # ARPACK wants n > k + 1
        full = np.stack([product(row) for row in np.eye(n)])
        return float(dominant(((full + full.T) / 2)[None])[0])
    start = np.random.Generator(np.random.Philox(key=0)).standard_normal(n)
    first = product(start)
    if not np.isfinite(first).all():
        return float("nan")
    if not first.any() and not product(start[::-1].copy()).any():
        return 0.0
    operator = LinearOperator((n, n), matvec=lambda v: product(v.reshape(-1)), dtype=np.float64)
    try:
        (value,) = eigsh(operator, k=1, which="LM", v0=start, tol=tolerance, return_eigenvectors=False)
    except ArpackError:  # it has met a NaN, or does not converge
        return float("nan")
    return abs(float(value))
