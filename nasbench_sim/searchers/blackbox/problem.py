"""What a black-box search is asked to solve: train cells, look at their validation accuracy, pay with simulated time.

A `Problem` is cut out of a table once: the search split at every fidelity (training epochs) that was measured, what an
evaluation costs, and the hardware metrics. Test accuracies never enter it, so a search cannot read them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from nasbench_sim.errors import NotMeasured, SpecError, unknown
from nasbench_sim.spaces import Space
from nasbench_sim.tables.columns import FloatArray
from nasbench_sim.tables.evaluation import evaluation_seconds
from nasbench_sim.tables.evaluation import fidelities as measured_fidelities
from nasbench_sim.tables.table import Epochs, Table

Array = npt.NDArray[Any]
Cost = Literal["seconds", "evaluations"]


@dataclass(frozen=True)
class Problem:
    """A search space with what a search may look at; F fidelities, A architectures in official index order.

    Attributes
    ----------
    space: the search space.
    fidelities: training epochs `[F]`, ascending; ("unstated",) where the table does not state them.
    seconds: simulated seconds of one evaluation, float32 `[F, A]`; all 1 where `cost` is "evaluations".
    value: validation accuracy in percent, float32 `[F, A]`, of the table's search split and seed.
    table, dataset, split: where the numbers came from, for messages.
    cost: the unit of `seconds`.
    metrics: (name -> float32 `[A]`) costs of the network itself on this data set, as the table holds them; NaN where
        never measured.
    """

    space: Space
    fidelities: tuple[Epochs, ...]
    seconds: FloatArray
    value: FloatArray
    table: str
    dataset: str
    split: str
    cost: Cost = "seconds"
    metrics: Mapping[str, FloatArray] = field(default_factory=dict)

    def __post_init__(self) -> None:
        shape = (len(self.fidelities), self.space.size)
        if self.seconds.shape != shape or self.value.shape != shape:
            raise ValueError(f"seconds and value are {shape}, got {self.seconds.shape} and {self.value.shape}")
        if not (np.isfinite(self.value).all() and np.isfinite(self.seconds).all() and (self.seconds > 0).all()):
            raise SpecError(
                f"table {self.table}: every cell needs a measured accuracy and a positive cost on {self.dataset} at "
                f"{self.names()}"
            )

    def names(self) -> str:
        """The fidelities in words: `12, 200 epochs`."""
        return f"{', '.join(map(str, self.fidelities))} epochs"

    def level(self, epochs: int | None) -> int:
        """Index of the fidelity of so many epochs, 0 for None; raises `SpecError` listing those there are."""
        if epochs is None:
            return 0
        if epochs not in self.fidelities:
            raise SpecError(
                f"no fidelity of {epochs} epochs for {self.dataset}/{self.split} of table {self.table}; "
                f"this problem has {self.names()}"
            )
        return self.fidelities.index(epochs)

    def evaluate(self, archs: Array, fidelity: Array) -> tuple[FloatArray, npt.NDArray[np.float64]]:
        """Validation accuracy `[S]` in percent and cost `[S]` in seconds of `archs[S, D]` trained at `fidelity[S]`."""
        index = self.space.index(archs)
        return self.value[fidelity, index], self.seconds[fidelity, index].astype(np.float64)


def make_problem(
    table: Table, dataset: str, *, fidelities: Sequence[int] | None = None, cost: Cost = "seconds"
) -> Problem:
    """The problem of searching `dataset` of a table.

    `fidelities`: training epochs a search may use, default all that the table measures (at least two: a search that
    trains every cell in full is asked for by name). `cost="evaluations"`: each evaluation costs 1, whatever the cell
    and the epochs, for tables without training times. Raises `SpecError` for an unknown data set, cost or fidelity,
    and `NotMeasured` where the table has no training times or nothing but full training.

    >>> import nasbench_sim as nb
    >>> problem = make_problem(nb.open_table("nb201-analog"), "cifar10", cost="evaluations")
    >>> problem.fidelities, problem.value.shape, float(problem.seconds.max())
    (('unstated',), (1, 15625), 1.0)
    """
    if dataset not in table.datasets():
        raise SpecError(f"table {table.name}: {unknown('data set', dataset, table.datasets())}")
    if cost not in get_args(Cost):
        raise SpecError(unknown("cost", cost, get_args(Cost)))
    key = table.search_key_for(dataset)
    levels = _levels(table, dataset, fidelities, cost)
    value = np.stack([table.values(dataset=dataset, split=key.split, epochs=e, seed=key.seed) for e in levels])
    if cost == "evaluations":
        seconds = np.ones_like(value)
    else:
        seconds = np.stack([evaluation_seconds(table, dataset, e) for e in levels if isinstance(e, int)])
    for array in (value, seconds):
        array.setflags(write=False)
    return Problem(
        space=table.space,
        fidelities=levels,
        seconds=seconds,
        value=value,
        table=table.name,
        dataset=dataset,
        split=key.split,
        cost=cost,
        metrics={name: column for (name, where), column in table.metrics.items() if where == dataset},
    )


def _levels(table: Table, dataset: str, asked: Sequence[int] | None, cost: Cost) -> tuple[Epochs, ...]:
    """The epochs of the problem, ascending."""
    full = table.search_key_for(dataset).epochs
    if cost == "seconds":
        try:
            evaluation_seconds(table, dataset, full if isinstance(full, int) else 0)
        except NotMeasured as error:
            raise NotMeasured(f"{error}; or count evaluations instead of seconds with cost='evaluations'") from error
    if full == "unstated":
        if asked:
            raise SpecError(f"table {table.name} does not state its epochs, so fidelities cannot be chosen; leave them")
        return (full,)
    known = measured_fidelities(table, dataset)
    if asked is None:
        if cost == "seconds" and len(known) == 1:
            raise NotMeasured(
                f"table {table.name} measures {dataset} after {known[0]} epochs only, and a search in simulated "
                f"seconds trains cells for fewer (12 in the published ones): import a table with a second number of "
                f"epochs, or ask for full training with fidelities=[{known[0]}]"
            )
        return tuple(known)
    if not asked or len(set(asked)) != len(asked):
        raise SpecError(f"fidelities are one or more different numbers of epochs, got {list(asked)}")
    for epochs in asked:
        if isinstance(epochs, bool) or epochs not in known:
            raise SpecError(
                f"no fidelity of {epochs!r} epochs: table {table.name} measures {dataset} after "
                f"{', '.join(map(str, known))} epochs"
            )
    return tuple(sorted(asked))
