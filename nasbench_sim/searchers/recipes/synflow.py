"""SynFlow: the best of some random cells by synaptic flow."""

from __future__ import annotations

from typing import Literal

from nasbench_sim.errors import SpecError
from nasbench_sim.searchers.base import Searcher
from nasbench_sim.searchers.registry import register
from nasbench_sim.searchers.training_free import ProxySearcher


@register(
    name="synflow",
    family="training-free",
    title="SynFlow (zero-cost NAS)",
    paper="Tanaka et al., Pruning neural networks without any data by iteratively conserving synaptic flow, NeurIPS "
    "2020 (arXiv 2006.05467); as a score of cells: Abdelfattah et al., Zero-Cost Proxies for Lightweight NAS, ICLR "
    "2021 (arXiv 2101.08134)",
    equation="argmax over n uniform cells of sum_theta |theta * dR/dtheta|, R = 1^T (prod_l |theta_l|) 1",
    deviations=(
        "a cell's score is one number for all searches: by default the mean over all initialisations, exact, of every "
        "cell (synflow-mean, made by this project); proxy='synflow' takes the published column, one initialisation of "
        "9,445 cells (best of 10 / 50 / 100: 92.43 / 93.04 / 93.15 on CIFAR-10, by default 92.51 / 93.05 / 93.16)",
        "columns hold the natural logarithm, which orders cells alike",
    ),
    unknowns=(
        "covered: which cells may be drawn, default all, as published; the default proxy exists for all of them, the "
        "published column not for 39.6 %, which are then drawn for nothing (among the others 92.71 / 93.13 / 93.22)",
        "proxy_dataset: whose proxies; the published column has none on CIFAR-100, where CIFAR-10's may be named",
    ),
    test_params={"evaluations": 10},
    work=0.05,
)
def synflow(
    *,
    evaluations: int = 100,
    proxy: str = "synflow-mean",
    proxy_dataset: str | None = None,
    covered: Literal["draw", "condition"] = "draw",
) -> Searcher:
    """Best of n uniform cells by SynFlow, which needs no data: larger cells with more paths win."""
    if not proxy.startswith("synflow"):
        raise SpecError(
            f"proxy is synflow-mean, synflow or another column of that name, got {proxy!r}; see training-free"
        )
    return ProxySearcher(proxy, evaluations, proxy_dataset, covered, name="synflow")
