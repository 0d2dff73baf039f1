"""Curvature of a loss in the architecture: the full Hessian of few numbers, or its dominant eigenvalue by Lanczos."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from nasbench_sim.errors import SpecError

Loss = Callable[[Tensor], Tensor]


def hessian(loss: Loss, at: Tensor) -> Tensor:
    """Hessian `[n, n]` of `loss` at `at` (n numbers of any shape), a row a backward pass; made symmetric.

    >>> a = torch.tensor([[2.0, 1.0], [1.0, 3.0]])
    >>> hessian(lambda x: 0.5 * x @ a @ x, torch.zeros(2)).tolist()
    [[2.0, 1.0], [1.0, 3.0]]
    """
    x = at.detach().requires_grad_()
    (slope,) = torch.autograd.grad(loss(x), x, create_graph=True)
    flat = slope.reshape(-1)
    rows = []
    for i in range(len(flat)):
        if not flat[i].requires_grad:  # linear in x: no curvature at all
            rows.append(torch.zeros_like(flat))
            continue
        (row,) = torch.autograd.grad(flat[i], x, retain_graph=True, allow_unused=True)
        rows.append(torch.zeros_like(flat) if row is None else row.reshape(-1))
    out = torch.stack(rows)
    return (out + out.T) / 2


def hessian_vector(loss: Loss, at: Tensor, v: Tensor) -> Tensor:
    """Hessian of `loss` at `at` times `v`, of the shape of `at`, by double backward."""
    x = at.detach().requires_grad_()
    (slope,) = torch.autograd.grad(loss(x), x, create_graph=True)
    if not slope.requires_grad:
        return torch.zeros_like(x)
    (out,) = torch.autograd.grad((slope * v).sum(), x, allow_unused=True)
    return torch.zeros_like(x) if out is None else out


def dominant_eigenvalue(
    product: Callable[[npt.NDArray[np.float64]], npt.NDArray[np.float64]], n: int, *, tolerance: float = 1e-6
) -> float:
    """max |lambda| of a symmetric operator on `[n]`, by the Lanczos iterations of ARPACK on `product(v)`.

    Deterministic: it starts from a fixed vector. Raises `SpecError` for n < 1.

    >>> dominant_eigenvalue(lambda v: np.array([1.0, -5.0, 2.0]) * v, 3)
    5.0
    """
    from scipy.sparse.linalg import LinearOperator, eigsh  # importing it takes longer than a small search does

    if n < 1:
        raise SpecError(f"an operator acts on at least 1 number, got {n}")
    if n <= 3:  # ARPACK wants n > k + 1
        full = np.stack([product(row) for row in np.eye(n)])
        return round(float(np.abs(np.linalg.eigvalsh((full + full.T) / 2)).max()), 12)
    start = np.random.Generator(np.random.Philox(key=0)).standard_normal(n)
    operator = LinearOperator((n, n), matvec=lambda v: product(v.reshape(-1)), dtype=np.float64)
    (value,) = eigsh(operator, k=1, which="LM", v0=start, tol=tolerance, return_eigenvectors=False)
    return abs(float(value))
