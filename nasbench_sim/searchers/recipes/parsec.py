"""PARSEC: empirical Bayes over cells by importance-weighted Monte Carlo."""

from __future__ import annotations

from nasbench_sim.errors import SpecError
from nasbench_sim.searchers.base import Searcher
from nasbench_sim.searchers.gradient import gradient_searcher
from nasbench_sim.searchers.registry import register
from nasbench_sim.searchers.relaxations import ImportanceWeighted
from nasbench_sim.searchers.updates import Adam


@register(
    name="parsec",
    headline=True,
    title="PARSEC",
    paper="Casale, Gordon & Fusi, Probabilistic Neural Architecture Search, 2019 (arXiv 1902.05116)",
    equation="omega_k ~ p(y | X, v, cell_k), cell_k ~ prod Cat(pi); grad_pi = sum_k omega_k grad log p(cell_k | pi) "
    "(Algorithm 1)",
    deviations=(
        "pi = softmax(alpha), updated by Adam; the final cell is the mode",
        "cells are drawn on NAS-Bench-201's edges; the paper draws (input, operation) pairs of the DARTS cell",
    ),
    unknowns=(
        "temperature: the batch likelihood is exp(-64 x mean loss), i.e. temperature 1/64 in units of the loss; "
        "the paper does not say whether it is tempered",
        "lr, betas and weight decay of alpha: not found; default those of DARTS",
        "samples (K): 16, as FP-NAS (CVPR 2021) reports for PARSEC",
    ),
    test_params={"samples": 4},
    work=2.5,
)
def parsec(
    *,
    samples: int = 16,
    temperature: float = 1 / 64,
    lr: float = 3e-4,
    betas: tuple[float, float] = (0.5, 0.999),
    weight_decay: float = 0.0,
) -> Searcher:
    """Importance-weighted Monte Carlo over K sampled cells, weights in log space, Adam on the logits of pi."""
    if samples < 1:
        raise SpecError(f"samples is at least 1, got {samples}")
    if not temperature > 0:
        raise SpecError(f"temperature is positive, got {temperature}")
    return gradient_searcher(
        "parsec", relaxation=ImportanceWeighted(samples, temperature), update=Adam(lr, betas, weight_decay)
    )
