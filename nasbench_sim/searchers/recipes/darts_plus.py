"""DARTS+: DARTS, ended before skip connections take over."""

from __future__ import annotations

from typing import Literal

from nasbench_sim.searchers.base import Searcher
from nasbench_sim.searchers.gradient import gradient_searcher
from nasbench_sim.searchers.registry import register
from nasbench_sim.searchers.relaxations import Deterministic
from nasbench_sim.searchers.stopping import Stopping
from nasbench_sim.searchers.stopping_rules import SkipLimit, StableRanking
from nasbench_sim.searchers.updates import Adam


@register(
    name="darts-plus",
    title="DARTS+",
    paper="Liang et al., DARTS+: Improved Differentiable Architecture Search with Early Stopping, 2019 "
    "(arXiv 1909.06035)",
    equation="DARTS, stopped when the normal cell has >= 2 skip connections (criterion 1), or when the ranking of "
    "alpha among learnable operations is stable for 10 epochs (criterion 2)",
    deviations=(
        "2 skips of NAS-Bench-201's 6 edges; the paper's cell has 8 operations, each the best of its edge without "
        "`none`, here `none` counts",
        "a space without skip connections has criterion='ranking' only",
        "the search is looked at once an epoch and keeps the alpha of the moment in which it stops",
    ),
    unknowns=(
        "first_epoch: whether the first epochs, in which the order of alpha is noise, count; default 0, they do",
    ),
)
def darts_plus(
    *,
    criterion: Literal["skips", "ranking"] = "skips",
    skips: int = 2,
    first_epoch: int = 0,
    patience: int = 10,
    lr: float = 3e-4,
    betas: tuple[float, float] = (0.5, 0.999),
    weight_decay: float = 1e-3,
    order: Literal[1, 2] = 1,
) -> Searcher:
    """DARTS that stops at `skips` skip connections, or once the ranking stood still for `patience` epochs."""
    rule: Stopping = SkipLimit(skips, first_epoch) if criterion == "skips" else StableRanking(patience)
    return gradient_searcher(
        "darts-plus",
        relaxation=Deterministic(),
        update=Adam(lr, betas, weight_decay),
        stopping=rule,
        order=order,
    )
