"""What a fit leaves: step noise by option and its growth, and each run's own lasting pattern.

    sd[run, epoch, d, k] = noise * noise_of[k] * growth      q = mixed passes / PASSES
    growth               = (1 + noise_growth q) (1 - (1 - noise_start) exp(-epoch / noise_epochs))
    recorded - predicted = noise_of[k] * growth * own[run, d, k] + step noise / sqrt(steps)

The first is fitted to the recorded sd over steps (least squares of its logarithm; where a method draws its theta, the
spread that the draws make is in it, and a simulated search has it twice). `own` turns into another pattern in
`idiosyncrasy_epochs`; its sd `idiosyncrasy` and that time are fitted to how alike the differences between seeds are at
epochs some apart.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import least_squares, minimize_scalar

from gpu_validation.calibration.model import Predictor
from nasbench_sim.landscapes import SharedWeightsParams
from nasbench_sim.landscapes.patterns import likeness

Array = npt.NDArray[Any]
_WORTH = 0.02  # of the squares that are left: a ramp that saves less is left out, growth looks like it in short runs
_SILENT = 0.1  # an sd below this share of the largest of its epoch is no noise: `none` of a supernet has 0


def with_noise(predictor: Predictor, params: SharedWeightsParams) -> SharedWeightsParams:
    """`params` with noise, its factors by option, its growth and the idiosyncrasy of the predictor's runs."""
    found = predictor.found
    if not found.shown.any():
        return params
    progress = predictor.states(params)[1]
    shown = found.shown & (found.spread > 0)
    number = shown.sum(axis=2)
    mean_square = np.where(shown, found.spread, 0) ** 2
    rms = np.sqrt(mean_square.sum(axis=2) / np.maximum(number, 1))  # [R, E, K], over decisions
    use = (number > 0) & (rms > _SILENT * rms.max(axis=2, keepdims=True))
    loud = np.flatnonzero(use.any(axis=(0, 1)))
    logs = np.log(np.where(use, rms, 1))

    def left(x: Array) -> Array:
        levels = np.zeros(rms.shape[2])
        levels[loud] = x[3:]
        return np.asarray((logs - levels - np.log(growth(progress, with_growth(x)))[:, :, None])[use])

    def with_growth(x: Array) -> SharedWeightsParams:
        named = {"noise_growth": float(x[0]), "noise_start": float(x[1]), "noise_epochs": float(np.exp(x[2]))}
        return params.model_copy(update=named)

    start = np.concatenate([[1.0, 0.5, np.log(3.0)], logs.sum(axis=(0, 1))[loud] / use.sum(axis=(0, 1))[loud]])
    low = np.concatenate([[0.0, 0.01, np.log(0.3)], np.full(len(loud), -np.inf)])
    high = np.concatenate([[np.inf, 1.0, np.log(found.epochs.max())], np.full(len(loud), np.inf)])
    flat = np.isin(np.arange(len(start)), (1, 2))  # without a ramp: `noise_start` is 1
    plain = least_squares(lambda x: left(np.insert(x, 1, (1.0, start[2]))), start[~flat], bounds=(low[~flat], np.inf))
    ramp = least_squares(left, start, bounds=(low, high))
    x = ramp.x if ramp.cost < (1 - _WORTH) * plain.cost else np.insert(plain.x, 1, (1.0, start[2]))
    level = np.exp(x[3:])
    whole = float(np.exp(np.log(level).mean()))
    # options are taken by their number: the decisions of a space that is calibrated have the same ones
    names = found.space.options[0]
    factors = dict.fromkeys(names, 0.0)
    factors |= {names[k]: float(v / whole) for k, v in zip(loud, level, strict=True)}
    noisy = with_growth(x).model_copy(update={"noise": whole, "noise_of": factors})
    own, lasting = own_pattern(predictor, noisy)
    return noisy.model_copy(update={"idiosyncrasy": own, "idiosyncrasy_epochs": lasting})


def growth(progress: Array, params: SharedWeightsParams) -> Array:
    """Growth of the noise `[R, E]` at `progress[R, E]`, half-way through each epoch."""
    ramp = 1 - (1 - params.noise_start) * np.exp(-(np.arange(progress.shape[1]) + 0.5) / params.noise_epochs)
    return np.asarray((1 + params.noise_growth * progress / (1 - progress)) * ramp)


def own_pattern(predictor: Predictor, params: SharedWeightsParams) -> tuple[float, float | None]:
    """sd of a run's own pattern in units of `noise_of` growth, and the epochs in which it gives way to another.

    Both from how the seeds of one method in one setting differ at epochs that lie some apart: step noise is gone there,
    and what the model misses of all seeds is no pattern of a run. 0 and without end where there is none to see.
    """
    found = predictor.found
    factor = np.array([params.noise_of.get(name, 1.0) for name in found.space.options[0]])
    amplitude = growth(predictor.states(params)[1], params)[:, :, None, None] * factor
    use = (predictor.weight > 0) & (amplitude > 0)
    apart = np.where(use, predictor.residual(params) / np.sqrt(np.where(use, predictor.weight, 1)), 0)
    apart = np.where(use, apart / np.where(use, amplitude, 1), 0)
    weight = np.where(use, predictor.weight * amplitude**2, 0)
    settings = list(zip(found.method.tolist(), found.width.tolist(), found.steps.tolist(), strict=True))
    lags = np.unique(np.geomspace(1, max(apart.shape[1] // 2, 1), 8).astype(np.int64))
    total, size = np.zeros(len(lags)), np.zeros(len(lags))
    for setting in dict.fromkeys(settings):
        rows = np.array([one == setting for one in settings])
        n = int(rows.sum())
        if n < 2:
            continue
        alike = use[rows].all(axis=0)
        gap = np.where(alike, apart[rows] - apart[rows].mean(axis=0), 0)
        sure = np.where(alike, weight[rows].mean(axis=0), 0)
        for i, lag in enumerate(lags):
            both = sure[:-lag] * sure[lag:]
            total[i] += float((both * (gap[:, :-lag] * gap[:, lag:]).sum(axis=0) / (n - 1)).sum())
            size[i] += float(both.sum())
    known = size > 0
    if not known.any():
        return 0.0, None
    seen, share = total[known] / size[known], size[known] / size[known].sum()

    def square(epochs: float) -> float:
        shape = likeness(lags[known] / epochs)
        return max(0.0, float((share * shape * seen).sum() / (share * shape * shape).sum()))

    def miss(log: float) -> float:
        epochs = float(np.exp(log))
        return float((share * (seen - square(epochs) * likeness(lags[known] / epochs)) ** 2).sum())

    longest = 4.0 * apart.shape[1]
    epochs = float(np.exp(minimize_scalar(miss, bounds=(np.log(2.0), np.log(longest)), method="bounded").x))
    return float(np.sqrt(square(epochs))), epochs if epochs < 0.9 * longest else None
