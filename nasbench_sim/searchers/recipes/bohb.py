"""BOHB with a simulated budget."""

from __future__ import annotations

from nasbench_sim.searchers.blackbox.base import BlackBox
from nasbench_sim.searchers.blackbox.bohb import BOHB
from nasbench_sim.searchers.registry import register


@register(
    name="bohb",
    family="black-box",
    title="BOHB",
    paper="Falkner, Klein & Hutter, BOHB: Robust and efficient hyperparameter optimization at scale, ICML 2018 (arXiv "
    "1807.01774); settings: AutoDL-Projects exps/NATS-algos/bohb.py",
    equation="Hyperband's brackets; new cells: argmax l(x)/g(x) over draws from l, densities of best and others",
    deviations=(
        "densities by optuna's joint TPE: top_n_percent 15, bandwidth_factor 3 and min_bandwidth 0.3 of the published "
        "settings (HpBandSter) cannot be passed to it",
        "fidelities of 12 and 200 epochs; the published runs used 1 to 12 epochs of the 12-epoch training, which needs "
        "learning curves",
        "epochs are paid from the start again on promotion",
    ),
    unknowns=("random_fraction: 0 in the NATS commands, 1/3 in the paper; default 0",),
    test_params={"min_points": 3},
    work=1000.0,
)
def bohb(*, eta: int = 3, samples: int = 4, random_fraction: float = 0.0, min_points: int | None = None) -> BlackBox:
    """Hyperband whose new cells come from a density model of the best results so far."""
    return BOHB(eta, samples=samples, random_fraction=random_fraction, min_points=min_points)
