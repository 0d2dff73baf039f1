"""nasbench-sim: Bayesian and differentiable architecture search against tabulated benchmarks, a thousand seeds at once.

>>> import nasbench_sim as nb
>>> table = nb.open_table("nb201-analog")
>>> run = nb.search("balenas", table=table, dataset="cifar10", landscape="shared",
...                 seeds=range(2), epochs=2, steps_per_epoch=20)
>>> run.archs.shape
(2, 6)
"""

from nasbench_sim.errors import UserError
from nasbench_sim.landscapes import (
    Horizon,
    RecordedLandscape,
    SharedWeightsLandscape,
    SharedWeightsParams,
    TabularLandscape,
)
from nasbench_sim.runs import Run, RunSpec, make_spec, search, search_all
from nasbench_sim.searchers import get_method, methods
from nasbench_sim.spaces import NB201, Space, get_space
from nasbench_sim.tables import Key, Table, list_tables, open_table

__version__ = "0.1.0"

__all__ = [
    "NB201",
    "Horizon",
    "Key",
    "RecordedLandscape",
    "Run",
    "RunSpec",
    "SharedWeightsLandscape",
    "SharedWeightsParams",
    "Space",
    "Table",
    "TabularLandscape",
    "UserError",
    "get_method",
    "get_space",
    "list_tables",
    "make_spec",
    "methods",
    "open_table",
    "search",
    "search_all",
]
