"""DARTS, first order."""

from __future__ import annotations

from nasbench_sim.searchers.base import Searcher
from nasbench_sim.searchers.gradient import gradient_searcher
from nasbench_sim.searchers.registry import register
from nasbench_sim.searchers.relaxations import Deterministic
from nasbench_sim.searchers.updates import Adam


@register(
    name="darts",
    headline=True,
    title="DARTS (first order)",
    paper="Liu, Simonyan & Yang, DARTS: Differentiable Architecture Search, ICLR 2019 (arXiv 1806.09055)",
    equation="theta = softmax(alpha); alpha <- Adam(dL_val/dalpha) with xi = 0 (section 2.3)",
    deviations=("the weight step and the architecture step of one step see the same theta",),
)
def darts(
    *,
    lr: float = 3e-4,
    betas: tuple[float, float] = (0.5, 0.999),
    weight_decay: float = 1e-3,
) -> Searcher:
    """Softmax relaxation, Adam on alpha, argmax including `none`.

    Defaults: architecture optimiser of the NAS-Bench-201 scripts (AutoDL-Projects configs/nas-benchmark/algos).
    """
    return gradient_searcher("darts", relaxation=Deterministic(), update=Adam(lr, betas, weight_decay))
