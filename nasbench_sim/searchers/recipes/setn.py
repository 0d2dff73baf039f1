"""SETN: uniformly trained shared weights, a learned distribution over cells, and the best of its most likely ones."""

from __future__ import annotations

from nasbench_sim.searchers.base import Searcher
from nasbench_sim.searchers.gradient import gradient_searcher
from nasbench_sim.searchers.one_shot import BestOfTop, UniformPath
from nasbench_sim.searchers.registry import register
from nasbench_sim.searchers.updates import Adam


@register(
    name="setn",
    family="sampling",
    title="SETN",
    paper="Dong & Yang, One-Shot Neural Architecture Search via Self-Evaluated Template Network, ICCV 2019 "
    "(arXiv 1910.05733); settings: NAS-Bench-201 (arXiv 2001.00326), 250 epochs",
    equation="weights on one uniform cell a step; alpha <- Adam(d/dalpha L_val(softmax(alpha), w)); at the end argmin "
    "over the n cells of largest prod_d softmax(alpha_d)[cell_d] of the loss on one validation batch each",
    deviations=(
        "candidates are compared by the modelled loss, not by accuracy",
        "the weight step and the architecture step of one step see the same shared weights",
        "on a plain table, which has no weights, alpha follows DARTS exactly; only the selection differs",
    ),
    unknowns=(
        "lr, betas, weight_decay: those of the NAS-Bench-201 scripts (FACTS A.3)",
        "eval_batch: 512 images, the test batch of the scripts' settings; noise is modelled at the search's 64",
    ),
    test_params={"candidates": 10},
    work=1.4,
)
def setn(
    *,
    candidates: int = 100,
    eval_batch: int = 512,
    lr: float = 3e-4,
    betas: tuple[float, float] = (0.5, 0.999),
    weight_decay: float = 1e-3,
) -> Searcher:
    """Uniform single-path weights, alpha at the softmax mixture, the best of the n most likely cells."""
    return gradient_searcher(
        "setn",
        relaxation=UniformPath(),
        update=Adam(lr, betas, weight_decay),
        selection=BestOfTop(candidates, eval_batch),
    )
