"""Zero-cost proxies of NAS-Bench-201 cells: scores of untrained networks.

| module | what |
|---|---|
| `graph` | which cells are one computation, so that one network stands for all of them |
| `taps` | looking into a network without changing it |
| `synflow`, `synflow_mean` | SynFlow of one initialisation, and its exact mean over all |
| `saliency` | SNIP, GraSP, gradient norm, Fisher |
| `patterns` | Jacobian covariance, NASWOT |
| `registry`, `score`, `run` | by name; of many cells; into a file |
"""

from gpu_validation.proxies.registry import PROXIES, Proxy, get_proxy
from gpu_validation.proxies.run import Options, run_proxies
from gpu_validation.proxies.saliency import Batch
from gpu_validation.proxies.score import Setting, score

__all__ = ["PROXIES", "Batch", "Options", "Proxy", "Setting", "get_proxy", "run_proxies", "score"]
