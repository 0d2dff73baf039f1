"""DrNAS, progressive: two stages, of which the second keeps the three strongest options of each edge."""

from __future__ import annotations

from typing import Literal

from nasbench_sim.searchers.base import Searcher
from nasbench_sim.searchers.gradient import gradient_searcher
from nasbench_sim.searchers.recipes.drnas import PAPER, regularised_adam
from nasbench_sim.searchers.registry import register
from nasbench_sim.searchers.relaxations import Dirichlet
from nasbench_sim.searchers.stages import StagedPruning


@register(
    name="drnas-progressive",
    title="DrNAS (progressive)",
    paper=PAPER,
    equation="DrNAS in stages: at a stage's end the largest alphas are kept (5, then 3 options), values and all "
    "(section 4)",
    deviations=(
        "partial channels (K = 4, then 2) are not modelled: every option sees its full signal in both stages",
        "widening the network between stages has no counterpart in a table; trained weights stay as they are",
        "where decisions have unequal numbers of options, the first stage has them all, a later one at most keep[i]",
        "the published runs take 2 x 50 epochs, 10 of each for the weights alone: warmup is that share of a stage",
    ),
    unknowns=("reg_scale of the KL: 1e-3 is the code's default, meant for l2",),
    work=2.2,
)
def drnas_progressive(
    *,
    keep: tuple[int, ...] = (5, 3),
    warmup: float = 0.2,
    lr: float = 3e-4,
    betas: tuple[float, float] = (0.5, 0.999),
    reg_type: Literal["l2", "kl"] = "l2",
    reg_scale: float = 1e-3,
) -> Searcher:
    """Dirichlet relaxation in stages of fewer options; alpha rests while a stage warms up.

    Defaults: xiangning-chen/DrNAS 201-space/train_search_progressive.py.
    """
    update, regulariser = regularised_adam(reg_type, reg_scale, lr, betas)
    return gradient_searcher(
        "drnas-progressive",
        relaxation=Dirichlet(),
        update=update,
        regulariser=regulariser,
        pruning=StagedPruning(keep),
        warmup=warmup,
    )
