"""Tree-structured Parzen estimator with a simulated budget."""

from __future__ import annotations

from nasbench_sim.searchers.blackbox.base import BlackBox
from nasbench_sim.searchers.blackbox.tpe import TreeParzen
from nasbench_sim.searchers.registry import register


@register(
    name="tpe",
    family="black-box",
    title="TPE",
    paper="Bergstra et al., Algorithms for hyper-parameter optimization, NeurIPS 2011; implementation: optuna's "
    "TPESampler (Akiba et al., KDD 2019)",
    equation="argmax of l(x) / g(x) over draws from l, the density of the best ceil(n / 10) cells; g of the others",
    deviations=(
        "the quantile, prior and weights of the densities are optuna's: its later versions let none of them be set",
        "a cell may come twice, and is paid for twice",
    ),
    test_params={"initial": 4},
    work=5000.0,
)
def tpe(*, initial: int = 10, samples: int = 24, joint: bool = False, epochs: int | None = None) -> BlackBox:
    """Densities of good and bad cells, one a decision (or joint), by optuna's sampler."""
    return TreeParzen(initial, samples, joint, epochs)
