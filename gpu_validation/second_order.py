"""The architecture gradient through one virtual weight step (DARTS eq. 7), three ways that agree.

    L_val(w', theta),  w' = w - step(grad_w L_train(w, theta))
    total gradient = d L_val / d theta - lr * d^2 L_train / (d theta d w) . v,   v = grad_w' L_val(w', theta)

`finite difference` (eq. 8, what was published): (grad_theta L_train(w + e v) - grad_theta L_train(w - e v)) / 2e with
e = 0.01 / |v|; `hessian-vector`: the mixed derivative times v by double backward; `unrolled`: automatic
differentiation through the step itself. The last two are exact and equal; the first is off by O(e^2).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, get_args

import torch
from torch import Tensor

from gpu_validation.flat import FlatNetwork, LossAt, gradient, joined
from nasbench_sim.errors import SpecError, unknown

SecondOrder = Literal["finite difference", "hessian-vector", "unrolled"]
WAYS: tuple[str, ...] = get_args(SecondOrder)
RADIUS = 0.01  # |e v|, as in the code of DARTS


def total_gradient(
    net: FlatNetwork,
    weights: Tensor,
    gates: Tensor,
    train: LossAt,
    valid: LossAt,
    step: Callable[[Tensor], Tensor],
    lr: float,
    way: SecondOrder = "hessian-vector",
    join: Callable[[Tensor], Tensor] = lambda x: x,
) -> tuple[Tensor, Tensor]:
    """Validation loss after the virtual step and its total gradient `[D, K]` in `gates`.

    `train(tensors, gates)` and `valid(tensors, gates)` are losses; `step(g)[n]` is the weights after a step along the
    training gradient `g[n]`, with d step / d g = -lr; `join` sums what several processes have (not with `unrolled`).
    Raises `SpecError` for another `way`.
    """
    if way not in WAYS:
        raise SpecError(unknown("way of taking second-order gradients", way, WAYS))
    theta = gates.detach().requires_grad_()
    if way == "unrolled":
        leaves = net.leaves(weights)
        ahead = net.views(step(gradient(train(leaves, theta), leaves, graph=True)))
        loss = valid(ahead, theta)
        return loss.detach(), torch.autograd.grad(loss, theta)[0]
    leaves = net.leaves(weights)
    exact = way == "hessian-vector"
    slope = gradient(train(leaves, theta if exact else gates.detach()), leaves, graph=exact)
    ahead = net.leaves(step(join(slope.detach())))
    loss = valid(ahead, theta)
    first, *rest = torch.autograd.grad(loss, [theta, *ahead], allow_unused=True)
    v, first = join(joined(rest, ahead)), join(first)
    if exact:
        mixed = join(torch.autograd.grad((slope * v).sum(), theta)[0])
    else:
        norm = v.norm()
        if not norm > 0:
            return join(loss.detach()), first
        e = RADIUS / norm
        sides = []
        for sign in (1, -1):
            there = gates.detach().requires_grad_()
            sides.append(torch.autograd.grad(train(net.views(weights + sign * e * v), there), there)[0])
        mixed = join(sides[0] - sides[1]) / (2 * e)
    return join(loss.detach()), first - lr * mixed
