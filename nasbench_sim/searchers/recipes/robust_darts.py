"""RobustDARTS' DARTS-ES: DARTS, ended when the curvature of the validation loss grows, and taken back."""

from __future__ import annotations

from typing import Literal

from nasbench_sim.searchers.base import Searcher
from nasbench_sim.searchers.gradient import gradient_searcher
from nasbench_sim.searchers.registry import register
from nasbench_sim.searchers.relaxations import Deterministic
from nasbench_sim.searchers.stopping_rules import EigenvalueRule
from nasbench_sim.searchers.updates import Adam


@register(
    name="robust-darts",
    title="RobustDARTS (DARTS-ES)",
    paper="Zela et al., Understanding and Robustifying Differentiable Architecture Search, ICLR 2020 "
    "(arXiv 1909.09656)",
    equation="stop where avg(lambda_max)_i / avg(lambda_max)_(i - delta) > 1.3, the average over 5 values, and return "
    "the alpha of i - delta (DARTS-ES)",
    deviations=(
        "the eigenvalue is that of the noise-free loss, max |lambda|; the code takes one mini-batch and the largest "
        "lambda",
        "rule and settings of the code (automl/RobustDARTS): values every 2 epochs, delta = 4 values = 8 epochs",
        "DARTS-ADA (stronger regularisation of the weights from there on) has no counterpart: a table has no weights",
    ),
    work=1.0,
)
def robust_darts(
    *,
    factor: float = 1.3,
    delta: int = 4,
    window: int = 5,
    every: int = 2,
    first_epoch: int = 10,
    lr: float = 3e-4,
    betas: tuple[float, float] = (0.5, 0.999),
    weight_decay: float = 1e-3,
    order: Literal[1, 2] = 1,
) -> Searcher:
    """DARTS, stopped when the dominant eigenvalue of the Hessian in alpha has grown, with the alpha from before."""
    return gradient_searcher(
        "robust-darts",
        relaxation=Deterministic(),
        update=Adam(lr, betas, weight_decay),
        stopping=EigenvalueRule(factor, delta, window, every, first_epoch),
        order=order,
    )
