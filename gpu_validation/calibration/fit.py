"""Bounded weighted least squares of one model to recorded gradients, with errors by bootstrap over runs.

    minimise over x   sum_{run, epoch, decision, option} r(x)^2 + (penalty (x - start) / width)^2

with r in standard errors (`recordings.felt`). The weak pull to the start keeps a number finite that the recordings say
nothing about; its standard error then says so.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import least_squares

from gpu_validation.calibration.model import Free, Predictor, Step, names_of, to_params
from nasbench_sim.landscapes import SharedWeightsParams

Array = npt.NDArray[Any]
PULL = 2.0  # standard errors that a number costs which is one width from its start
_MOST = 30  # evaluations of the Jacobian
_ENOUGH = 1e-4  # of the cost: far below what the bootstrap says of it


@dataclass(frozen=True)
class Fit:
    """`values` by name; `cost`: sum of squared residuals in standard errors; `params` of the model."""

    values: dict[str, float]
    cost: float
    params: SharedWeightsParams
    evaluations: int


def fit(
    predictor: Predictor,
    steps: list[Step],
    free: dict[str, Free],
    base: SharedWeightsParams,
    start: dict[str, float] | None = None,
) -> Fit:
    """Fit the model of these steps; `start`: numbers by name to begin from."""
    names = names_of(steps)
    first = np.array([_inner((start or {}).get(n, free[n].start), free[n]) for n in names])
    low, high = (np.array([_inner(getattr(free[n], side), free[n]) for n in names]) for side in ("low", "high"))
    centre = np.array([_inner(free[n].start, free[n]) for n in names])
    width = np.array([free[n].width for n in names])

    def values(x: Array) -> dict[str, float]:
        return {n: float(np.exp(v)) if free[n].log else float(v) for n, v in zip(names, x, strict=True)}

    shown = predictor.weight > 0

    def residual(x: Array) -> Array:
        left = predictor.residual(to_params(values(x), base))[shown]
        return np.concatenate([left, PULL * (x - centre) / width])

    inside = np.clip(first, low + 1e-9, high - 1e-9)
    found = least_squares(
        residual, inside, bounds=(low, high), x_scale=width, diff_step=1e-4, max_nfev=_MOST, ftol=_ENOUGH
    )
    params = to_params(values(found.x), base)
    return Fit(values(found.x), float((predictor.residual(params) ** 2).sum()), params, int(found.nfev))


def _inner(value: float, free: Free) -> float:
    return float(np.log(value)) if free.log else float(value)


def bootstrap(
    predictor: Predictor,
    steps: list[Step],
    free: dict[str, Free],
    base: SharedWeightsParams,
    at: Fit,
    draws: int,
    seed: int = 0,
    on_tick: Callable[[], None] = lambda: None,
) -> dict[str, float]:
    """Standard error of each number: its sd over refits to runs drawn with replacement.

    Runs, not epochs, are drawn: what a run shows at one epoch it shows at the next as well. Fewer than two runs: none.
    """
    runs = np.flatnonzero(predictor.found.usable)
    if len(runs) < 2 or draws < 2:
        return {}
    random = np.random.Generator(np.random.Philox(seed))
    rows = []
    for _ in range(draws):
        drawn = predictor.found.only(random.choice(runs, len(runs)))
        again = fit(Predictor(drawn, predictor.land), steps, free, base, at.values)
        rows.append([again.values[n] for n in at.values])
        on_tick()
    return dict(zip(at.values, np.std(rows, axis=0, ddof=1).tolist(), strict=True))
