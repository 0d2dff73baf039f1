"""gpu-validation: true weight-sharing supernets for the searchers of nasbench-sim.

The algorithms are those of nasbench_sim, without a changed line: `landscape.SupernetLandscape` is a landscape like any
table, and `search.SupernetSearch` writes the same records. Beside it: networks trained alone (`training`), zero-cost
proxies (`proxies`), fused kernels for GPUs and a fast path for CPUs (`kernels`, `ops`), and their measuring (`bench`).
Importing this package imports neither torch nor triton.
"""

from gpu_validation.doctor import Finding, examine

__version__ = "0.1.0"

__all__ = ["Finding", "examine"]
