"""NASWOT: the best of some random cells by how differently their untrained networks see the inputs."""

from __future__ import annotations

from typing import Literal

from nasbench_sim.searchers.base import Searcher
from nasbench_sim.searchers.registry import register
from nasbench_sim.searchers.training_free import ProxySearcher


@register(
    name="naswot",
    family="training-free",
    title="NASWOT",
    paper="Mellor et al., Neural Architecture Search without Training, ICML 2021 (arXiv 2006.04647)",
    equation="argmax over n uniform cells of log |K_H|, K_H[i, j] = N_A - Hamming(c_i, c_j) of the ReLU codes c of a "
    "mini-batch (eq. 2)",
    deviations=(
        "a cell's score is one number from the table: one initialisation and one mini-batch for all searches",
        "the paper draws a new mini-batch for every run; that noise is not in the table",
    ),
    unknowns=(
        "covered: which cells may be drawn, default all, as published; NAS-Bench-201's tables have no proxy for 39.6 % "
        "of them, which are then drawn for nothing: 92.43 / 92.89 / 93.11, "
        "among cells with a proxy 92.64 / 92.91 / 93.14 (CIFAR-10 test, exact, n = 10 / 100 / 1000)",
        "proxy_dataset: whose proxies; the tables have none on CIFAR-100, where CIFAR-10's may be named",
    ),
    test_params={"evaluations": 10},
    work=0.05,
)
def naswot(
    *, evaluations: int = 100, proxy_dataset: str | None = None, covered: Literal["draw", "condition"] = "draw"
) -> Searcher:
    """Best of n uniform cells by NASWOT's log-determinant of the kernel of ReLU codes."""
    return ProxySearcher("nwot", evaluations, proxy_dataset, covered, name="naswot")
