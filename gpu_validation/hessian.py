"""Curvature of a loss in the architecture: the full Hessian of few numbers, and products with it.

`nasbench_sim.searchers.curvature` makes the dominant eigenvalue of either.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Loss = Callable[[Tensor], Tensor]


def hessian(loss: Loss, at: Tensor, used: Tensor | None = None) -> Tensor:
    """Hessian `[n, n]` of `loss` at `at` (n numbers of any shape), a row a backward pass; made symmetric.

    `used` bool `[n]`: numbers that the loss depends on; the rows of the others are 0 without being asked for.

    >>> a = torch.tensor([[2.0, 1.0], [1.0, 3.0]])
    >>> hessian(lambda x: 0.5 * x @ a @ x, torch.zeros(2)).tolist()
    [[2.0, 1.0], [1.0, 3.0]]
    """
    x = at.detach().requires_grad_()
    (slope,) = torch.autograd.grad(loss(x), x, create_graph=True)
    flat = slope.reshape(-1)
    rows = []
    for i in range(len(flat)):
        if not flat[i].requires_grad or (used is not None and not used[i]):  # linear in x: no curvature at all
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
