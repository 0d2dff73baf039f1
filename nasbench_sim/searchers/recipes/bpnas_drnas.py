"""BPNAS' pruning on top of DrNAS as published: with the pull towards the uniform Dirichlet that bpnas leaves out."""

from __future__ import annotations

from typing import Literal

from nasbench_sim.searchers.base import Searcher
from nasbench_sim.searchers.gradient import gradient_searcher
from nasbench_sim.searchers.pruning import BPNASRule
from nasbench_sim.searchers.recipes.drnas import regularised_adam
from nasbench_sim.searchers.registry import register
from nasbench_sim.searchers.relaxations import Dirichlet


@register(
    name="bpnas-drnas",
    title="BPNAS + DrNAS",
    paper="BPNAS slides (Chang, Samaddar & Madireddy, ICML 2024 workshop) on DrNAS (Chen et al., ICLR 2021)",
    equation="theta ~ Dir(elu(alpha) + 1), loss + reg_scale KL(Dir || Dir(1)); if ||E theta_m - 1/|gamma_m| ||_2 >= "
    "delta: Gamma = 0 at argmin alpha, reset alpha",
    deviations=(
        "bpnas is this without a regulariser (the slides name none); the KL is the default here, for weight decay "
        "changes next to nothing while alpha restarts every few epochs",
        "at most one cut a step, see bpnas",
    ),
    unknowns=(
        "delta: default 0.01, as in bpnas-darts (64 of 64 searches end within 48 epochs on both landscapes of nb201); "
        "two options of equal value are held together by the KL and never end",
        "scope, reset and c: as in bpnas",
        "reg_scale of the KL: 1e-3, see drnas",
    ),
    test_params={"delta": 0.002},
    work=2.9,
)
def bpnas_drnas(
    *,
    delta: float = 0.01,
    scope: Literal["edge", "all"] = "edge",
    reset: Literal["all", "edge", "none"] = "all",
    c: float | None = None,
    train_size: int = 25_000,
    lr: float = 3e-4,
    betas: tuple[float, float] = (0.5, 0.999),
    reg_type: Literal["l2", "kl"] = "kl",
    reg_scale: float = 1e-3,
    order: Literal[1, 2] = 1,
) -> Searcher:
    """DrNAS with its regulariser, one option pruned at a time and alpha restarted after each cut."""
    update, regulariser = regularised_adam(reg_type, reg_scale, lr, betas)
    return gradient_searcher(
        "bpnas-drnas",
        relaxation=Dirichlet(),
        update=update,
        regulariser=regulariser,
        pruning=BPNASRule(delta, "mean", scope, reset, c, train_size),
        order=order,
    )
