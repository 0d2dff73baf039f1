"""A table of end results (nb201 from the public CSVs, or one of yours) behind the drop-in interfaces.

Such a table has accuracies after the last epoch, some for single seeds and some as means, and no losses. What it has is
given under the names of the original packages; what it has not raises `Absent` and says what there is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nasbench_sim.compat.draws import Absent
from nasbench_sim.compat.trials import CLASSES, Trial
from nasbench_sim.errors import TableError
from nasbench_sim.spaces.nb201 import NB201
from nasbench_sim.tables.nats_records import SPLITS
from nasbench_sim.tables.table import Key, Seed, Table

_CURVES = "`nasbench-sim tables import nats-tss --from DIR` adds losses, times and every epoch from the official files"


class CellNumbers:
    """Numbers of one architecture in a table, under one data set, budget and seed (or `mean`)."""

    def __init__(self, table: Table, cell: int, dataset: str, epochs: int, seed: Seed) -> None:
        self._table, self._cell, self._dataset, self._epochs, self._seed = table, cell, dataset, epochs, seed

    @property
    def splits(self) -> tuple[str, ...]:
        """What there is; `valid` of cifar10 is the run cifar10-valid's, so it is not here."""
        return tuple(s for s in ("train", *SPLITS[self._dataset].values()) if self._find(s) is not None)

    def _find(self, split: str) -> float | None:
        if split != "train" and split not in SPLITS[self._dataset].values():
            return None
        return self._at(self._table.accuracy.get(Key(self._dataset, split, self._epochs, self._seed)))

    def value(self, split: str, metric: str, iepoch: int) -> float:
        """An accuracy after the last epoch; raises `Absent` for anything else."""
        found = self._find(split) if metric == "accuracy" and iepoch == self._epochs - 1 else None
        if found is None:
            what = f"{split} {metric} after epoch {iepoch + 1} of {self._epochs}"
            raise Absent(
                f"table {self._table.name} has no {what}; it has accuracies after the last epoch on "
                f"{', '.join(self.splits) or 'nothing'}; {_CURVES}"
            )
        return found

    def spent(self, split: str, iepoch: int) -> tuple[float, float] | None:
        """Seconds of the last epoch and of all training, for the mean run of the search key's budget; else None."""
        t = self._table
        whole = self._seed == "mean" and self._epochs == t.search_key.epochs and iepoch == self._epochs - 1
        if split != "train" or not whole:
            return None
        total = self._at(t.metrics.get(("train_time_s", self._dataset)))
        if total is None:
            return None
        return total / self._epochs, total

    def fact(self, name: str) -> float | None:
        """Parameters and FLOPs in millions, as they follow from the layers."""
        return self._at(self._table.metrics.get((name, self._dataset)))

    def _at(self, column: Any) -> float | None:
        """The shortest decimal of a float32, as `Table.query` gives it; None where it was not measured."""
        value = None if column is None else column[self._cell]
        return None if value is None or value != value else float(str(value))


class TableTrials:
    """A table as a source of single runs and means."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self.name = table.name
        if not isinstance(table.space, NB201):
            raise TableError(f"table {table.name} is of the search space {table.space.name}, not nb201")
        self._strings = table.space.strings
        self._keys = [k for k in table.accuracy if k.dataset in CLASSES and isinstance(k.epochs, int)]
        self.budgets = sorted({str(k.epochs) for k in self._keys}, key=int)
        self._single = {dataset: sorted(self._runs(dataset)) for dataset in CLASSES}

    @property
    def cells(self) -> list[int]:
        """Architectures that the search key was measured for."""
        column = self._table.accuracy[self._table.search_key]
        return [i for i, value in enumerate(column.tolist()) if value == value]

    def trials(self, cell: int) -> dict[str, list[Trial]]:
        """Single runs of an architecture by budget; empty where the table has only means."""
        out: dict[str, list[Trial]] = {budget: [] for budget in self.budgets}
        for dataset in CLASSES:
            for epochs, seed in self._single[dataset]:
                trial = self._trial(cell, dataset, epochs, seed)
                if trial.eval_names:
                    out[str(epochs)].append(trial)
        return out

    def _runs(self, dataset: str) -> set[tuple[int, int]]:
        splits = ("train", *SPLITS[dataset].values())
        keys = (k for k in self._keys if k.dataset == dataset and k.split in splits)
        return {(k.epochs, k.seed) for k in keys if isinstance(k.epochs, int) and isinstance(k.seed, int)}

    def averaged(self, cell: int, budget: str) -> Mapping[str, Trial] | None:
        """The means of an architecture by data set."""
        every = {dataset: self._trial(cell, dataset, int(budget), "mean") for dataset in CLASSES}
        return {dataset: trial for dataset, trial in every.items() if trial.eval_names}

    def _trial(self, cell: int, dataset: str, epochs: int, seed: Any) -> Trial:
        numbers = CellNumbers(self._table, cell, dataset, epochs, seed)
        return Trial(f"architecture {cell}", dataset, seed, epochs, self._strings[cell], numbers)
