"""GraSP: the best of some random cells by gradient signal preservation."""

from __future__ import annotations

from typing import Literal

from nasbench_sim.searchers.base import Searcher
from nasbench_sim.searchers.registry import register
from nasbench_sim.searchers.training_free import ProxySearcher


@register(
    name="grasp",
    family="training-free",
    title="GraSP (zero-cost NAS)",
    paper="Wang, Zhang & Grosse, Picking winning tickets before training by preserving gradient flow, ICLR 2020 "
    "(arXiv 2002.07376); as a score of cells: Abdelfattah et al., Zero-Cost Proxies for Lightweight NAS, ICLR 2021 "
    "(arXiv 2101.08134)",
    equation="argmax over n uniform cells of sum_theta -(H dL/dtheta) * theta on one mini-batch at initialisation",
    deviations=("a cell's score is one number from the table: one initialisation and one mini-batch for all searches",),
    unknowns=(
        "covered: which cells may be drawn, default all, as published; NAS-Bench-201's tables have no proxy for 39.6 % "
        "of them, which are then drawn for nothing: 91.84 / 92.20 / 92.00, "
        "among cells with a proxy 92.11 / 92.07 / 91.77 (CIFAR-10 test, exact, n = 10 / 50 / 100)",
        "proxy_dataset: whose proxies; the tables have none on CIFAR-100, where CIFAR-10's may be named",
    ),
    test_params={"evaluations": 10},
    work=0.05,
)
def grasp(
    *, evaluations: int = 100, proxy_dataset: str | None = None, covered: Literal["draw", "condition"] = "draw"
) -> Searcher:
    """Best of n uniform cells by GraSP, the second-order relative of SNIP."""
    return ProxySearcher("grasp", evaluations, proxy_dataset, covered, name="grasp")
