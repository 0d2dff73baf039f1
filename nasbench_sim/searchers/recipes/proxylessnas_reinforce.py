"""ProxylessNAS by REINFORCE: sampled cells, a running baseline, no gradient of the network in alpha."""

from __future__ import annotations

from nasbench_sim.searchers.base import Searcher
from nasbench_sim.searchers.gates import PolicyGradient
from nasbench_sim.searchers.gradient import gradient_searcher
from nasbench_sim.searchers.registry import register
from nasbench_sim.searchers.updates import Adam


@register(
    name="proxylessnas-reinforce",
    family="differentiable",
    title="ProxylessNAS (REINFORCE)",
    paper="Cai, Zhu & Han, ProxylessNAS: Direct Neural Architecture Search on Target Task and Hardware, ICLR 2019 "
    "(arXiv 1812.00332)",
    equation="grad J = 1/M sum_m (R(cell_m) - b) grad log p(cell_m), cell_m ~ prod Cat(softmax(alpha)) (section 3.3.2)",
    deviations=(
        "the reward is minus the landscape's mini-batch loss, where nnabla-nas and the paper take its accuracy",
        "no latency factor in the reward",
        "the baseline follows the rewards during the warm-up too",
    ),
    unknowns=(
        "every setting on NAS-Bench-201: no configuration or result was published; default those of nnabla-nas (Adam "
        "lr 0.01, betas (0.5, 0.999), no weight decay)",
        "samples (M): nnabla-nas 10 (5 in earlier versions), the authors' ImageNet code 10",
        "baseline_rate: share of the newest mean reward in the baseline, as nnabla-nas computes it, default 0.9",
        "warmup: share of the search before alpha moves, default 1/4 (nnabla-nas: 50 epochs, then 150)",
    ),
    test_params={"samples": 4, "warmup": 0.1},
    work=2.5,
)
def proxylessnas_reinforce(
    *,
    samples: int = 10,
    baseline_rate: float = 0.9,
    lr: float = 0.01,
    betas: tuple[float, float] = (0.5, 0.999),
    weight_decay: float = 0.0,
    warmup: float = 0.25,
) -> Searcher:
    """Policy gradient on M sampled cells a step with a running baseline, Adam on the logits."""
    return gradient_searcher(
        "proxylessnas-reinforce",
        relaxation=PolicyGradient(samples, baseline_rate),
        update=Adam(lr, betas, weight_decay),
        warmup=warmup,
    )
