"""Random sampling, the baseline every method has to beat."""

from __future__ import annotations

from nasbench_sim.searchers.base import Searcher
from nasbench_sim.searchers.random_search import RandomSearcher
from nasbench_sim.searchers.registry import register


@register(
    name="random",
    family="sampling",
    headline=True,
    title="Random sampling",
    paper="Li & Talwalkar, Random search and reproducibility for NAS, UAI 2019 (arXiv 1902.07638)",
    equation="argmin of the landscape's loss over n uniform cells; shared weights under uniform usage",
    deviations=(
        "the control, not the published protocol, which is rsps: the shared weights train at the uniform mixture (the "
        "mean of a single path), and all cells are compared on one common mini-batch",
        "cells are drawn along the way; whenever one is, all so far are scored again under the weights of that moment",
    ),
    test_params={"evaluations": 10},
    work=0.2,
)
def random(*, evaluations: int = 100) -> Searcher:
    """Best of n uniform cells by the landscape's own mini-batch loss."""
    return RandomSearcher(evaluations)
