"""One training run of one NAS-Bench-201 architecture, as the NATS-Bench and NAS-Bench-201 packages show it.

`Trial` has the methods of their `ResultsCount`. Its numbers come from a `Numbers`: a run read from an official file
(float64, exactly the file's), a row of a curve store (float32, given as its shortest decimal), or a table of end
results. Official split names are `train`, `x-valid`, `x-test` and `ori-test`; `iepoch` counts from 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from nasbench_sim.compat.draws import Absent, Partial
from nasbench_sim.errors import NotMeasured, SpecError, unknown
from nasbench_sim.tables.curves import Curves
from nasbench_sim.tables.curves_writer import Run
from nasbench_sim.tables.nats_records import SPLITS

CLASSES = {"cifar10-valid": 10, "cifar10": 10, "cifar100": 100, "ImageNet16-120": 120}


class Numbers(Protocol):
    """The numbers of one run; `split` is ours (`valid`, not `x-valid`)."""

    @property
    def splits(self) -> tuple[str, ...]: ...

    def value(self, split: str, metric: str, iepoch: int) -> float: ...

    def spent(self, split: str, iepoch: int) -> tuple[float, float] | None: ...

    def fact(self, name: str) -> float | None: ...


class RunNumbers:
    """Numbers of a run as its official file has them, in float64."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self.splits = tuple(dict.fromkeys(split for split, metric in run.curves if metric == "accuracy"))

    def value(self, split: str, metric: str, iepoch: int) -> float:
        """One number; raises `Absent` where it was not measured."""
        run = self._run
        values = run.curves.get((split, metric))
        if values is None:
            raise Absent(f"{split} {metric} was not measured; there are {', '.join(self.splits)}")
        if len(values) == run.epochs:
            return float(values[iepoch])
        if iepoch == run.epochs - 1:
            return float(values[-1])
        every = [s for s in self.splits if len(run.curves[s, metric]) == run.epochs]
        raise Absent(
            f"{split} {metric} was not measured after epoch {iepoch + 1} of {run.epochs}, only after the last; "
            f"after every epoch: {', '.join(every)}"
        )

    def spent(self, split: str, iepoch: int) -> tuple[float, float] | None:
        """Seconds of that epoch, and of all up to it; None where the file has no times."""
        even = self._run.facts.get((split, "seconds"))
        if even is None:
            return None
        uneven = self._run.curves.get((split, "seconds"))
        if uneven is None:
            return float(even), sum([float(even)] * (iepoch + 1))  # added up as the original does, to the last bit
        times = uneven[: iepoch + 1].tolist()
        return times[-1], sum(times)

    def fact(self, name: str) -> float | None:
        """`params_m`, `flops_m` or `latency_s`."""
        found = self._run.facts.get(("network", name))
        return None if found is None else float(found)


class CurveNumbers:
    """Numbers of a run from a curve store; `kept` holds columns that all its runs share."""

    def __init__(self, curves: Curves, kept: dict[Any, Any], cell: int, dataset: str, epochs: int, seed: int) -> None:
        self._curves, self._kept, self._cell = curves, kept, cell
        self._key: dict[str, Any] = {"dataset": dataset, "epochs": epochs, "seed": seed}

    @property
    def splits(self) -> tuple[str, ...]:
        """What the run was measured on."""
        key = (self._key["dataset"], self._key["epochs"], self._key["seed"])
        every = (k for k in self._curves.available if (k.dataset, k.epochs, k.seed) == key and k.metric == "accuracy")
        return tuple(k.split for k in every)

    def value(self, split: str, metric: str, iepoch: int) -> float:
        """One number, the shortest decimal of its float32; raises `Absent`."""
        try:
            return self._curves.series(**self._key, split=split, metric=metric).query(self._cell, epoch=iepoch + 1)
        except NotMeasured as error:
            raise Absent(str(error)) from error

    def spent(self, split: str, iepoch: int) -> tuple[float, float] | None:
        """As `RunNumbers.spent`."""
        first = self._seconds(split, 1)
        if first is None:
            return None
        if first * self._key["epochs"] == self._seconds(split, self._key["epochs"]):
            return first, sum([first] * (iepoch + 1))
        now, before = self._seconds(split, iepoch + 1), self._seconds(split, iepoch) if iepoch else 0.0
        assert now is not None and before is not None
        return now - before, now

    def _seconds(self, split: str, epoch: int) -> float | None:
        name = (*self._key.values(), split, epoch)
        if name not in self._kept:
            try:
                self._kept[name] = self._curves.seconds(**self._key, split=split, epoch=epoch)
            except NotMeasured:
                self._kept[name] = None
        return _of(self._kept[name], self._cell)

    def fact(self, name: str) -> float | None:
        """As `RunNumbers.fact`."""
        key = (*self._key.values(), name)
        if key not in self._kept:
            try:
                self._kept[key] = self._curves.fact(name, **self._key)
            except NotMeasured:
                self._kept[key] = None
        return _of(self._kept[key], self._cell)


