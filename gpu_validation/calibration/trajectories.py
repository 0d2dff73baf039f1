"""Searches simulated with a model against the recorded ones: theta by option, skip ratio, final operations.

This is what a user sees, and what decides: a model may explain gradients and still not where a search goes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from nasbench_sim.landscapes import SharedWeightsLandscape, SharedWeightsParams
from nasbench_sim.runs.trace import Trace
from nasbench_sim.tables.table import Table

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Course:
    """How searches went: `theta` `[S, E, K]` (mean over d), `skips` ratio `[S, E]`, `archs` `[S, D]` at the end."""

    theta: Array
    skips: Array
    archs: Array


def recorded_course(traces: Sequence[Trace]) -> Course:
    """That of the recorded runs of one method and setting, over the epochs that all of them have."""
    epochs = min(trace.epochs for trace in traces)
    return Course(
        np.concatenate([trace.epoch["theta"][:, :epochs].mean(axis=2) for trace in traces]).astype(np.float64),
        np.concatenate([trace.skip_ratio[:, :epochs] for trace in traces]),
        np.concatenate([trace.archs[:, epochs - 1] for trace in traces]),
    )


def simulated_course(
    trace: Trace,
    table: Table,
    dataset: str,
    land: SharedWeightsLandscape,
    params: SharedWeightsParams,
    seeds: int,
    epochs: int,
) -> Course:
    """The first `epochs` of `seeds` searches as recorded, on `land` (float32) with `params`."""
    batch = trace.simulated(table, dataset, seeds)
    batch.landscape = land.with_params(params)
    progress, theta = batch.start(), []
    for _ in range(epochs):
        progress = batch.advance(progress)
        theta.append(batch.searcher.distribution(progress.state).mean(axis=1))
    archs = progress.history["archs"][:, epochs - 1]
    return Course(np.stack(theta, axis=1).astype(np.float64), progress.history["skip_ratio"][:, :epochs], archs)


def compare(theirs: Course, ours: Course) -> dict[str, float]:
    """Errors of simulated (`ours`) against recorded searches.

    `theta_rmse`: of the mean over searches and decisions, over epochs and options; `theta_r2`: its share explained
    against a theta that stays uniform; `skip_rmse` of the mean skip ratio over
    epochs; `operations`: overlap in [0, 1] of the shares of operations in the final cells; `skip_sd`: sd over simulated
    searches of the final skip ratio, `skips` and `skips_recorded` its means.
    """
    mine, other = np.nanmean(ours.theta, axis=0), theirs.theta.mean(axis=0)
    error = mine - other
    moved = other - 1 / other.shape[1]
    options = np.arange(other.shape[1])
    share = [(c.archs[..., None] == options).mean(axis=(0, 1)) for c in (ours, theirs)]
    return {
        "theta_rmse": float(np.sqrt((error**2).mean())),
        "theta_r2": float(1 - (error**2).sum() / max(float((moved**2).sum()), 1e-12)),
        "theta_sum": float((error**2).sum()),
        "theta_moved": float((moved**2).sum()),
        "skip_rmse": float(np.sqrt(((np.nanmean(ours.skips, axis=0) - theirs.skips.mean(axis=0)) ** 2).mean())),
        "operations": float(1 - 0.5 * np.abs(share[0] - share[1]).sum()),
        "skips": float(np.nanmean(ours.skips[:, -1])),
        "skip_sd": float(np.nanstd(ours.skips[:, -1])),
        "skips_recorded": float(theirs.skips[:, -1].mean()),
    }


def pooled(found: Sequence[dict[str, float]]) -> dict[str, float]:
    """Over methods: `theta_r2` of the sums, root mean square of `skip_rmse`, mean of `operations`."""
    if not found:
        return {}
    moved = sum(one["theta_moved"] for one in found)
    return {
        "theta_r2": 1 - sum(one["theta_sum"] for one in found) / max(moved, 1e-12),
        "skip_rmse": float(np.sqrt(np.mean([one["skip_rmse"] ** 2 for one in found]))),
        "operations": float(np.mean([one["operations"] for one in found])),
    }
