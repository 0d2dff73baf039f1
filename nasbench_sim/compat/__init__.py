"""Drop-in interfaces of the original benchmark packages: change one import (docs/migrating.md).

nats_bench.create                          nasbench_sim.compat.create
nas_201_api.NASBench201API                 nasbench_sim.compat.NASBench201API
nasbench.api.NASBench, ModelSpec           nasbench_sim.compat.NASBench, ModelSpec
"""

from nasbench_sim.compat.draws import Absent, CompatWarning
from nasbench_sim.compat.nas_201_api import NASBench201API
from nasbench_sim.compat.nasbench_101 import ModelSpec, NASBench, OutOfDomainError
from nasbench_sim.compat.nats_bench import NATStopology, create

__all__ = [
    "Absent",
    "CompatWarning",
    "ModelSpec",
    "NASBench",
    "NASBench201API",
    "NATStopology",
    "OutOfDomainError",
    "create",
]
