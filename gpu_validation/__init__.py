"""gpu-validation: the companion of nasbench-sim that checks it on real hardware.

nasbench_sim drives search algorithms against tabulated benchmarks, on a CPU. This package is where a true
weight-sharing supernet will feed the very same algorithms. What it holds today is the check of the machine that such
a run needs: `gpu-validation doctor`. It trains nothing yet and has no kernels yet.
"""

from gpu_validation.doctor import Finding, examine

__version__ = "0.1.0"

__all__ = ["Finding", "examine"]
