"""All runs of one architecture under one training budget, with the methods of the original `ArchResults`."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from typing import Any, Literal

from nasbench_sim.compat.draws import Absent, CompatWarning, Draws, Partial
from nasbench_sim.compat.trials import Trial
from nasbench_sim.errors import SpecError, unknown

#: costs of trials that state different networks: those of seed 888, the same with a warning, or the mean
Legacy = Literal["seed 888", "warn", "mean"]


class ArchResults:
    """Runs of an architecture: `all_results[dataset, seed]` is a `Trial`, `dataset_seed[dataset]` its seeds.

    `averaged` holds, for a source that has means but no single runs, a pseudo-trial of means a data set. `draws`
    answers `is_random=True`. `legacy` says which network's costs count where the runs state different ones.
    """

    def __init__(
        self,
        arch_index: int,
        arch_str: str,
        trials: Iterable[Trial],
        draws: Draws,
        *,
        averaged: Mapping[str, Trial] | None = None,
        legacy: Legacy = "seed 888",
    ) -> None:
        self.arch_index, self.arch_str = arch_index, arch_str
        self.all_results: dict[tuple[str, int], Trial] = {}
        self.dataset_seed: dict[str, list[int]] = {name: [] for name in averaged or ()}
        for trial in trials:
            assert isinstance(trial.seed, int)
            self.all_results[trial.name, trial.seed] = trial
            self.dataset_seed.setdefault(trial.name, []).append(trial.seed)
        self._averaged = averaged or {}
        self._draws = draws
        self._legacy = legacy

    @property
    def _where(self) -> str:
        return f"architecture {self.arch_index}"

    def get_dataset_names(self) -> list[str]:
        """Data sets of the runs."""
        return list(self.dataset_seed)

    def get_dataset_seeds(self, dataset: str) -> list[int]:
        """Seeds of the runs on a data set, in the order of the source; raises `Absent` for no such runs."""
        if dataset not in list(self.dataset_seed):  # a list: what cannot be a key is unknown as well
            raise Absent(f"{self._where}: {unknown('data set', dataset, self.dataset_seed)}")
        return list(self.dataset_seed[dataset])

    def drawable(self, dataset: str) -> list[int]:
        """The seeds that `is_random=True` draws from; raises `Absent` where there are only means."""
        seeds = self.get_dataset_seeds(dataset)
        if not seeds:
            raise Absent(f"{self._where}, {dataset}: its single trials are unknown; is_random=False gives their mean")
        return seeds

    def query(self, dataset: str, seed: int | None = None) -> Any:
        """The `Trial` of a seed, or a dictionary of all by seed; raises `Absent`."""
        seeds = self.get_dataset_seeds(dataset)
        if seed is None:
            return {s: self.all_results[dataset, s] for s in seeds}
        if seed not in seeds:
            raise Absent(f"{self._where}, {dataset}: no trial with seed {seed!r}; there are {seeds}")
        return self.all_results[dataset, seed]

    def get_metrics(
        self, dataset: str, setname: str, iepoch: int | None = None, is_random: bool | int = False
    ) -> dict[str, Any]:
        """`iepoch`, `loss`, `accuracy`, `cur_time`, `all_time` on an official split.

        `is_random`: False for the mean over the trials that the architecture has, True for one drawn, an integer for
        the trial of that seed. Raises `Absent` for what was not measured, `SpecError` for another `is_random`.
        """
        seeds = self.get_dataset_seeds(dataset)
        if is_random is True:
            drawn = self._draws.randint(0, len(self.drawable(dataset)) - 1)
            trials = [self.all_results[dataset, seeds[drawn]]]
        elif is_random is False:
            mean = self._averaged.get(dataset)
            trials = [mean] if mean else [self.all_results[dataset, s] for s in seeds]
        elif isinstance(is_random, int):
            trials = [self.query(dataset, is_random)]
        else:
            raise SpecError(f"is_random is True, False or a seed, not {is_random!r:.60}")
        found = [t.get_train(iepoch) if setname == "train" else t.get_eval(setname, iepoch) for t in trials]
        if len(found) == 1 and is_random is not False:
            return found[0]
        out = {key: _mean([one[key] for one in found]) for key in found[0]}
        return Partial(self._where, out) if isinstance(found[0], Partial) else out

    def get_compute_costs(self, dataset: str) -> dict[str, float | None]:
        """`flops` and `params` (millions), `latency` (seconds, a batch of 256) and seconds by split, means over trials.

        Where trials state different networks (150 cells, D-X-Y/NATS-Bench#36), those of seed 888 count, as in
        nats_bench; nas_201_api averages them, which only its strict stand-in does.
        """
        seeds = self.get_dataset_seeds(dataset)
        mean = self._averaged.get(dataset)
        trials = [mean] if mean else [self.all_results[dataset, s] for s in seeds]
        latencies = [x for x in (t.get_latency() for t in trials) if x > 0]
        out: dict[str, float | None] = {
            "flops": self._stated(dataset, [t.flop for t in trials], "FLOPs"),
            "params": self._stated(dataset, [t.params for t in trials], "parameters"),
            "latency": _mean(latencies) if latencies else None,
        }
        times = [t.get_times() for t in trials]
        for key in times[0]:
            out[key] = _mean([one[key] for one in times])
        return out

    def _stated(self, dataset: str, values: list[float | None], what: str) -> float | None:
        if None in values:
            return None
        if len({f"{x:.5f}" for x in values}) > 1 and self._legacy != "mean":
            seeds = self.dataset_seed[dataset]
            if 888 not in seeds:
                raise Absent(f"{self._where}, {dataset}: its trials state different {what}, and none has seed 888")
            if self._legacy == "warn":
                warnings.warn(
                    f"{self._where}, {dataset}: its trials state different {what}; those of seed 888 are given",
                    CompatWarning,
                    stacklevel=4,
                )
            return values[seeds.index(888)]
        mean: float | None = _mean(values)
        return mean

    def get_latency(self, dataset: str) -> float:
        """Mean latency of the trials, seconds; raises `Absent` where one has none."""
        latencies = [self.all_results[dataset, s].get_latency() for s in self.get_dataset_seeds(dataset)]
        if not latencies or min(latencies) <= 0:
            raise Absent(f"{self._where}, {dataset}: its latency is not in the source")
        return sum(latencies) / len(latencies)

    def get_total_epoch(self, dataset: str | None = None) -> int:
        """Epochs of the runs (all have one budget)."""
        if dataset is not None:
            self.get_dataset_seeds(dataset)
        return next(iter([*self.all_results.values(), *self._averaged.values()])).epochs

    def get_net_param(self, dataset: str, seed: int | None = None) -> Any:
        """Raises `Absent`: the files hold no weights."""
        raise Absent(f"{self._where}, {dataset}: trained weights are in none of the benchmark files")

    def clear_params(self) -> None:
        """Nothing to clear: weights are never held."""

    def arch_idx_str(self) -> str:
        """The index with six digits."""
        return f"{self.arch_index:06d}"

    def __repr__(self) -> str:
        return f"{type(self).__name__}(arch-index={self.arch_index}, arch={self.arch_str})"


def _mean(values: list[Any]) -> Any:
    """Mean added in order, None where the first is None, as the original does."""
    return None if values[0] is None else sum(values) / len(values)
