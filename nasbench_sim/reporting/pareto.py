"""Accuracy against cost: the exact Pareto front of a table, and how much of it a search found.

A table holds every cell, so its front is known, and found sets are measured against the truth instead of against each
other. All objectives are minimised: error in percent (100 - accuracy), then the costs in their own units.

    share(Z) = HV(Z, r) / HV(front, r),     HV(Z, r) = volume of the points that Z dominates and that dominate r

Hypervolume, IGD+ and additive epsilon are pymoo's (pymoo.indicators). Sources: Zitzler & Thiele, IEEE TEC 3(4), 1999
(hypervolume); Zitzler et al., IEEE TEC 7(2), 2003 (epsilon); Ishibuchi et al., EMO 2015 (IGD+). The last two are given
after scaling each objective by the front's own range, so that a point of accuracy and a millisecond can be compared.

The reference point r is, by default, the nadir of the table: the worst error and the largest cost of all its cells, so
that every cell that is worst in nothing counts. With `reference="front"` r is the nadir of the front itself: shares
then differ more, but the two ends of the front, and a search that found nothing but one of them, count nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from nasbench_sim.errors import RunError, unknown
from nasbench_sim.landscapes.penalised import cost_column
from nasbench_sim.searchers.blackbox.nsga2 import need_pymoo, non_dominated
from nasbench_sim.tables.table import Key, Table

Array = npt.NDArray[Any]
IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class TradeOff:
    """Every cell of a table in the plane (or space) of error and costs, and the front among them.

    Attributes
    ----------
    table, dataset, role, key: the accuracy that is drawn and measured: `role` is `valid` or `test`.
    metrics: names of the M costs.
    objectives: float64 `[A, 1 + M]`, minimised, official index order.
    reference: the point r `[1 + M]` of the hypervolume.
    """

    table: Table
    dataset: str
    role: str
    key: Key
    metrics: tuple[str, ...]
    objectives: Array
    reference: Array

    @property
    def seen(self) -> str:
        """In words, the accuracy that searches see, on which found cells are chosen: `validation accuracy`."""
        split = self.table.search_key_for(self.dataset).split
        return f"{'validation' if split == 'valid' else split} accuracy"

    @cached_property
    def front(self) -> IntArray:
        """Official indices `[n]` of the cells that no cell dominates, by rising first cost; of equal cells all."""
        found = np.flatnonzero(non_dominated(self.objectives))
        return np.asarray(found[np.lexsort((found, self.objectives[found, 0], self.objectives[found, 1]))])

    @cached_property
    def _scale(self) -> tuple[Array, Array]:
        """Ideal point and range of the front; a range of 0 is left as it is."""
        on = self.objectives[self.front]
        span = on.max(axis=0) - on.min(axis=0)
        return on.min(axis=0), np.where(span > 0, span, 1.0)

    def hypervolume(self, cells: Array) -> float:
        """HV(cells, r) in units of percent times the units of the costs; 0 for no cells, or none better than r."""
        from pymoo.indicators.hv import HV

        return float(HV(ref_point=self.reference)(self.objectives[np.asarray(cells, dtype=np.int64)]))

    @cached_property
    def whole(self) -> float:
        """HV(front, r)."""
        return self.hypervolume(self.front)

    def share(self, cells: Array) -> float:
        """Hypervolume of the cells (official indices `[n]`) as a share of the front's, in [0, 1]."""
        return self.hypervolume(cells) / self.whole

    def igd_plus(self, cells: Array) -> float:
        """Mean distance from a cell of the front to what the cells fall short of it, in ranges of the front; 0 is best.

        NaN for no cells.
        """
        from pymoo.indicators.igd_plus import IGDPlus

        return self._scaled(IGDPlus, cells)

    def epsilon(self, cells: Array) -> float:
        """Largest shortfall: by how much, in ranges of the front, the cells must improve to cover it; 0 is best.

        NaN for no cells.
        """
        from pymoo.indicators.epsilon import Epsilon

        return self._scaled(Epsilon, cells)

    def _scaled(self, indicator: Any, cells: Array) -> float:
        if not len(cells):
            return float("nan")
        ideal, span = self._scale
        return float(indicator((self.objectives[self.front] - ideal) / span)((self.objectives[cells] - ideal) / span))


def trade_off(
    table: Table,
    dataset: str,
    metrics: Sequence[str],
    *,
    role: str | None = None,
    reference: str | Sequence[float] = "table",
) -> TradeOff:
    """The trade-off of a table between an accuracy and one or more costs.

    `role`: whose accuracy, `valid` or `test` as the table reports them; default `test` where there is one.
    `reference`: `table` or `front` (see the module's head), or an accuracy in percent and one value a cost. Raises
    `NotMeasured` for an unknown cost, `SpecError` for a metric that is no cost, `RunError` for another role or an
    impossible reference.

    >>> import nasbench_sim as nb
    >>> plane = trade_off(nb.open_table("nb201-analog"), "cifar10", ["params_m"])
    >>> len(plane.front), [f"{value:.3f}" for value in plane.reference]
    (17, ['90.000', '1.532'])
    >>> f"{plane.share(plane.front[:5]):.4f}"
    '0.9752'
    """
    need_pymoo("a hypervolume")
    if not metrics or len(set(metrics)) != len(metrics):
        raise RunError(f"a trade-off is between an accuracy and one or more different costs, got {list(metrics)}")
    columns = [cost_column(table, dataset, name).astype(np.float64) for name in metrics]
    keys = table.report_keys_for(dataset)
    chosen = role or ("test" if "test" in keys else next(iter(keys)))
    if chosen not in keys:
        raise RunError(f"table {table.name}: {unknown('accuracy role', chosen, keys)}")
    accuracy = table.values(**keys[chosen]._asdict()).astype(np.float64)
    objectives = np.stack([100.0 - accuracy, *columns], axis=1)
    out = TradeOff(table, dataset, chosen, keys[chosen], tuple(metrics), objectives, objectives.max(axis=0))
    return out if reference == "table" else _at(out, reference)


def _at(plane: TradeOff, reference: str | Sequence[float]) -> TradeOff:
    """The same with another reference point."""
    if isinstance(reference, str):
        if reference != "front":
            raise RunError(f"{unknown('reference', reference, ('table', 'front'))}, or numbers: accuracy, then costs")
        point = plane.objectives[plane.front].max(axis=0)
    else:
        point = np.array([float(value) for value in reference])
        if point.shape != plane.reference.shape or not np.isfinite(point).all():
            names = ", ".join(("accuracy in percent", *plane.metrics))
            raise RunError(f"a reference is {len(plane.reference)} finite numbers ({names}), got {list(reference)}")
        point[0] = 100.0 - point[0]
    moved = replace(plane, reference=point)
    if not moved.whole > 0:
        shown = ", ".join(f"{v:g}" for v in (100.0 - point[0], *point[1:]))
        raise RunError(f"no cell of {plane.table.name} is better than the reference ({shown}) in everything")
    return moved
