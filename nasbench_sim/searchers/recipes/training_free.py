"""Training-free search by any proxy that the table holds."""

from __future__ import annotations

from typing import Literal

from nasbench_sim.searchers.base import Searcher
from nasbench_sim.searchers.registry import register
from nasbench_sim.searchers.training_free import ProxySearcher


@register(
    name="training-free",
    family="training-free",
    title="Training-free search",
    paper="Abdelfattah et al., Zero-Cost Proxies for Lightweight NAS, ICLR 2021 (arXiv 2101.08134); the default proxy, "
    "jacob_cov: Mellor et al., Neural Architecture Search without Training, 2020 (arXiv 2006.04647v1)",
    equation="argmax (or argmin) over n uniform cells of a column of the table",
    deviations=("a cell's score is one number from the table: one initialisation and one mini-batch for all searches",),
    unknowns=(
        "proxy: default jacov, the one of NAS-Bench-201's 13 with the largest rank correlation on CIFAR-10 (0.830)",
        "better: whether high or low scores are good; of the 13 only `plain` is negatively correlated with accuracy",
        "covered and proxy_dataset: as for synflow",
    ),
    test_params={"evaluations": 10},
    work=0.05,
)
def training_free(
    *,
    proxy: str = "jacov",
    evaluations: int = 100,
    proxy_dataset: str | None = None,
    covered: Literal["draw", "condition"] = "draw",
    better: Literal["high", "low"] = "high",
) -> Searcher:
    """Best of n uniform cells by a proxy of your choice: a column of the table, or one that you imported into it."""
    return ProxySearcher(proxy, evaluations, proxy_dataset, covered, better)
