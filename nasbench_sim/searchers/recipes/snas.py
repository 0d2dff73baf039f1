"""SNAS: a Gumbel-softmax draw of the cell each step, differentiated pathwise."""

from __future__ import annotations

from nasbench_sim.searchers.base import Searcher
from nasbench_sim.searchers.gradient import gradient_searcher
from nasbench_sim.searchers.gumbel import GumbelSoftmax
from nasbench_sim.searchers.registry import register
from nasbench_sim.searchers.updates import Adam


@register(
    name="snas",
    family="differentiable",
    title="SNAS",
    paper="Xie, Zheng, Liu & Lin, SNAS: Stochastic Neural Architecture Search, ICLR 2019 (arXiv 1812.09926)",
    equation="theta = softmax((log pi + g) / tau), g ~ Gumbel, pi = softmax(alpha); dL/dalpha pathwise (section 2.2)",
    deviations=(
        "alpha stands where the paper has log alpha: equal up to a constant a decision, which the softmax ignores",
        "alpha learns on the validation half, as in the NAS-Bench-201 script of DrNAS; the paper trains alpha and the "
        "weights on one loss",
        "no resource penalty of the paper's section 2.4; a run's `penalty` adds one to any method's loss",
        "tau reaches tau_min in the last epoch; the script divides by E, not E - 1, and ends one step above",
    ),
    unknowns=(
        "tau_max, tau_min: the paper does not state its annealing; default 10 -> 1 linearly over the epochs (DrNAS's "
        "script)",
        "lr, betas, weight_decay on NAS-Bench-201: default those of the script, which are DARTS's; its epochs are 100",
    ),
    work=1.2,
)
def snas(
    *,
    lr: float = 3e-4,
    betas: tuple[float, float] = (0.5, 0.999),
    weight_decay: float = 1e-3,
    tau_max: float = 10.0,
    tau_min: float = 1.0,
) -> Searcher:
    """Gumbel-softmax relaxation with falling temperature, Adam on the logits, argmax including `none`."""
    return gradient_searcher("snas", relaxation=GumbelSoftmax(tau_max, tau_min), update=Adam(lr, betas, weight_decay))
