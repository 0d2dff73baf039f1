"""BPNAS: prune one option at a time from a Dirichlet relaxation, restarting alpha after each cut."""

from __future__ import annotations

from typing import Literal

from nasbench_sim.searchers.base import Searcher
from nasbench_sim.searchers.gradient import gradient_searcher
from nasbench_sim.searchers.links import Concentration
from nasbench_sim.searchers.pruning import BPNASRule
from nasbench_sim.searchers.registry import register
from nasbench_sim.searchers.relaxations import Deterministic, Dirichlet
from nasbench_sim.searchers.updates import SGD, Adam


@register(
    name="bpnas",
    headline=True,
    title="BPNAS",
    paper="Chang, Samaddar & Madireddy, BPNAS: Bayesian Progressive Neural Architecture Search, ICML 2024 workshop "
    "Differentiable Almost Everything (slides; no paper text or code is public)",
    equation="if ||theta(alpha_m) - 1/|gamma_m| ||_2 >= delta: Gamma = 0 at argmin alpha, reset alpha; "
    "theta(alpha_m) ~ Dirichlet(alpha_m)",
    deviations=(
        "at most one cut a step: the edge furthest from uniform triggers",
        "an edge's last option is never a candidate for the argmin",
    ),
    unknowns=(
        "delta: not stated; default 0.01 on the mean theta, the largest of 0.01, 0.02, 0.03, 0.05 and 0.1 at which 64 "
        "searches all end within 50 epochs on both landscapes (a sampled theta needs about 0.5)",
        "theta: whether the rule looks at the mean or a sample, default mean",
        "relax: whether the loss is taken at the mean of the Dirichlet or at a sample, default sample",
        "scope: argmin over the triggering edge or over all active entries, default edge",
        "reset: all edges, the cut edge or none, default all",
        "c: the printed rule does not use it; default None, a number adds a MAP test",
        "concentration: how alpha becomes a Dirichlet parameter, elu(alpha) + 1 as in DrNAS",
        "optimiser: the slides say SGD; default Adam with DrNAS's settings, update='sgd' for plain SGD",
        "members (N): not stated, default 0 (no ensemble); member_epochs: not stated, default 15; how members are "
        "combined is not stated either: they are reported, not combined",
    ),
    test_params={"delta": 0.002, "members": 2, "member_epochs": 1},
    work=2.2,
)
def bpnas(
    *,
    delta: float = 0.01,
    theta: Literal["mean", "sample"] = "mean",
    relax: Literal["mean", "sample"] = "sample",
    scope: Literal["edge", "all"] = "edge",
    reset: Literal["all", "edge", "none"] = "all",
    c: float | None = None,
    train_size: int = 25_000,
    update: Literal["adam", "sgd"] = "adam",
    lr: float = 3e-4,
    betas: tuple[float, float] = (0.5, 0.999),
    weight_decay: float = 0.0,
    members: int = 0,
    member_epochs: int = 15,
) -> Searcher:
    """Dirichlet relaxation with progressive pruning; the cell is what is left, or the argmax until then."""
    step = Adam(lr, betas, weight_decay) if update == "adam" else SGD(lr, 0.0, weight_decay)
    return gradient_searcher(
        "bpnas",
        relaxation=Dirichlet() if relax == "sample" else Deterministic(Concentration()),
        update=step,
        pruning=BPNASRule(delta, theta, scope, reset, c, train_size),
        members=members,
        member_epochs=member_epochs,
    )
