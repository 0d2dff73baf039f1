"""BPNAS' pruning on top of DARTS: the softmax takes the place of the Dirichlet."""

from __future__ import annotations

from typing import Literal

from nasbench_sim.searchers.base import Searcher
from nasbench_sim.searchers.gradient import gradient_searcher
from nasbench_sim.searchers.pruning import BPNASRule
from nasbench_sim.searchers.registry import register
from nasbench_sim.searchers.relaxations import Deterministic
from nasbench_sim.searchers.updates import Adam


@register(
    name="bpnas-darts",
    title="BPNAS + DARTS",
    paper="BPNAS slides (Chang, Samaddar & Madireddy, ICML 2024 workshop) on DARTS (Liu et al., ICLR 2019)",
    equation="theta = softmax(alpha); if ||theta_m - 1/|gamma_m| ||_2 >= delta: Gamma = 0 at argmin alpha, reset alpha",
    deviations=(
        "a composition of this project: no paper reports it",
        "no weight decay by default, as in bpnas: it holds two options of equal value together, and then the search "
        "does not end (3 of 64 on the noise-free nb201-analog at DARTS' 1e-3)",
        "at most one cut a step, see bpnas",
    ),
    unknowns=(
        "delta: default 0.01, the largest of 0.005, 0.01, 0.02, 0.03 and 0.05 at which 64 searches all end within 50 "
        "epochs on both landscapes of nb201",
        "scope, reset and c: as in bpnas",
    ),
    test_params={"delta": 0.002},
    work=1.2,
)
def bpnas_darts(
    *,
    delta: float = 0.01,
    scope: Literal["edge", "all"] = "edge",
    reset: Literal["all", "edge", "none"] = "all",
    c: float | None = None,
    train_size: int = 25_000,
    lr: float = 3e-4,
    betas: tuple[float, float] = (0.5, 0.999),
    weight_decay: float = 0.0,
    order: Literal[1, 2] = 1,
) -> Searcher:
    """DARTS with one option pruned at a time and alpha restarted after each cut."""
    return gradient_searcher(
        "bpnas-darts",
        relaxation=Deterministic(),
        update=Adam(lr, betas, weight_decay),
        pruning=BPNASRule(delta, "mean", scope, reset, c, train_size),
        order=order,
    )
