"""How to search: relaxations x updates x pruning x selection, and one recipe a published method."""

from nasbench_sim.searchers.base import Estimate, Info, Searcher, State, View
from nasbench_sim.searchers.gradient import GradientSearcher, gradient_searcher
from nasbench_sim.searchers.registry import Recipe, get_method, methods

__all__ = [
    "Estimate",
    "GradientSearcher",
    "Info",
    "Recipe",
    "Searcher",
    "State",
    "View",
    "get_method",
    "gradient_searcher",
    "methods",
]
