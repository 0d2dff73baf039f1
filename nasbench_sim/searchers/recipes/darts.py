"""DARTS, first and second order."""

from __future__ import annotations

from typing import Literal

from nasbench_sim.searchers.base import Searcher
from nasbench_sim.searchers.gradient import gradient_searcher
from nasbench_sim.searchers.registry import register
from nasbench_sim.searchers.relaxations import Deterministic
from nasbench_sim.searchers.updates import Adam


@register(
    name="darts",
    headline=True,
    title="DARTS",
    paper="Liu, Simonyan & Yang, DARTS: Differentiable Architecture Search, ICLR 2019 (arXiv 1806.09055)",
    equation="theta = softmax(alpha); alpha <- Adam(d/dalpha L_val(alpha, w - xi grad_w L_train)); xi = 0 is order 1, "
    "one weight step order 2 (eq. 7)",
    deviations=(
        "the weight step and the architecture step of one step see the same theta",
        "order 2 differentiates the modelled weight step exactly (dm/dtheta), without the finite difference of eq. 8",
    ),
)
def darts(
    *,
    lr: float = 3e-4,
    betas: tuple[float, float] = (0.5, 0.999),
    weight_decay: float = 1e-3,
    order: Literal[1, 2] = 1,
) -> Searcher:
    """Softmax relaxation, Adam on alpha, argmax including `none`.

    Defaults: architecture optimiser of the NAS-Bench-201 scripts (AutoDL-Projects configs/nas-benchmark/algos).
    """
    return gradient_searcher("darts", relaxation=Deterministic(), update=Adam(lr, betas, weight_decay), order=order)
