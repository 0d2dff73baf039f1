"""What finished runs found in the plane of accuracy and cost, and how much of the table's front that is.

The set that a search found is chosen on what it saw, validation accuracy, and then measured at the accuracy of the
plane (`TradeOff.role`): test accuracies never choose anything.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from nasbench_sim.errors import RunError
from nasbench_sim.reporting.pareto import TradeOff
from nasbench_sim.reporting.series import check_table, labels, panels
from nasbench_sim.runs.record import Run
from nasbench_sim.searchers.blackbox.nsga2 import non_dominated
from nasbench_sim.tables.table import Table

Array = npt.NDArray[Any]
IntArray = npt.NDArray[np.int64]
#: what the record of a black-box search keeps in `final_state`: the cells trained, for how many epochs (0: not made,
#: -1: not stated), and the validation accuracy that came out
EVALUATED = ("evaluated_archs", "evaluated_epochs", "evaluated_valid")


def check_runs(runs: Sequence[Run], table: Table) -> str:
    """The one data set of the runs; raises `RunError` where they have several, or were made on another table."""
    datasets = sorted({panel.dataset for panel in panels(runs)})
    if len(datasets) > 1:
        raise RunError(f"these runs are on {', '.join(datasets)}; a trade-off is of one data set, give those runs only")
    for run in runs:
        check_table(run, table)
    return datasets[0]


def trains_cells(run: Run) -> bool:
    """Whether the record holds cells trained one after another (a black-box search) and not one derived cell alone."""
    return all(name in run.final_state for name in EVALUATED)


def found(run: Run, plane: TradeOff) -> list[IntArray]:
    """What each search of a run found: official indices of its cells, `[n]` a seed, each cell once, by rising cost.

    A black-box search keeps what it trained: the set is what no other cell it trained dominates in the *validation*
    accuracy that it saw (after the most epochs it reached; accuracies after unlike epochs are not compared) and the
    costs. Any other search returns its one derived cell. A failed search found nothing.
    """
    space = plane.table.space
    if not trains_cells(run):
        return [space.index(arch)[None] if (arch >= 0).all() else np.empty(0, dtype=np.int64) for arch in run.archs]
    cells, epochs, valid = _evaluated(run, plane)
    return [_chosen(c, e, v, plane) for c, e, v in zip(cells, epochs, valid, strict=True)]


def _evaluated(run: Run, plane: TradeOff) -> tuple[IntArray, IntArray, Array]:
    """Official indices, epochs (0: not made) and validation accuracies `[S, N]` of all evaluations of a search."""
    archs, epochs, valid = (np.asarray(run.final_state[name]) for name in EVALUATED)
    return plane.table.space.index(np.maximum(archs, 0).astype(np.int64)), epochs, valid


def _chosen(cells: IntArray, epochs: IntArray, valid: Array, plane: TradeOff) -> IntArray:
    """The cells of the evaluations `[n]` that no other of the most epochs dominates, each once, by rising cost."""
    at = np.flatnonzero((epochs != 0) & (epochs == epochs.max(initial=-1, where=epochs != 0)))
    cells, first = np.unique(cells[at], return_index=True)
    seen = np.column_stack([100.0 - valid[at][first].astype(np.float64), plane.objectives[cells, 1:]])
    kept = cells[non_dominated(seen)] if len(cells) else cells
    return np.asarray(kept[np.lexsort((kept, plane.objectives[kept, 1]))])


def families(runs: Sequence[Run]) -> dict[str, list[int]]:
    """Positions of the runs by name, those together that differ in nothing but their penalty and seeds.

    A family of several weights is one trade-off curve; its name is the method with what tells it from the others.
    """
    same: dict[str, list[int]] = {}
    for i, run in enumerate(runs):
        fixed = run.spec.model_dump(mode="json", exclude={"penalty", "seeds"})
        same.setdefault(json.dumps(fixed, sort_keys=True), []).append(i)
    first = [runs[members[0]] for members in same.values()]
    where = [f", {run.spec.landscape}" if len({r.spec.landscape for r in first}) > 1 else "" for run in first]
    names = [name + place for name, place in zip(labels(first), where, strict=True)]
    return dict(zip(names, same.values(), strict=True))


def measure(runs: Sequence[Run], plane: TradeOff) -> list[dict[str, Any]]:
    """One row a run, and one more for every family of several weights: what its searches found, as plain data.

    `name`, `method`, `landscape`, `penalty` (None: all weights of the family together), `seeds`, `failed`; means over
    the seeds that did not fail of `cells` in the set, `on_front` of them on the table's own front, `igd_plus` and
    `epsilon`; `share` with `mean`, `sd` (n - 1; None for one seed) and `n`; and `together`: the same of all seeds'
    cells in one set, `cells` counting the non-dominated ones. None where nothing was found.
    """
    rows = []
    for name, members in families(runs).items():
        sets = {i: dict(zip(runs[i].seeds.tolist(), found(runs[i], plane), strict=True)) for i in members}
        lost = {i: {int(seed) for seed in runs[i].seeds[runs[i].failed]} for i in members}
        for i in members:
            rows.append(_row(name, runs[i], dict(runs[i].spec.penalty), sets[i], lost[i], plane))
        if len(members) > 1:
            common = set.intersection(*(set(sets[i]) for i in members))
            pooled = {seed: np.unique(np.concatenate([sets[i][seed] for i in members])) for seed in sorted(common)}
            rows.append(_row(name, runs[members[0]], None, pooled, set.union(*lost.values()) & common, plane))
    return rows


def _row(
    name: str, run: Run, penalty: dict[str, float] | None, sets: dict[int, IntArray], lost: set[int], plane: TradeOff
) -> dict[str, Any]:
    kept = [cells for seed, cells in sets.items() if seed not in lost]
    shares = [plane.share(cells) for cells in kept]
    every = np.unique(np.concatenate([*kept, np.empty(0, dtype=np.int64)]))
    best = every[non_dominated(plane.objectives[every])] if len(every) else every

    def mean(values: Sequence[float]) -> float | None:
        known = [v for v in values if v == v]
        return round(float(np.mean(known)), 6) if known else None

    return {
        "name": name,
        "method": run.spec.method,
        "landscape": run.spec.landscape,
        "penalty": penalty,
        "seeds": len(sets),
        "failed": len(lost),
        "cells": mean([len(cells) for cells in kept]),
        "on_front": mean([np.isin(cells, plane.front).sum() for cells in kept]),
        "share": {
            "mean": mean(shares),
            "sd": round(float(np.std(shares, ddof=1)), 6) if len(shares) > 1 else None,
            "n": len(shares),
        },
        "igd_plus": mean([plane.igd_plus(cells) for cells in kept]),
        "epsilon": mean([plane.epsilon(cells) for cells in kept]),
        "together": {
            "cells": len(best),
            "on_front": int(np.isin(best, plane.front).sum()),
            "share": round(plane.share(best), 6),
        },
    }
