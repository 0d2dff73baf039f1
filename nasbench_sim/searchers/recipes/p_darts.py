"""P-DARTS: stages with fewer and fewer options, alpha afresh in each, and skips held down."""

from __future__ import annotations

from nasbench_sim.errors import SpecError
from nasbench_sim.searchers.base import Searcher
from nasbench_sim.searchers.gradient import gradient_searcher
from nasbench_sim.searchers.perturbations import SkipDropout
from nasbench_sim.searchers.registry import register
from nasbench_sim.searchers.selection import AtMostSkips
from nasbench_sim.searchers.stages import StagedPruning
from nasbench_sim.searchers.updates import Adam


@register(
    name="p-darts",
    title="P-DARTS",
    paper="Chen, Xie, Wu & Tian, Progressive Differentiable Architecture Search, ICCV 2019 (arXiv 1904.12760)",
    equation="three stages; at a stage's end the O_k largest softmax(alpha) are kept and alpha restarts; dropout on "
    "skips, falling within a stage; at most M skips in the final cell (section 3.2-3.3)",
    deviations=(
        "keep (5, 3, 2) of 5 options: the paper's 8, 5, 3 of 8 times 5/8, rounded",
        "the supernet does not get deeper (5, 11, 17 cells): a table has one depth; trained weights stay as they are, "
        "and their learning rate falls once over the search, not once a stage",
        "a skip is dropped from an edge as a whole; the code drops single activations and scales up the others",
        "the final cell may hold `none`; the code excludes it",
        "where decisions have unequal numbers of options, the first stage has them all, a later one at most keep[i]",
        "M = 2 skips of NAS-Bench-201's 6 edges; the paper's is of the 8 operations of a normal cell",
    ),
    unknowns=("dropout on another data set: 0.0, 0.4, 0.7 is the paper's for CIFAR-10, 0.1, 0.2, 0.3 for CIFAR-100",),
    work=1.2,
)
def p_darts(
    *,
    keep: tuple[int, ...] = (5, 3, 2),
    dropout: tuple[float, ...] = (0.0, 0.4, 0.7),
    decay: float = 5.0,
    warmup: float = 0.4,
    skips: int = 2,
    lr: float = 6e-4,
    betas: tuple[float, float] = (0.5, 0.999),
    weight_decay: float = 1e-3,
) -> Searcher:
    """Softmax relaxation in stages, each from a new alpha; dropout on skips, at most `skips` of them in the end.

    Defaults: chenxin061/pdarts (stages of 25 epochs, 10 of them for the weights alone).
    """
    if len(dropout) != len(keep):
        raise SpecError(f"one dropout rate a stage: {len(keep)} stages {keep}, {len(dropout)} rates {dropout}")
    return gradient_searcher(
        "p-darts",
        relaxation=SkipDropout(dropout, warmup, decay),
        update=Adam(lr, betas, weight_decay),
        pruning=StagedPruning(keep, reset=True),
        selection=AtMostSkips(skips),
        warmup=warmup,
    )
