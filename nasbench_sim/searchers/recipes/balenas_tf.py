"""BaLeNAS-TF: cells drawn from BaLeNAS' posterior, the best zero-cost proxy among them wins."""

from __future__ import annotations

from typing import Literal

from nasbench_sim.errors import SpecError
from nasbench_sim.searchers.base import Searcher
from nasbench_sim.searchers.gradient import gradient_searcher
from nasbench_sim.searchers.registry import register
from nasbench_sim.searchers.relaxations import Gaussian
from nasbench_sim.searchers.selection import ProxySample
from nasbench_sim.searchers.updates import VAdam


@register(
    name="balenas-tf",
    title="BaLeNAS-TF",
    paper="Zhang et al., BaLeNAS: Differentiable Architecture Search via the Bayesian Learning Rule, CVPR 2022 "
    "(arXiv 2111.13204), section 4.3",
    equation="BaLeNAS; then argmax over S cells of SynFlow(cell), cell = argmax_k alpha_k, alpha ~ q = N(mu, sd^2)",
    deviations=(
        "proxies are columns of a table, not computed during the search: SynFlow's mean over all initialisations, of "
        "every cell (synflow-mean, made by this project); published columns are one initialisation of 9,445 cells",
        "a drawn cell without the proxy (none by default) is no candidate, and where no draw has one the mode is "
        "returned; published columns do not exist on CIFAR-100, where proxy_dataset='cifar10' takes CIFAR-10's",
        "all of BaLeNAS' (see balenas)",
    ),
    unknowns=(
        "draws (S): 100 in the main table, 10 and 50 in table 2",
        "whether a cell is the argmax of a drawn alpha or a draw from softmax(alpha): the former",
        "all of BaLeNAS' (see balenas)",
    ),
    test_params={"samples": 2, "init_precision": 100.0, "draws": 10},
    work=2.9,
)
def balenas_tf(
    *,
    draws: int = 100,
    proxy: str = "synflow-mean",
    proxy_dataset: str | None = None,
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
    """BaLeNAS' posterior, then the best tabulated zero-cost proxy among `draws` cells drawn from it."""
    if samples < 1:
        raise SpecError(f"samples is at least 1, got {samples}")
    return gradient_searcher(
        "balenas-tf",
        relaxation=Gaussian(samples, train_at, square_of),
        update=VAdam(lr, betas, train_size, prior_precision, init_precision, denominator, second_rate, noise_scale),
        selection=ProxySample(draws, proxy, proxy_dataset),
        order=order,
    )
