"""What a search sees: exact expectation over a table, a model of weight sharing on it, and recorded supernets."""

from nasbench_sim.landscapes.base import Horizon, Landscape, LandscapeState, Paths
from nasbench_sim.landscapes.multilinear import Multilinear
from nasbench_sim.landscapes.recorded import RecordedLandscape
from nasbench_sim.landscapes.shared import SharedWeightsLandscape, SharedWeightsParams
from nasbench_sim.landscapes.tabular import TabularLandscape

__all__ = [
    "Horizon",
    "Landscape",
    "LandscapeState",
    "Multilinear",
    "Paths",
    "RecordedLandscape",
    "SharedWeightsLandscape",
    "SharedWeightsParams",
    "TabularLandscape",
]
