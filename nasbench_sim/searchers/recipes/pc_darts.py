"""PC-DARTS: partial channel connections and edge normalisation on top of DARTS."""

from __future__ import annotations

from nasbench_sim.searchers.base import Searcher
from nasbench_sim.searchers.channels import PartialChannels
from nasbench_sim.searchers.gradient import gradient_searcher
from nasbench_sim.searchers.registry import register
from nasbench_sim.searchers.updates import Adam


@register(
    name="pc-darts",
    family="differentiable",
    title="PC-DARTS",
    paper="Xu et al., PC-DARTS: Partial Channel Connections for Memory-Efficient Architecture Search, ICLR 2020 "
    "(arXiv 1907.05737)",
    equation="f(x) = sum_o softmax(alpha)_o o(S x) + (1 - S) x with S one in K channels (eq. 2); node = sum_i "
    "softmax(beta)_i f_i(x_i) (eq. 3)",
    deviations=(
        "a table has no channels: the bypass of 1 - 1/K of them is the share 1 - 1/K of a skip connection in the "
        "mixture at which the loss is taken",
        "an edge's weight acts relative to the largest that enters its node (batch normalisation follows the sum), and "
        "what it lacks acts as `none`",
        "on NAS-Bench-201 every edge is kept, so beta shapes the search but not the choice: the cell is argmax alpha; "
        "in the DARTS space it also picks two inputs a node",
        "without skip connections (NAS-Bench-1Shot1) the bypass is a constant, the mean of the options; parents there "
        "are decisions of their own, mixed in full, and there is no beta",
        "the recorded eigenvalue is that of the loss at softmax(alpha), without bypass and beta",
        "`none` is a candidate, as in the NAS-Bench-201 scripts; the paper's genotype leaves it out",
    ),
    unknowns=(
        "every setting on NAS-Bench-201: default those of the paper's CIFAR-10 search in the DARTS space (K = 4, lr "
        "6e-4, weight decay 1e-3, 50 epochs, alpha and beta from epoch 15 on: warmup 0.3)",
    ),
    test_params={"warmup": 0.1},
    work=1.3,
)
def pc_darts(
    *,
    channels: int = 4,
    edge_normalisation: bool = True,
    lr: float = 6e-4,
    betas: tuple[float, float] = (0.5, 0.999),
    weight_decay: float = 1e-3,
    warmup: float = 0.3,
) -> Searcher:
    """One in `channels` channels through the mixture, the rest past it; edges weighed by beta; Adam on both."""
    update = Adam(lr, betas, weight_decay)
    return gradient_searcher(
        "pc-darts",
        relaxation=PartialChannels(channels, edge_normalisation, update, warmup),
        update=update,
        warmup=warmup,
    )
