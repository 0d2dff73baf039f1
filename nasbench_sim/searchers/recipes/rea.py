"""Regularised (aging) evolution with a simulated budget."""

from __future__ import annotations

from typing import Literal

from nasbench_sim.searchers.blackbox.base import BlackBox
from nasbench_sim.searchers.blackbox.evolution import AgingEvolution
from nasbench_sim.searchers.registry import register


@register(
    name="rea",
    family="black-box",
    title="Regularised evolution",
    paper="Real et al., Regularized Evolution for Image Classifier Architecture Search, AAAI 2019 (arXiv 1802.01548); "
    "settings: AutoDL-Projects exps/NATS-algos/regularized_ea.py",
    equation="algorithm 1: parent = best of `sample` drawn from the population; child = parent with one edge changed; "
    "the oldest dies",
    deviations=(
        "a mutation changes one operation; the paper also rewires inputs, which NAS-Bench-201 has none of",
        "an evaluation that does not fit into the budget is not made; the script lets the last one overrun "
        "(landscape parameter overrun)",
    ),
    unknowns=(
        "mutate: the paper picks among all operations of a cell, the script a node first; default node, as the script",
    ),
    test_params={"population": 5},
    work=0.7,
)
def rea(
    *,
    population: int = 10,
    sample: int = 3,
    mutate: Literal["edge", "node"] = "node",
    epochs: int | None = None,
) -> BlackBox:
    """Aging evolution: tournament parent, one-edge mutation, the oldest dies; the best cell ever trained."""
    return AgingEvolution(population, sample, mutate, epochs)
