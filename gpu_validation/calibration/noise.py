"""What a fit leaves: step noise by option and its growth, and each run's own lasting pattern.

    sd[run, epoch, d, k] = noise * noise_of[k] * (1 + noise_growth * q)      q = mixed passes / PASSES
    recorded - predicted = A * own[run, d, k] + step noise / sqrt(steps),    A = noise_of[k] * (1 + noise_growth * q)

The first is fitted to the recorded sd over steps (least squares of its logarithm; where a method draws its theta, the
spread that the draws make is in it, and a simulated search has it twice); `idiosyncrasy` is the sd of `own`
beyond what step noise leaves in a run's weighted mean (method of moments).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import least_squares

from gpu_validation.calibration.model import Predictor
from nasbench_sim.landscapes import SharedWeightsParams

Array = npt.NDArray[Any]
_SILENT = 0.1  # an sd below this share of the largest of its epoch is no noise: `none` of a supernet has 0


def with_noise(predictor: Predictor, params: SharedWeightsParams) -> SharedWeightsParams:
    """`params` with noise, its factors by option, its growth and the idiosyncrasy of the predictor's runs."""
    found = predictor.found
    if not found.shown.any():
        return params
    progress = predictor.states(params)[1]
    passes = (progress / (1 - progress))[:, :, None]
    shown = found.shown & (found.spread > 0)
    number = shown.sum(axis=2)
    mean_square = np.where(shown, found.spread, 0) ** 2
    rms = np.sqrt(mean_square.sum(axis=2) / np.maximum(number, 1))  # [R, E, K], over decisions
    use = (number > 0) & (rms > _SILENT * rms.max(axis=2, keepdims=True))
    loud = np.flatnonzero(use.any(axis=(0, 1)))
    logs = np.log(np.where(use, rms, 1))

    def left(x: Array) -> Array:
        levels = np.zeros(rms.shape[2])
        levels[loud] = x[1:]
        return np.asarray((logs - levels - np.log1p(x[0] * passes))[use])

    start = np.concatenate([[1.0], logs.sum(axis=(0, 1))[loud] / use.sum(axis=(0, 1))[loud]])
    low = np.concatenate([[0.0], np.full(len(loud), -np.inf)])
    x = least_squares(left, start, bounds=(low, np.inf)).x
    level = np.exp(x[1:])
    whole = float(np.exp(np.log(level).mean()))
    # options are taken by their number: the decisions of a space that is calibrated have the same ones
    names = found.space.options[0]
    factors = dict.fromkeys(names, 0.0)
    factors |= {names[k]: float(v / whole) for k, v in zip(loud, level, strict=True)}
    noisy = params.model_copy(update={"noise": whole, "noise_of": factors, "noise_growth": float(x[0])})
    return noisy.model_copy(update={"idiosyncrasy": own_pattern(predictor, noisy)})


def own_pattern(predictor: Predictor, params: SharedWeightsParams) -> float:
    """sd of the lasting pattern of a run and entry, in units of A; 0 where step noise explains what is left."""
    found = predictor.found
    progress = predictor.states(params)[1]
    growth = 1 + params.noise_growth * progress / (1 - progress)
    factor = np.array([params.noise_of.get(name, 1.0) for name in found.space.options[0]])
    amplitude = growth[:, :, None, None] * factor
    use = (predictor.weight > 0) & (amplitude > 0)
    residual = np.where(use, predictor.residual(params) / np.sqrt(np.where(use, predictor.weight, 1)), 0)
    precision = np.where(use, predictor.weight * amplitude**2, 0)
    total = precision.sum(axis=1)
    scaled = np.where(use, residual / np.where(use, amplitude, 1), 0)
    mean = (precision * scaled).sum(axis=1) / np.where(total > 0, total, 1)
    beyond = (mean**2 - 1 / np.where(total > 0, total, 1))[total > 0]
    return float(np.sqrt(max(0.0, beyond.mean()))) if beyond.size else 0.0
