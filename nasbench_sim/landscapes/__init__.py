"""What a search sees: exact expectation over a table, and a model of weight sharing on top of it."""

from nasbench_sim.landscapes.base import Horizon, Landscape, LandscapeState, Paths
from nasbench_sim.landscapes.multilinear import Multilinear
from nasbench_sim.landscapes.shared import SharedWeightsLandscape, SharedWeightsParams
from nasbench_sim.landscapes.tabular import TabularLandscape

__all__ = [
    "Horizon",
    "Landscape",
    "LandscapeState",
    "Multilinear",
    "Paths",
    "SharedWeightsLandscape",
    "SharedWeightsParams",
    "TabularLandscape",
]
