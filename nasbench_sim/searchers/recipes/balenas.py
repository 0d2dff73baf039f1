"""BaLeNAS: a Gaussian posterior over alpha, learned by natural-gradient variational inference."""

from __future__ import annotations

from typing import Literal

from nasbench_sim.errors import SpecError
from nasbench_sim.searchers.base import Searcher
from nasbench_sim.searchers.gradient import gradient_searcher
from nasbench_sim.searchers.registry import register
from nasbench_sim.searchers.relaxations import Gaussian
from nasbench_sim.searchers.updates import VAdam


@register(
    name="balenas",
    headline=True,
    title="BaLeNAS",
    paper="Zhang et al., BaLeNAS: Differentiable Architecture Search via the Bayesian Learning Rule, CVPR 2022 "
    "(arXiv 2111.13204); optimiser: Khan et al., VAdam, ICML 2018 (arXiv 1806.04854)",
    equation="q(alpha) = N(mu, diag 1/(N s + lambda)); theta_k = softmax(mu + sd eps_k), k = 1..M; eq. 17-18",
    deviations=(
        "default denominator sqrt(s) + lambda/N is that of VAdam's paper and code; the paper's eq. 17 has no root "
        "(denominator='plain')",
        "order 2 differentiates the modelled weight step exactly (dm/dtheta), each draw through its own",
        "no natural momentum beyond Adam's first moment (eq. 16 adds gamma (lambda_t - lambda_{t-1}))",
    ),
    unknowns=(
        "prior_precision (delta): not stated, default 1",
        "train_size (N): not stated, default 25,000, the training half of CIFAR-10",
        "init_precision: not stated, default 1e4 (first draws have sd 0.01; at 1 they have sd 1, 1000 x alpha)",
        "lr and betas: 'follow DARTS', default Adam's 3e-4 and (0.5, 0.999)",
        "train_at: where the shared weights train, default softmax(mu)",
        "square_of: mean of squared gradients (VAdam's code) or square of the mean",
        "second_rate: rate of s; default 1 - beta2 (sqrt) or lr (plain, as printed)",
    ),
    test_params={"samples": 2, "init_precision": 100.0},
    work=3.0,
)
def balenas(
    *,
    samples: int = 3,
    lr: float = 3e-4,
    betas: tuple[float, float] = (0.5, 0.999),
    train_size: int = 25_000,
    prior_precision: float = 1.0,
    init_precision: float = 1e4,
    denominator: Literal["sqrt", "plain"] = "sqrt",
    second_rate: float | None = None,
    train_at: Literal["mean", "sample"] = "mean",
    square_of: Literal["each", "mean"] = "each",
    noise_scale: float = 1.0,
    order: Literal[1, 2] = 1,
) -> Searcher:
    """Gaussian posterior over alpha by VAdam, M Monte Carlo draws a step, argmax of the mean."""
    if samples < 1:
        raise SpecError(f"samples is at least 1, got {samples}")
    return gradient_searcher(
        "balenas",
        relaxation=Gaussian(samples, train_at, square_of),
        update=VAdam(lr, betas, train_size, prior_precision, init_precision, denominator, second_rate, noise_scale),
        order=order,
    )
