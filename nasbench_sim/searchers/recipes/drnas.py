"""DrNAS: a Dirichlet over each edge's mixture, learned through pathwise gradients."""

from __future__ import annotations

from typing import Literal

from nasbench_sim.errors import SpecError
from nasbench_sim.searchers.base import Searcher
from nasbench_sim.searchers.gradient import gradient_searcher
from nasbench_sim.searchers.registry import register
from nasbench_sim.searchers.regularisers import DirichletKL
from nasbench_sim.searchers.relaxations import Dirichlet
from nasbench_sim.searchers.updates import Adam

PAPER = "Chen et al., DrNAS: Dirichlet Neural Architecture Search, ICLR 2021 (arXiv 2006.10355)"


def regularised_adam(
    reg_type: Literal["l2", "kl"], reg_scale: float, lr: float, betas: tuple[float, float]
) -> tuple[Adam, DirichletKL | None]:
    """DrNAS's optimiser of alpha: Adam with weight decay `reg_scale` (l2), or without and a KL of that scale (kl)."""
    if not reg_scale >= 0:
        raise SpecError(f"reg_scale is >= 0, got {reg_scale}")
    if reg_type == "kl":
        return Adam(lr, betas, 0.0), DirichletKL(reg_scale)
    return Adam(lr, betas, reg_scale), None


@register(
    name="drnas",
    title="DrNAS",
    paper=PAPER,
    equation="theta ~ Dir(elu(alpha) + 1); min E_theta L_val(w*, theta) + reg_scale d(theta's Dirichlet, Dir(1)), "
    "gradient along the path of the draw (section 3)",
    deviations=(
        "path derivative by shape augmentation (see relaxations.Dirichlet), where torch has the implicit one",
        "order 2 differentiates the modelled weight step exactly (dm/dtheta), through the one draw of the step",
        "the published runs take 100 epochs; `epochs` is the run's, not the method's",
    ),
    unknowns=("reg_scale of the KL: 1e-3 is the code's default, meant for l2; 'for kl you might adjust' it",),
    work=2.1,
)
def drnas(
    *,
    lr: float = 3e-4,
    betas: tuple[float, float] = (0.5, 0.999),
    reg_type: Literal["l2", "kl"] = "l2",
    reg_scale: float = 1e-3,
    order: Literal[1, 2] = 1,
) -> Searcher:
    """Dirichlet relaxation, one draw a step, Adam on alpha, argmax including `none`.

    Defaults: xiangning-chen/DrNAS 201-space/train_search.py.
    """
    update, regulariser = regularised_adam(reg_type, reg_scale, lr, betas)
    return gradient_searcher("drnas", relaxation=Dirichlet(), update=update, regulariser=regulariser, order=order)
