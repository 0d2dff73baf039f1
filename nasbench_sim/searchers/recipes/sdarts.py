"""SDARTS: DARTS on a loss smoothed over, or maximised in, a neighbourhood of theta."""

from __future__ import annotations

from typing import Literal

from nasbench_sim.searchers.base import Searcher
from nasbench_sim.searchers.gradient import gradient_searcher
from nasbench_sim.searchers.perturbations import Perturbed
from nasbench_sim.searchers.registry import register
from nasbench_sim.searchers.updates import Adam


@register(
    name="sdarts",
    title="SDARTS",
    paper="Chen & Hsieh, Stabilizing Differentiable Architecture Search via Perturbation-based Regularization, "
    "ICML 2020 (arXiv 2002.05283)",
    equation="w*(theta) minimises E_(delta ~ U[-eps, eps]) L_train(w, theta + delta) (rs) or "
    "max_(|delta| <= eps) L_train(w, theta + delta) (adv), section 3",
    deviations=(
        "a table's weights have no surface of their own that could be flattened: loss and gradient of the "
        "architecture step are taken at theta + delta too (where='weights' perturbs the weight step alone, as printed)",
        "both steps share one delta and one mini-batch",
        "adv ascends along the simplex, on the gradient of the mini-batch; whether it has risen is judged by the "
        "landscape's loss, which carries no noise",
    ),
    unknowns=("epsilon within an epoch: constant, as in the code: 0.03 + 0.27 epoch / epochs",),
    work=1.1,
)
def sdarts(
    *,
    mode: Literal["rs", "adv"] = "rs",
    epsilon: float = 0.3,
    start: float = 0.1,
    steps: int = 7,
    where: Literal["both", "weights"] = "both",
    lr: float = 3e-4,
    betas: tuple[float, float] = (0.5, 0.999),
    weight_decay: float = 1e-3,
    order: Literal[1, 2] = 1,
) -> Searcher:
    """DARTS at theta + delta: random (rs), or the worst found by sign ascent (adv, 9 passes a step).

    Defaults: xiangning-chen/SmoothDARTS, epsilon from 0.03 to 0.3 and 7 steps of 2 epsilon / 7.
    """
    return gradient_searcher(
        "sdarts",
        relaxation=Perturbed(mode, epsilon, start, steps, where),
        update=Adam(lr, betas, weight_decay),
        order=order,
    )