def net_config(dataset: str, arch: Mapping[str, Any]) -> dict[str, Any]:
    """What builds a network of the benchmark: 16 channels and 5 cells a stage, the same for every architecture."""
    return {"name": "infer.tiny", "C": 16, "N": 5, **arch, "num_classes": CLASSES[dataset]}


def _of(column: Any, cell: int) -> float | None:
    value = None if column is None else float(column[cell])
    return value if value is not None and value == value else None


class Trial:
    """One run, with the methods of `ResultsCount`; weights are in no file, so there are none here.

    Attributes
    ----------
    name: the data set it was trained on. seed, epochs: of the training. params, flop: millions.
    """

    def __init__(self, where: str, dataset: str, seed: int | str, epochs: int, arch: str, numbers: Numbers) -> None:
        self.name, self.seed, self.epochs = dataset, seed, epochs
        self._where, self._arch, self._numbers = f"{where}, {dataset}, seed {seed}, {epochs} epochs", arch, numbers

    @property
    def params(self) -> float | None:
        """Parameters in millions, as the source states them."""
        return self._numbers.fact("params_m")

    @property
    def flop(self) -> float | None:
        """FLOPs in millions, as the source states them."""
        return self._numbers.fact("flops_m")

    @property
    def eval_names(self) -> list[str]:
        """Official names of the splits that it was evaluated on."""
        there = self._numbers.splits
        return [official for official, split in SPLITS[self.name].items() if split in there]

    def get_latency(self) -> float:
        """Seconds for a batch of 256 on the authors' GPU; -1 where unknown."""
        latency = self._numbers.fact("latency_s")
        return -1.0 if latency is None else latency

    def get_total_epoch(self) -> int:
        """Epochs of the training."""
        return self.epochs

    def get_eval_set(self) -> list[str]:
        """Official names of the splits that it was evaluated on."""
        return self.eval_names

    def get_train(self, iepoch: int | None = None) -> dict[str, Any]:
        """`iepoch`, `loss`, `accuracy` (percent), `cur_time` and `all_time` (seconds) on the training set."""
        return self._get("train", iepoch)

    def get_eval(self, name: str, iepoch: int | None = None) -> dict[str, Any]:
        """The same on `x-valid`, `x-test` or `ori-test`; raises `Absent` where that was not measured."""
        official = "x-valid" if name == "valid" else name
        if official not in SPLITS[self.name]:
            raise Absent(f"{self._where}: {unknown('set', name, ['train', *SPLITS[self.name]])}")
        return self._get(SPLITS[self.name][official], iepoch)

    def _get(self, split: str, iepoch: int | None) -> dict[str, Any]:
        at = self.epochs - 1 if iepoch is None else iepoch
        if not isinstance(at, int) or isinstance(at, bool) or not 0 <= at < self.epochs:
            raise SpecError(f"{self._where}: iepoch {iepoch!r} is not a whole number in 0..{self.epochs - 1}")
        try:
            accuracy = self._numbers.value(split, "accuracy", at)
        except Absent as error:
            raise Absent(f"{self._where}: {error}") from None
        out: dict[str, Any] = {"iepoch": at}
        try:
            out["loss"] = self._numbers.value(split, "loss", at)
        except Absent:  # a table of accuracies
            return Partial(self._where, {**out, "accuracy": accuracy, **self._times(split, at, {})})
        out["accuracy"] = accuracy
        return {**out, **self._times(split, at, {"cur_time": None, "all_time": None})}

    def _times(self, split: str, at: int, otherwise: dict[str, Any]) -> dict[str, Any]:
        spent = self._numbers.spent(split, at)
        return otherwise if spent is None else {"cur_time": spent[0], "all_time": spent[1]}

    def get_times(self) -> dict[str, float | None]:
        """Seconds by split: `T-train@epoch` (mean), `T-train@total`, and the same for every split evaluated."""
        out: dict[str, float | None] = {}
        for official in ("train", *self.eval_names):
            split = "train" if official == "train" else SPLITS[self.name][official]
            spent = self._numbers.spent(split, self.epochs - 1)
            out[f"T-{official}@epoch"] = None if spent is None else spent[1] / self.epochs
            out[f"T-{official}@total"] = None if spent is None else spent[1]
        return out

    def get_config(self, str2structure: Any = None) -> dict[str, Any]:
        """What builds the network: channels `C`, cells a stage `N`, the architecture and the number of classes."""
        arch: Mapping[str, Any] = (
            {"arch_str": self._arch} if str2structure is None else {"genotype": str2structure(self._arch)}
        )
        return net_config(self.name, arch)

    def get_net_param(self, clone: bool = False) -> Any:
        """Raises `Absent`: the files hold no weights (the original answers None)."""
        raise Absent(f"{self._where}: trained weights are in none of the benchmark files")

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._where}, eval-sets: [{', '.join(self.eval_names)}])"
