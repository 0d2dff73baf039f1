"""ProxylessNAS with gradients: binary gates, two paths a decision in memory at a time."""

from __future__ import annotations

from nasbench_sim.searchers.base import Searcher
from nasbench_sim.searchers.gates import BinaryGates
from nasbench_sim.searchers.gradient import gradient_searcher
from nasbench_sim.searchers.registry import register
from nasbench_sim.searchers.updates import Adam


@register(
    name="proxylessnas",
    family="differentiable",
    title="ProxylessNAS",
    paper="Cai, Zhu & Han, ProxylessNAS: Direct Neural Architecture Search on Target Task and Hardware, ICLR 2019 "
    "(arXiv 1812.00332)",
    equation="g = binarise(pi); dL/dalpha_i = sum_j dL/dg_j pi_j (delta_ij - pi_i) over two sampled paths ("
    "section 3.2.1)",
    deviations=(
        "the first of the two paths drawn is the open one, so that its law is pi; the code draws it from the two again",
        "dL/dg_a - dL/dg_b is the loss of the cell with a minus that of the cell with b, exactly, not to first order",
        "a decision whose open path is `none` learns too; the code skips it, because its blocks are then bypassed",
        "alpha moves at every weight step; the code's default is every fifth",
        "the code's default binary mode evaluates the gates of all paths (full_v2); this is the paper's mode, two",
        "no latency loss of the paper's section 3.3; a run's `penalty` adds one to any method's loss",
    ),
    unknowns=(
        "every setting on NAS-Bench-201: no configuration or result was published; default those of the ImageNet code "
        "(Adam lr 1e-3, betas (0, 0.999), no weight decay)",
        "warmup: share of the search before alpha moves, default 1/4 (the code: 40 epochs, then 120)",
    ),
    test_params={"warmup": 0.1},
    work=1.7,
)
def proxylessnas(
    *,
    lr: float = 1e-3,
    betas: tuple[float, float] = (0.0, 0.999),
    weight_decay: float = 0.0,
    warmup: float = 0.25,
) -> Searcher:
    """Two sampled paths a decision, gradient through their gates, unsampled probabilities left alone."""
    return gradient_searcher(
        "proxylessnas", relaxation=BinaryGates(), update=Adam(lr, betas, weight_decay), warmup=warmup
    )
