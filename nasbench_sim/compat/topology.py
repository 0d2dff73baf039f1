"""The interface that NATS-Bench's topology benchmark and NAS-Bench-201 share, over any source of trials.

Answers of `get_more_info` are kept, up to `KEPT_ANSWERS`: asking again costs two dictionary lookups and a copy. Runs of
single files are kept for the last `KEPT_CELLS` architectures, where the original keeps all. What is kept takes the
memory that tests/benchmarks/test_compat_bench.py prints.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import numpy as np

from nasbench_sim.compat.arch_results import ArchResults, Legacy
from nasbench_sim.compat.draws import Absent, Partial, as_draws, choice_of
from nasbench_sim.compat.sources import Trials
from nasbench_sim.compat.splits import NUMBERS, SIMULATED, answer_parts, remap
from nasbench_sim.compat.strings import report
from nasbench_sim.compat.trials import CLASSES, net_config
from nasbench_sim.errors import ArchError, SpecError, unknown
from nasbench_sim.spaces.nb201 import NB201
from nasbench_sim.tables.manifest import cached_space

KEPT_ANSWERS = 32_768
KEPT_CELLS = 256


class TopologyAPI:
    """A benchmark over the 15,625 cells of NAS-Bench-201, by index, string or object with `tostr()`.

    Attributes
    ----------
    meta_archs: all strings in index order. evaluated_indexes: the architectures that can be asked for; in fast mode,
        as in the original, those asked for so far. filename: what it reads. verbose: as given.
    """

    _joint = " & "
    _legacy: Legacy = "seed 888"

    def __init__(self, source: Trials, *, fast_mode: bool, verbose: bool, rng: object, strict_compat: bool) -> None:
        self._source = source
        self._draws = as_draws(rng, strict=strict_compat)
        self._strict = strict_compat
        self._fast_mode = fast_mode
        self._archive_dir: str | None = None
        self._cells: dict[int, dict[str, ArchResults]] = {}
        self._answers: dict[Any, Any] = {}
        self._held = 0  # answers in it, about
        self._choice = choice_of(self._draws)
        self.filename: str | None = source.name
        self.verbose = verbose
        space = cached_space("nb201")
        assert isinstance(space, NB201)
        self._space = space
        self.meta_archs = list(space.strings)
        self.archstr2index = {arch: i for i, arch in enumerate(self.meta_archs)}
        self.evaluated_indexes: Any = set() if fast_mode else set(source.cells)
        self.reset_time()
        if verbose:
            print(f"{type(self).__name__}: {source.name}, {len(self.evaluated_indexes)} architectures at hand")

    def __getstate__(self) -> dict[str, Any]:
        """Everything but the prepared draw, which belongs to this object's generator and cannot be pickled."""
        return {name: value for name, value in self.__dict__.items() if name != "_choice"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._choice = choice_of(self._draws)

    def __len__(self) -> int:
        return len(self.meta_archs)

    def __getitem__(self, index: int) -> str:
        return self.meta_archs[index]

    def __iter__(self) -> Iterator[str]:
        return iter(self.meta_archs)

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}({len(self.evaluated_indexes)}/{len(self)} architectures, "
            f"fast_mode={self._fast_mode}, file={self.filename})"
        )

    @property
    def avaliable_hps(self) -> list[str]:
        """Training budgets, as text (the original's spelling of the name)."""
        return list(self._source.budgets)

    @property
    def used_time(self) -> float:
        """Seconds that `simulate_train_eval` has accounted for since the last `reset_time`."""
        return self._used_time

    def reset_time(self) -> None:
        """Begin accounting anew."""
        self._used_time: float = 0

    def arch(self, index: int) -> str:
        """String of an architecture; raises `ArchError` outside 0..15624."""
        return self.meta_archs[self._index(index)]

    def random(self) -> int:
        """A random index, from `rng`."""
        return self._draws.randint(0, len(self) - 1)

    def query_index_by_arch(self, arch: Any) -> int:
        """Index of a string, an object with `tostr()` or an index; -1 for what is no architecture.

        Raises `ArchError` for an index outside 0..15624.
        """
        if isinstance(arch, (int, np.integer)) and not isinstance(arch, (bool, np.bool_)):
            return self._space.resolve(int(arch))
        text = arch.tostr() if not isinstance(arch, str) and hasattr(arch, "tostr") else arch
        return self.archstr2index.get(text, -1) if isinstance(text, str) else -1

    def _index(self, arch: Any) -> int:
        index = self.query_index_by_arch(arch)
        if index < 0:
            text = arch.tostr() if hasattr(arch, "tostr") else arch
            if isinstance(text, str):
                self._space.parse(text)  # says what is wrong with it
            raise ArchError(f"an architecture is a string, an index or an object with tostr(), not {arch!r:.60}")
        return index

    def _results(self, index: int) -> dict[str, ArchResults]:
        """Results of an architecture by budget, read if need be."""
        found = self._cells.get(index)
        if found is None:
            trials = self._source.trials(index)
            found = {
                budget: ArchResults(
                    index,
                    self.meta_archs[index],
                    some,
                    self._draws,
                    averaged=self._source.averaged(index, budget),
                    legacy=self._legacy,
                )
                for budget, some in trials.items()
            }
            if len(self._cells) >= KEPT_CELLS:
                del self._cells[next(iter(self._cells))]
            self._cells[index] = found
            if self._fast_mode:
                self.evaluated_indexes.add(index)
        return found

    def query_meta_info_by_index(self, arch_index: int, hp: str | int = "12") -> ArchResults:
        """All runs of an architecture under a budget; raises `Absent` for a budget that it was not trained with."""
        index = self._index(arch_index)
        found = self._results(index)
        if str(hp) not in found:
            raise Absent(f"{self._source.name}, architecture {index}: {unknown('budget (hp)', hp, found)}")
        return found[str(hp)]

    def query_by_index(self, arch_index: int, dataname: str | None = None, hp: str | int = "12") -> Any:
        """All runs of an architecture, or those on one data set as a dictionary of `Trial` by seed."""
        info = self.query_meta_info_by_index(arch_index, hp)
        return info if dataname is None else info.query(dataname)

    def query_info_str_by_arch(self, arch: Any, hp: str | int = "12") -> str:
        """A report on an architecture, lines of costs, losses and accuracies."""
        index = self._index(arch)
        return "\n".join(report(self.query_meta_info_by_index(index, hp), f"arch-index={index}", joint=self._joint))

    def query_by_arch(self, arch: Any, hp: str | int) -> str:
        """The same as `query_info_str_by_arch`."""
        return self.query_info_str_by_arch(arch, hp)

    def get_more_info(
        self,
        index: Any,
        dataset: str,
        iepoch: int | None = None,
        hp: str | int = "12",
        is_random: bool | int = True,
    ) -> dict[str, Any]:
        """What a run reached after `iepoch` (from 0; None: the last): accuracies in percent, losses, seconds.

        Keys are `train-`, `valid-`, `test-` and `valtest-` with `loss`, `accuracy`, `per-time` and `all-time`, as far
        as measured. `is_random`: True for one trial drawn from `rng`, False for the mean over the trials that the
        architecture has, an integer for the trial of that seed. Raises `Absent`, `ArchError` and `SpecError`.
        """
        # 1, 1.0 and True are one key, and not one question
        key = (index, dataset, iepoch, hp, is_random, index.__class__, iepoch.__class__, hp.__class__,
               is_random.__class__)  # fmt: skip
        try:
            found = self._answers[key]
        except (KeyError, TypeError):  # not asked before, or an object that cannot be a key
            found = self._first(key)
        if found.__class__ is list:
            trials, found = found, self._choice(found)
            if found.__class__ is int:  # a seed whose answer was not worked out yet
                info = self.query_meta_info_by_index(self._index(index), hp)
                answer = self._answer(info, dataset, iepoch, found)
                trials[trials.index(found)] = found = answer
                self._held += 1
        out: dict[str, Any] = found.copy()
        return out

    def _first(self, key: tuple[Any, ...]) -> Any:
        """What is kept for a question: its answer, or one entry a trial to draw from, a seed until it was drawn."""
        index, dataset, iepoch, hp, is_random = key[:5]
        info = self.query_meta_info_by_index(self._index(index), hp)
        found: Any = info.drawable(dataset) if is_random is True else self._answer(info, dataset, iepoch, is_random)
        if isinstance(index, (int, str, np.integer)):  # not an object with `tostr()`, whose text may change
            if self._held >= KEPT_ANSWERS:
                self._answers.clear()
                self._held = 0
            with suppress(TypeError):
                self._answers[key] = found
                self._held += 1
        return found

    def _answer(self, info: ArchResults, dataset: str, iepoch: int | None, seed: bool | int) -> dict[str, Any]:
        if isinstance(seed, int) and not isinstance(seed, bool):
            info.query(dataset, seed)  # refuses a seed or data set that there is not
        out: dict[str, Any] = {}
        partial = False
        for label, official in answer_parts(dataset):
            try:
                found = info.get_metrics(dataset, official, iepoch=iepoch, is_random=seed)
            except Absent:
                if label == "train" and not self._source.averaged(info.arch_index, str(info.get_total_epoch())):
                    raise  # also where there is no such data set or seed
                info.get_dataset_seeds(dataset)
                continue
            partial = partial or isinstance(found, Partial)
            out |= {f"{label}-{name}": found[name] for name in NUMBERS if name in found}
            if "all_time" in found:
                total = found["all_time"]
                out[f"{label}-per-time"] = None if total is None else total / (found["iepoch"] + 1)
                out[f"{label}-all-time"] = total
        where = f"{self._source.name}, architecture {info.arch_index}, {dataset}, {info.get_total_epoch()} epochs"
        if not out:
            raise Absent(f"{where}: nothing was measured after epoch index {iepoch} for is_random={seed!r}")
        return Partial(where, out) if partial else self._commented(out, dataset, info.get_total_epoch())

    def _commented(self, answer: dict[str, Any], dataset: str, epochs: int) -> dict[str, Any]:
        return answer

    def _simulate(
        self, arch: Any, dataset: str, iepoch: int | None, hp: str | int, latency_hp: str | int, account_time: bool
    ) -> tuple[float, float | None, float, float]:
        """What training and validating an architecture gives and costs; see `simulate_train_eval`."""
        index = self._index(arch)
        if dataset not in SIMULATED:
            raise Absent(unknown("data set", dataset, SIMULATED))
        run = "cifar10-valid" if dataset == "cifar10" else dataset
        info = self.get_more_info(index, run, iepoch=iepoch, hp=hp, is_random=True)
        if "valid-accuracy" in info:
            accuracy, validating = info["valid-accuracy"], info["valid-per-time"]
        elif self._strict and "valtest-accuracy" in info:
            accuracy = info["valtest-accuracy"]
            validating = self.get_more_info(index, dataset, iepoch=None, hp=hp, is_random=True)["valid-per-time"]
        else:
            raise Absent(self._no_validation(info, dataset, iepoch, hp))
        training = info["train-all-time"]
        if training is None or validating is None:
            raise Absent(f"{self._source.name}: the times of architecture {index} on {dataset} are not in the source")
        cost = training + validating
        latency = self.get_latency(index, dataset, latency_hp)
        if account_time:
            self._used_time += cost
        return accuracy, latency, cost, self._used_time

    def _no_validation(self, info: dict[str, Any], dataset: str, iepoch: int | None, hp: str | int) -> str:
        at = "the last epoch" if iepoch is None else f"epoch index {iepoch}"
        what = f"{self._source.name}: validation accuracy of {dataset} after {at} of {hp} was not measured"
        if "valtest-accuracy" in info:
            what += ", only that on validation and test together (valtest), which a search must not see"
        if iepoch is not None:
            return f"{what}; use iepoch=None or hp='12', or strict_compat=True to get what the original gives"
        return f"{what}; there are {', '.join(key for key in info if key != 'comment')}"

    def get_cost_info(self, index: Any, dataset: str, hp: str | int = "12") -> dict[str, float | None]:
        """`flops`, `params` (millions), `latency` (seconds, batch of 256) and seconds by split; means over trials."""
        return self.query_meta_info_by_index(index, hp).get_compute_costs(dataset)

    def get_latency(self, index: Any, dataset: str, hp: str | int = "12") -> float | None:
        """Seconds for a batch of 256 on the authors' GPU, mean over trials; None where unknown."""
        return self.get_cost_info(index, dataset, hp)["latency"]

    def get_net_config(self, index: Any, dataset: str) -> dict[str, Any]:
        """What builds the network on a data set: channels, cells a stage, architecture, classes."""
        info = next(iter(self._results(self._index(index)).values()))
        info.get_dataset_seeds(dataset)
        return net_config(dataset, {"arch_str": info.arch_str})

    def get_net_param(self, index: Any, dataset: str, seed: int | None, hp: str | int = "12") -> Any:
        """Raises `Absent`: the files hold no weights. With strict_compat None for each, as the original."""
        info = self.query_meta_info_by_index(index, hp)
        found = info.query(dataset, seed)
        if not self._strict:
            return info.get_net_param(dataset, seed)
        return None if seed is not None else dict.fromkeys(found)

    def clear_params(self, index: int, hp: str | int | None = None) -> None:
        """Nothing to clear: weights are never held."""
        self.query_meta_info_by_index(index, hp or next(iter(self._source.budgets)))

    def _best_of(
        self, dataset: str, metric_on_set: str, flop_max: Any, param_max: Any, hp: Any, cells: list[int]
    ) -> tuple[int, float | None]:
        """The best of `cells` by the mean over its trials, the first of equals; see `find_best`."""
        run, official = remap(dataset, metric_on_set)
        for bound in (flop_max, param_max):
            if bound is not None and not isinstance(bound, (int, float, np.number)):
                raise SpecError(f"bounds on FLOPs and parameters are numbers (millions) or None, not {bound!r:.60}")
        index, highest = -1, None
        for cell in cells:
            info = self.query_meta_info_by_index(cell, hp)
            if flop_max is not None or param_max is not None:
                costs = info.get_compute_costs(run)
                if any(_above(costs[k], top) for k, top in (("flops", flop_max), ("params", param_max))):
                    continue
            accuracy = info.get_metrics(run, official)["accuracy"]
            if highest is None or highest < accuracy:
                index, highest = cell, accuracy
        return index, highest

    def statistics(self, dataset: str, hp: str | int) -> dict[int, int]:
        """How many of the evaluated architectures have 1, 2, 3 trials on a data set."""
        if dataset not in tuple(CLASSES):
            raise Absent(unknown("data set", dataset, CLASSES))
        cells = sorted(self.evaluated_indexes)
        every = (self.query_meta_info_by_index(cell, hp).dataset_seed.get(dataset, []) for cell in cells)
        return dict(Counter(len(seeds) for seeds in every))

    def show(self, index: int = -1) -> None:
        """Print reports on one architecture, or, for a negative index, on all that are evaluated."""
        cells = sorted(self.evaluated_indexes) if index < 0 else [self._index(index)]
        for cell in cells:
            print(f"---------- {cell:06d}: {self.meta_archs[cell]}")
            for budget, info in self._results(cell).items():
                print(f"{'>' * 40} {int(budget):03d} epochs {'>' * 40}")
                print("\n".join(report(info, joint=self._joint)))


def _above(value: float | None, top: Any) -> bool:
    if top is not None and value is None:
        raise Absent("the source has no parameters or FLOPs; leave out the bounds on them")
    return top is not None and value is not None and value > top
