"""A drop-in for `nas_201_api` 2.1: `from nasbench_sim.compat.nas_201_api import NASBench201API`.

    api = NASBench201API("nb201-v1_1", verbose=False, rng=0)   # imported from NAS-Bench-201-v1_1-096897.pth

The .pth files hold 15,625 architectures and need 28 GB as the original loads them; import them once (`nasbench-sim
tables import NAME --from FILE`) and give the name. Files of up to 100 MB are read directly, without torch.

Written after the documented behaviour of nas-bench-201 2.1 (Dong & Yang, ICLR 2020, arXiv 2001.00326).
"""

from __future__ import annotations

from typing import Any

from nasbench_sim.compat.draws import Absent, CompatWarning
from nasbench_sim.compat.nats_bench import Where
from nasbench_sim.compat.sources import open_trials
from nasbench_sim.compat.strings import str2lists, str2matrix
from nasbench_sim.compat.topology import TopologyAPI
from nasbench_sim.errors import SpecError

__all__ = ["Absent", "CompatWarning", "NASBench201API"]


class NASBench201API(TopologyAPI):
    """The benchmark with the methods of `nas_201_api.NASBench201API`.

    `rng` is a seed, a numpy Generator, or the module `random`, whose global draws the original makes. Raises
    `TableError` for no such source.

    >>> api = NASBench201API("nb201-analog", verbose=False)
    >>> len(api), api[1835]
    (15625, '|skip_connect~0|+|skip_connect~0|skip_connect~1|+|skip_connect~0|skip_connect~1|skip_connect~2|')
    """

    _joint = ", "

    def __init__(
        self,
        file_path_or_dict: Where = None,
        verbose: bool = True,
        *,
        rng: object = None,
        strict_compat: bool = False,
    ) -> None:
        self._legacy = "mean" if strict_compat else "warn"
        source = open_trials(file_path_or_dict)
        super().__init__(source, fast_mode=False, verbose=verbose, rng=rng, strict_compat=strict_compat)
        self.evaluated_indexes = sorted(self.evaluated_indexes)

    def simulate_train_eval(
        self, arch: Any, dataset: str, hp: str | int = "12", account_time: bool = True
    ) -> tuple[float, float | None, float, float]:
        """`(validation accuracy, latency, seconds of training and one validation, seconds used so far)` of one trial.

        The latency is that of the 12-epoch runs whatever `hp` is, as in the original.
        """
        return self._simulate(arch, dataset, None, hp, "12", account_time)

    def find_best(
        self,
        dataset: str,
        metric_on_set: str,
        FLOP_max: float | None = None,
        Param_max: float | None = None,
        hp: str | int = "12",
    ) -> tuple[int, float | None]:
        """`(index, accuracy)` of the best evaluated architecture under bounds on FLOPs and parameters (millions)."""
        return self._best_of(dataset, metric_on_set, FLOP_max, Param_max, hp, list(self.evaluated_indexes))

    def reload(self, archive_root: Any = None, index: int | None = None) -> None:
        """Raises `SpecError`: the 226 GB archive of weights that the original reads is not supported."""
        raise SpecError("reload reads the archive of trained weights, which is not supported; create the API anew")

    str2lists = staticmethod(str2lists)
    str2matrix = staticmethod(str2matrix)
