"""SNIP: the best of some random cells by connection sensitivity."""

from __future__ import annotations

from typing import Literal

from nasbench_sim.searchers.base import Searcher
from nasbench_sim.searchers.registry import register
from nasbench_sim.searchers.training_free import ProxySearcher


@register(
    name="snip",
    family="training-free",
    title="SNIP (zero-cost NAS)",
    paper="Lee et al., SNIP: single-shot network pruning based on connection sensitivity, ICLR 2019 "
    "(arXiv 1810.02340); as a score of cells: Abdelfattah et al., Zero-Cost Proxies for Lightweight NAS, ICLR 2021 "
    "(arXiv 2101.08134)",
    equation="argmax over n uniform cells of sum_theta |theta * dL/dtheta| on one mini-batch at initialisation",
    deviations=("a cell's score is one number from the table: one initialisation and one mini-batch for all searches",),
    unknowns=(
        "covered: which cells may be drawn, default all, as published; NAS-Bench-201's tables have no proxy for 39.6 % "
        "of them, which are then drawn for nothing: 91.93 / 92.14 / 91.92, "
        "among cells with a proxy 92.13 / 91.99 / 91.68 (CIFAR-10 test, exact, n = 10 / 50 / 100)",
        "proxy_dataset: whose proxies; the tables have none on CIFAR-100, where CIFAR-10's may be named",
    ),
    test_params={"evaluations": 10},
    work=0.05,
)
def snip(
    *, evaluations: int = 100, proxy_dataset: str | None = None, covered: Literal["draw", "condition"] = "draw"
) -> Searcher:
    """Best of n uniform cells by SNIP; past some 50 cells more make it worse, for its very best cells are poor."""
    return ProxySearcher("snip", evaluations, proxy_dataset, covered, name="snip")
