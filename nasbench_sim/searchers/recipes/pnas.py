"""Progressive neural architecture search with a simulated budget."""

from __future__ import annotations

from typing import Literal

from nasbench_sim.searchers.blackbox.base import BlackBox
from nasbench_sim.searchers.blackbox.encodings import Target
from nasbench_sim.searchers.blackbox.pnas import ProgressiveSearch
from nasbench_sim.searchers.registry import register


@register(
    name="pnas",
    family="black-box",
    title="PNAS",
    paper="Liu et al., Progressive Neural Architecture Search, ECCV 2018 (arXiv 1712.00559)",
    equation="algorithm 1: train all cells of one block; add a block to the K best, predict, train the K best children",
    deviations=(
        "a block is an intermediate node with all its edges (the paper's has two inputs and two operations): levels of "
        "5, 125 and 15,625 cells on NAS-Bench-201, where the paper has five",
        "predictor: small networks (or ridge regressions) on one-hot edges and operation counts, the paper's MLP "
        "and LSTM ensembles embed tokens; 4/5 of the results a member, as in the paper",
        "beam 20 instead of 256, so that a budget of about 100 evaluations reaches the last level and stays there",
        "after the last level it goes on with the best-predicted cells; the paper stops",
    ),
    unknowns=("target of the regression on NAS-Bench-201: log(100 - accuracy), or the accuracy; default log-error",),
    test_params={"beam": 6, "members": 2, "predictor": "ridge"},
    work=8000.0,
)
def pnas(
    *,
    beam: int = 20,
    members: int = 5,
    predictor: Literal["mlp", "ridge"] = "mlp",
    target: Target = "log-error",
    epochs: int | None = None,
) -> BlackBox:
    """Cells grow node by node; an ensemble of predictors picks which of the larger ones are trained."""
    return ProgressiveSearch(beam, members, predictor, target, epochs)
