"""Successive halving with a simulated budget."""

from __future__ import annotations

from nasbench_sim.searchers.blackbox.base import BlackBox
from nasbench_sim.searchers.blackbox.halving import SuccessiveHalving
from nasbench_sim.searchers.registry import register


@register(
    name="successive-halving",
    family="black-box",
    title="Successive halving",
    paper="Jamieson & Talwalkar, Non-stochastic best arm identification and hyperparameter optimization, AISTATS 2016 "
    "(arXiv 1502.07943)",
    equation="rung i trains the best floor(configs / eta^i) of the cells for the epochs of fidelity i",
    deviations=(
        "rungs are the fidelities that the table measures: from 12 to 200 epochs is a factor of 16.7, not of eta",
        "epochs are paid from the start again on promotion: tables hold separate trainings of 12 and 200 epochs",
        "starts again with other cells until the budget is spent",
    ),
    unknowns=("configs: default 9 = eta^2, so that cifar10's 12,000 s pay for more than one round",),
    test_params={"configs": 3},
    work=0.7,
)
def successive_halving(*, eta: int = 3, configs: int = 9) -> BlackBox:
    """Many cells at the lowest fidelity, the best 1/eta of each rung at the next; the best fully trained one."""
    return SuccessiveHalving(eta, configs)
