"""RSPS, also called RandomNAS: random search with weight sharing."""

from __future__ import annotations

from nasbench_sim.searchers.base import Searcher
from nasbench_sim.searchers.one_shot import SinglePathSearcher
from nasbench_sim.searchers.registry import register


@register(
    name="rsps",
    family="sampling",
    title="RSPS (RandomNAS)",
    paper="Li & Talwalkar, Random search and reproducibility for NAS, UAI 2019 (arXiv 1902.07638); settings: Dong & "
    "Yang, NAS-Bench-201, ICLR 2020 (arXiv 2001.00326), 250 epochs",
    equation="one uniform cell a weight step; at the end argmin over n fresh uniform cells of the loss on one "
    "validation batch each (section 3)",
    deviations=(
        "the NAS-Bench-201 script draws one cell for all 15 places of the network without redrawing empty nodes "
        "(avoid_empty=False); the NATS-Bench one redraws, but draws each place for itself; here one cell a step",
        "candidates are compared by the modelled loss, not by accuracy",
        "the paper re-evaluates the best few candidates on more data and trains them from scratch; the benchmark's "
        "scripts, and this, take the best of one batch",
        "differs from `random` in both halves: there the shared weights train at the uniform mixture and all cells "
        "share one mini-batch",
    ),
    unknowns=(
        "avoid_empty: whether the drawn cells have an input at every node, default yes (FACTS A.3)",
        "eval_batch: 512 images, the test batch of the scripts' settings; noise is modelled at the search's 64",
    ),
    test_params={"evaluations": 10},
    work=0.8,
)
def rsps(*, evaluations: int = 100, eval_batch: int = 512, avoid_empty: bool = True) -> Searcher:
    """Single-path shared weights, then the best of n uniform cells, each on one validation batch of its own."""
    return SinglePathSearcher(evaluations, eval_batch, avoid_empty)
