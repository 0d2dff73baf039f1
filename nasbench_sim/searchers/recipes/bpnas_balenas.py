"""BPNAS' pruning on top of BaLeNAS: cuts by the mean of a Gaussian posterior, which restarts after each."""

from __future__ import annotations

from typing import Literal

from nasbench_sim.errors import SpecError
from nasbench_sim.searchers.base import Searcher
from nasbench_sim.searchers.gradient import gradient_searcher
from nasbench_sim.searchers.pruning import BPNASRule
from nasbench_sim.searchers.registry import register
from nasbench_sim.searchers.relaxations import Gaussian
from nasbench_sim.searchers.updates import VAdam


@register(
    name="bpnas-balenas",
    title="BPNAS + BaLeNAS",
    paper="BPNAS slides (Chang, Samaddar & Madireddy, ICML 2024 workshop) on BaLeNAS (Zhang et al., CVPR 2022)",
    equation="q(alpha) = N(mu, diag 1/(N s + lambda)); if ||softmax(mu_m) - 1/|gamma_m| ||_2 >= delta: Gamma = 0 at "
    "argmin mu, restart q",
    deviations=(
        "a composition of this project: no paper reports it",
        "the rule looks at softmax(mu), not at a draw",
        "at most one cut a step, see bpnas",
    ),
    unknowns=(
        "delta: default 0.01, as in bpnas-darts (64 of 64 searches end within 40 epochs on both landscapes of nb201)",
        "init_precision: default 1, the prior's, in which q restarts after each cut; at balenas' 1e4 the steps after a "
        "restart are so small (s takes 7 epochs a factor 10 to fall) that no search ends at any delta above the noise",
        "scope, reset and c: as in bpnas",
        "all of BaLeNAS' (see balenas)",
    ),
    test_params={"delta": 0.002, "samples": 2, "init_precision": 100.0},
    work=3.2,
)
def bpnas_balenas(
    *,
    delta: float = 0.01,
    scope: Literal["edge", "all"] = "edge",
    reset: Literal["all", "edge", "none"] = "all",
    c: float | None = None,
    samples: int = 3,
    lr: float = 3e-4,
    betas: tuple[float, float] = (0.5, 0.999),
    train_size: int = 25_000,
    prior_precision: float = 1.0,
    init_precision: float = 1.0,
    denominator: Literal["sqrt", "plain"] = "sqrt",
    second_rate: float | None = None,
    order: Literal[1, 2] = 1,
) -> Searcher:
    """BaLeNAS with one option pruned at a time; mean, precision and momentum restart after each cut."""
    if samples < 1:
        raise SpecError(f"samples is at least 1, got {samples}")
    return gradient_searcher(
        "bpnas-balenas",
        relaxation=Gaussian(samples),
        update=VAdam(lr, betas, train_size, prior_precision, init_precision, denominator, second_rate),
        pruning=BPNASRule(delta, "mean", scope, reset, c, train_size),
        order=order,
    )
