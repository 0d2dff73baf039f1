"""One architecture as the official files state it: dictionaries of runs, checked value by value and made into arrays.

An architecture is `{"12": results, "200": results}` in NATS-Bench and `{"less": results, "full": results}` in
NAS-Bench-201; `results` is the state of the `ArchResults` class of both packages:

    arch_index, arch_str, clear_net_done
    dataset_seed   {data set: [seed, ...]}       the runs that count
    all_results    {(data set, seed): run}

and a run is the state of `ResultsCount`:

    epochs                        int
    train_acc1es, train_losses    {epoch from 0: percent or nats}, every epoch
    train_times                   the same in seconds, or None
    eval_acc1es, eval_losses      {"x-valid@199": number}: every epoch of a split, or its last alone
    eval_times                    the same in seconds, every epoch, or empty
    params, flop                  millions
    latency                       [seconds for one batch of 256, ...], or None

`train_acc5es` (12 epochs only), `arch_config`, `name` and the weights (`net_state_dict`, None in all public files) are
not read. Losses may be NaN (a diverged run): then that number was never measured.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any, NoReturn

import numpy as np

from nasbench_sim.errors import TableError
from nasbench_sim.spaces import Space
from nasbench_sim.tables.curves_file import MAX_EPOCHS, RANGES
from nasbench_sim.tables.curves_series import Float64Array
from nasbench_sim.tables.curves_writer import Run

#: run -> official name of a split -> ours
SPLITS: Mapping[str, Mapping[str, str]] = {
    "cifar10-valid": {"x-valid": "valid", "ori-test": "test"},
    "cifar10": {"ori-test": "test"},
    "cifar100": {"x-valid": "valid", "x-test": "test", "ori-test": "valtest"},
    "ImageNet16-120": {"x-valid": "valid", "x-test": "test", "ori-test": "valtest"},
}
_AGAIN = "get the original file again"
_MAX_RUNS = 64


def read_runs(results: object, *, cell: int | None, space: Space, where: str) -> tuple[int, list[Run]]:
    """The runs of one `ArchResults` state, and the architecture's official index.

    `cell` is the index that it must have, if the file says so elsewhere. Raises `TableError`, one line that begins with
    `where`, for anything that is not as above: a foreign architecture, data set or split, epochs missing in the middle,
    numbers that are none or out of range.
    """
    state = _dict(results, where, "results")
    index, arch = state.get("arch_index"), state.get("arch_str")
    if type(index) is not int or not 0 <= index < space.size or (cell is not None and index != cell):
        expected = f"index {cell}" if cell is not None else f"one in 0..{space.size - 1}"
        raise TableError(f"{where}: says it is architecture {shown(index)}, expected {expected}; {_AGAIN}")
    where = f"{where}: architecture {index}"
    strings: tuple[str, ...] = getattr(space, "strings", ())
    if arch != strings[index]:
        raise TableError(f"{where} is {shown(arch)}, expected {strings[index]}; is this the topology search space?")
    seeds = _dict(state.get("dataset_seed"), where, "dataset_seed")
    everything = _dict(state.get("all_results"), where, "all_results")
    runs = []
    for dataset, listed in seeds.items():
        if dataset not in SPLITS:
            raise TableError(f"{where} was trained on {shown(dataset)}; known are {', '.join(SPLITS)}")
        whole = type(listed) is list and len(listed) <= _MAX_RUNS and all(type(seed) is int for seed in listed)
        if not whole or len(set(listed)) != len(listed):
            raise TableError(f"{where}: its seeds on {dataset} are not a list of different numbers; {_AGAIN}")
        for seed in listed:
            if not 0 <= seed < 10**9 or (dataset, seed) not in everything:
                raise TableError(f"{where}: no run on {dataset} with seed {shown(seed)}; {_AGAIN}")
            runs.append(_Reader(f"{where}, {dataset} seed {seed}", dataset, seed).read(everything[dataset, seed]))
    return index, runs


class _Reader:
    """Reads one run; `where` begins its errors."""

    def __init__(self, where: str, dataset: str, seed: int) -> None:
        self.where = where
        self.dataset = dataset
        self.seed = seed
        self.epochs = 0

    def read(self, run: object) -> Run:
        state = _dict(run, self.where, "run")
        epochs = state.get("epochs")
        if type(epochs) is not int or not 1 <= epochs <= MAX_EPOCHS:
            self._refuse("epochs", f"{shown(epochs)} is not a number in 1..{MAX_EPOCHS}")
        self.epochs = epochs
        curves: dict[tuple[str, str], Float64Array] = {}
        facts: dict[tuple[str, str], float] = {}
        for field, metric in (("train_acc1es", "accuracy"), ("train_losses", "loss")):
            curves["train", metric] = self._train(field, metric, state)
        for field, metric in (("eval_acc1es", "accuracy"), ("eval_losses", "loss"), ("eval_times", "seconds")):
            for split, values in self._splits(field, metric, self._dict(state, field)).items():
                self._keep(curves, facts, split, metric, values)
        times = state.get("train_times")
        if times is not None:
            self._keep(curves, facts, "train", "seconds", self._train("train_times", "seconds", state))
        self._keep_costs(facts, state)
        return Run(self.dataset, epochs, self.seed, curves, facts)

    def _train(self, field: str, metric: str, state: dict[Any, Any]) -> Float64Array:
        content = self._dict(state, field)
        if len(content) != self.epochs:
            self._refuse(field, f"{len(content)} epochs instead of {self.epochs}")
        return self._every(field, metric, content, range(self.epochs))

    def _keep(self, curves: Any, facts: Any, split: str, metric: str, values: Float64Array) -> None:
        if metric != "seconds":
            curves[split, metric] = values
            return
        facts[split, metric] = values.sum() / len(values)
        if (values == values[0]).all():
            facts[split, metric] = values[0]
        else:
            curves[split, metric] = values

    def _keep_costs(self, facts: dict[tuple[str, str], float], state: dict[Any, Any]) -> None:
        for field, name in (("params", "params_m"), ("flop", "flops_m")):
            value = state.get(field)
            if value is not None:
                facts["network", name] = self._numbers(field, name, [value])[0]
        latency = state.get("latency")
        if latency is not None and latency != []:
            values = self._numbers("latency", "latency_s", latency)
            facts["network", "latency_s"] = sum(values.tolist()) / len(values)

    def _splits(self, field: str, metric: str, content: dict[Any, Any]) -> dict[str, Float64Array]:
        """Our split -> numbers, `[epochs]` or the last alone `[1]`."""
        out: dict[str, Float64Array] = {}
        used: list[tuple[str, ...]] = []
        for official, split in SPLITS[self.dataset].items():
            keys = _keys(official, self.epochs)
            keys = keys if keys[0] in content else keys[-1:]
            if keys[0] in content:
                out[split] = self._every(field, metric, content, keys)
                used.append(keys)
        if sum(map(len, used)) != len(content):
            known = {key for keys in used for key in keys}
            odd = next(key for key in content if key not in known)
            self._refuse(field, f"{shown(odd)} belongs neither to every epoch of a split nor to its last")
        return out

    def _every(self, field: str, metric: str, content: dict[Any, Any], keys: Any) -> Float64Array:
        try:
            values = [content[k] for k in keys]
        except KeyError as error:
            self._refuse(field, f"{error.args[0]!r} is missing")
        return self._numbers(field, metric, values)

    def _numbers(self, field: str, metric: str, values: object) -> Float64Array:
        """`values` as float64 `[n]`, in the range of `metric` once rounded to float32."""
        try:
            out = np.array(values) if type(values) is list else np.array(None)
        except ValueError:
            out = np.array(None)
        if out.dtype.kind not in "fi" or out.ndim != 1:
            self._refuse(field, "not all are numbers")
        out = out.astype(np.float64)
        low, high = RANGES[metric]
        with np.errstate(over="ignore", invalid="ignore"):  # too large is infinite; a signalling NaN is a NaN
            rounded = out.astype(np.float32)
        bad = (rounded < low) | (rounded > high) | (np.isnan(rounded) & (metric != "loss"))
        if bad.any():
            self._refuse(field, f"{out[int(np.argmax(bad))]} is outside {low:g}..{high:g}")
        return out

    def _dict(self, state: dict[Any, Any], field: str) -> dict[Any, Any]:
        return _dict(state.get(field), self.where, field)

    def _refuse(self, field: str, why: str) -> NoReturn:
        raise TableError(f"{self.where}, {self.epochs} epochs: {field}: {why}; {_AGAIN}")


def shown(value: object) -> str:
    """A value from a file in one line of a message, whatever it is: the file decides, and it may be huge or nested.

    >>> shown("cifar10"), shown(10**5000), shown([[1]])
    ("'cifar10'", 'a huge number', 'a list')
    """
    if type(value) is str:
        return repr(value[:100])
    if type(value) is int:
        return str(value) if abs(value) < 10**18 else "a huge number"
    return repr(value) if type(value) in (float, bool, type(None)) else f"a {type(value).__name__}"


def _dict(value: object, where: str, field: str) -> dict[Any, Any]:
    if not isinstance(value, dict):
        raise TableError(f"{where}: {field} is {type(value).__name__}, expected a dictionary; {_AGAIN}")
    return value


@cache
def _keys(official: str, epochs: int) -> tuple[str, ...]:
    return tuple(f"{official}@{epoch}" for epoch in range(epochs))
