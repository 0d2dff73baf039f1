"""NES-RS: an ensemble from a pool of random architectures, chosen greedily by its validation loss."""

from __future__ import annotations

from nasbench_sim.ensembles import RandomPool
from nasbench_sim.ensembles.selection import Metric
from nasbench_sim.searchers.registry import register


@register(
    name="nes-rs",
    family="ensemble",
    title="NES-RS",
    paper="Zaidi, Zela, Elsken, Holmes, Hutter & Teh, Neural Ensemble Search for Uncertainty Estimation and Dataset "
    "Shift, NeurIPS 2021 (arXiv 2006.08573)",
    equation="pool of K random architectures, each trained once; ForwardSelect: add argmin_n NLL of the average of the "
    "members' softmax outputs on validation data, without replacement, until M members",
    deviations=(
        "the pool is drawn without replacement from the models whose predictions are given, instead of being trained; "
        "the spread over seeds is that of the pool",
    ),
    unknowns=(
        "pool (K): 400 for CIFAR-10 in the paper; default None, all models that are given, and then every seed selects "
        "the same members",
        "size (M): 3 on NAS-Bench-201 in automl/nes, hence the default",
    ),
    test_params={"size": 2, "pool": 6},
)
def nes_rs(*, size: int = 3, pool: int | None = None, metric: Metric = "nll") -> RandomPool:
    """Best-first greedy ensemble from a random pool, on per-sample predictions of the validation split."""
    return RandomPool(size, pool, metric)
