"""Local search with a simulated budget."""

from __future__ import annotations

from nasbench_sim.searchers.blackbox.base import BlackBox
from nasbench_sim.searchers.blackbox.local_search import LocalSearch
from nasbench_sim.searchers.registry import register


@register(
    name="local-search",
    family="black-box",
    title="Local search",
    paper="White, Nolen & Savani, Exploring the loss landscape in neural architecture search, UAI 2021 (arXiv "
    "2005.02960); code: naszilla local_search",
    equation="start at the best of `initial` uniform cells; move to the first better untrained neighbour; start again "
    "where there is none",
    deviations=("budget in simulated seconds instead of a number of queries",),
    test_params={"initial": 4},
    work=2.0,
)
def local_search(*, initial: int = 10, epochs: int | None = None) -> BlackBox:
    """First-improvement hill climbing over one-edge changes, restarted at every local optimum."""
    return LocalSearch(initial, epochs)
