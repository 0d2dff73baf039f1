"""Hyperband with a simulated budget."""

from __future__ import annotations

from nasbench_sim.searchers.blackbox.base import BlackBox
from nasbench_sim.searchers.blackbox.halving import Hyperband
from nasbench_sim.searchers.registry import register


@register(
    name="hyperband",
    family="black-box",
    title="Hyperband",
    paper="Li et al., Hyperband: A novel bandit-based approach to hyperparameter optimization, JMLR 2018 (arXiv "
    "1603.06560)",
    equation="bracket s: n = floor((s_max + 1)/(s + 1)) eta^s cells; rung i: floor(n/eta^i), R eta^(i-s) epochs",
    deviations=(
        "n as in the paper's table 1; its algorithm prints ceil((s_max + 1)/(s + 1) eta^s)",
        "epochs that the table does not measure are rounded down to those it does; rungs of equal epochs are one",
        "epochs are paid from the start again on promotion: tables hold separate trainings of 12 and 200 epochs",
    ),
    work=0.7,
)
def hyperband(*, eta: int = 3) -> BlackBox:
    """Successive halving at several trade-offs between the number of cells and the epochs for each."""
    return Hyperband(eta)
