"""What a model explains of runs it was not fitted to, step by step up the ladder, and what the baselines explain.

    explained = 1 - chi^2(model) / chi^2(zero),    chi^2 = sum of squared residuals in standard errors (`felt`)

over the held-out runs of all splits together. Zero is the baseline "gradient = noise": it explains 0. No model can
explain the step noise, so that the most there is to explain is `ceiling` = 1 - degrees of freedom / chi^2(zero).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from gpu_validation.calibration.fit import Fit, fit
from gpu_validation.calibration.model import Free, Predictor, Step, names_of, to_params
from gpu_validation.calibration.recordings import Recordings, felt
from nasbench_sim.landscapes import SharedWeightsLandscape, SharedWeightsParams
from nasbench_sim.runs.trace import Trace

Array = npt.NDArray[Any]
SPLITS = ("method", "seed", "width")
# a start in the valley of a preference that only mixtures show, and late; names that a model lacks are passed over
_LATE = {
    "onset": 0.5,
    "mixing_power": 15.0,
    "steadiness_power": 300.0,
    "preference skip_connect": 0.2,
    "preference nor_conv_3x3": -0.2,
}
_RIDGE = 1.0  # of the additive completion: one cell's worth


@dataclass
class Held:
    """Held-out chi^2 of one way of splitting: by model name, then by what was left out; `zero` the same of nothing."""

    by: str
    zero: dict[str, float] = field(default_factory=dict)
    chi2: dict[str, dict[str, float]] = field(default_factory=dict)
    fits: dict[str, dict[str, Fit]] = field(default_factory=dict)

    def explained(self, model: str) -> float:
        """Over all that was left out, one after the other."""
        scored = self.chi2[model]
        total = sum(self.zero[label] for label in scored)
        return 1 - sum(scored.values()) / total if total else float("nan")

    def by_label(self, model: str) -> dict[str, float]:
        """Of each that was left out."""
        return {label: 1 - value / self.zero[label] for label, value in self.chi2[model].items() if self.zero[label]}


def splits(found: Recordings, by: str) -> Iterator[tuple[str, npt.NDArray[np.bool_]]]:
    """(what is left out, mask of those runs); nothing where all runs are alike in it."""
    values = getattr(found, by)
    different = np.unique(values[found.usable])
    if len(different) > 1:
        for value in different:
            yield str(value), values == value


def climb(
    predictor: Predictor,
    steps: Sequence[Step],
    free: dict[str, Free],
    base: SharedWeightsParams,
    on_fit: Callable[[], None] = lambda: None,
) -> dict[str, Fit]:
    """Every model of the ladder fitted to all runs of the predictor.

    From where the one before ended and from two other starts, the best of them: chi^2 has valleys (a preference of
    mixtures alone that comes late, or of all methods alike).
    """
    out: dict[str, Fit] = {}
    start: dict[str, float] = {}
    for n, step in enumerate(steps, 1):
        starts = [{}, *([start] if start else []), *([_LATE] if "onset" in names_of(list(steps[:n])) else [])]
        tries = [fit(predictor, list(steps[:n]), free, base, first) for first in starts]
        out[step.name] = min(tries, key=lambda one: one.cost)
        start = out[step.name].values
        on_fit()
    return out


def held_out(
    found: Recordings,
    land: SharedWeightsLandscape,
    by: str,
    steps: Sequence[Step],
    free: dict[str, Free],
    base: SharedWeightsParams,
    traces: Sequence[Trace],
    on_fit: Callable[[], None] = lambda: None,
) -> Held:
    """Leave one out at a time, fit the ladder and the baselines to the rest, score them on what was left out."""
    out = Held(by)
    for label, left in splits(found, by):
        rest, tested = (
            Predictor(found.only(~left & found.usable), land),
            Predictor(found.only(left & found.usable), land),
        )
        out.zero[label] = float((tested.recorded**2).sum())
        for name, one in climb(rest, steps, free, base, on_fit).items():
            out.fits.setdefault(name, {})[label] = one
            out.chi2.setdefault(name, {})[label] = float((tested.residual(one.params) ** 2).sum())
        for name, gradients in baselines(traces).items():
            given, shown = gradients(rest), gradients(tested)
            if given is None or shown is None:
                continue
            size = scaled(rest, given)
            left_over = tested.recorded - size * felt(shown, tested.weight)
            out.chi2.setdefault(name, {})[label] = float((left_over**2).sum())
    return out


def baselines(traces: Sequence[Trace]) -> dict[str, Callable[[Predictor], Array | None]]:
    """Gradients `[R, E, D, K]` of each baseline before its one fitted scale; None where it cannot be had."""
    return {"plain table": plain_table, "recorded one-shot": lambda predictor: recorded_one_shot(predictor, traces)}


def plain_table(predictor: Predictor) -> Array:
    """The exact expectation of the table, as `TabularLandscape` has it."""
    base = predictor.land.params
    return predictor.gradients(to_params({"scale": 1.0, "none_visibility": 1.0}, base))


def recorded_one_shot(predictor: Predictor, traces: Sequence[Trace]) -> Array | None:
    """The slope of the recorded one-shot error, as `RecordedLandscape` would have it of a table of all cells.

    A trace asks some hundred cells only. They are completed by an additive model, error = c + sum_d b[d, arch_d]
    (ridge regression), whose gradient in theta is b itself; epoch e sees the newest look that is not later.
    """
    found = predictor.found
    out = np.zeros_like(found.gradient)
    for row, (number, seed) in enumerate(zip(found.trace, found.seed, strict=True)):
        trace = traces[int(number)]
        if not len(trace.looked) or not trace.one_shot.size:
            return None
        s = int(np.flatnonzero(trace.seeds == seed)[0])
        effects = [additive(trace, s, look) for look in range(len(trace.looked))]
        which = np.maximum(np.searchsorted(trace.looked, np.arange(out.shape[1]) + 1, side="right") - 1, 0)
        out[row] = np.stack(effects)[which]
    return out


def additive(trace: Trace, s: int, look: int) -> Array:
    """Main effects `[D, K]` of the options on the one-shot error (fraction) at one look."""
    space, error = trace.space, 1 - trace.one_shot[s, look].astype(np.float64) / 100
    archs = space.at(trace.cells)
    design = (archs[:, :, None] == np.arange(space.K)).reshape(len(archs), -1).astype(np.float64)
    design -= design.mean(axis=0)
    normal = design.T @ design + _RIDGE * np.eye(design.shape[1])
    return np.linalg.solve(normal, design.T @ (error - error.mean())).reshape(space.D, space.K)


def scaled(predictor: Predictor, gradients: Array) -> float:
    """The one number >= 0 by which a baseline is scaled: least squares in standard errors."""
    shape = felt(gradients, predictor.weight)
    size = float((shape**2).sum())
    return max(0.0, float((shape * predictor.recorded).sum()) / size) if size else 0.0


def choose(ways: Sequence[Held], steps: Sequence[Step], gain: float = 0.005) -> int:
    """How many steps are supported: the fewest whose held-out share is within `gain` of the best; 0: none beats noise.

    The share is the mean over the ways of splitting: a new method, a new seed and a new width count alike.

    >>> held = Held("method", {"a": 100.0}, {"one": {"a": 80.0}, "two": {"a": 79.8}})
    >>> choose([held], [Step("one", ()), Step("two", ())])
    1
    """
    shares = [0.0, *(float(np.mean([held.explained(step.name) for held in ways])) for step in steps)]
    return int(next(n for n, share in enumerate(shares) if share >= max(shares) - gain))
