"""Which terms of a model held-out runs support: each is left out in turn, and stays out where nothing is lost.

The ladder finds how far to climb; a step may be needed for a later one only (a preference that grows explains nothing
of a new method until only steady mixtures show it), or have been made needless by one (a preference that fades). So
the terms of the chosen model are gone through from the last to the second, the table being what the model stands on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from gpu_validation.calibration.fit import fit
from gpu_validation.calibration.heldout import GAIN, Held, splits
from gpu_validation.calibration.model import Free, Predictor, Step
from gpu_validation.calibration.recordings import Recordings
from nasbench_sim.landscapes import SharedWeightsLandscape, SharedWeightsParams


def fewest(
    found: Recordings,
    land: SharedWeightsLandscape,
    ways: Sequence[Held],
    chosen: Sequence[Step],
    free: dict[str, Free],
    base: SharedWeightsParams,
    on_fit: Callable[[], None] = lambda: None,
) -> tuple[list[Step], str]:
    """The supported steps of `chosen` and the name of that model, which is entered into every `Held` of `ways`.

    A step goes if the mean held-out share of the ways of splitting stays within `GAIN` of the best one seen.
    """
    kept, name = list(chosen), chosen[-1].name
    now = {held.by: held for held in ways}
    best = _share(ways, name)
    for step in reversed(chosen[1:]):
        fewer = [one for one in kept if one is not step]
        tried = {by: _again(found, land, held, name, fewer, free, base) for by, held in now.items()}
        share = _share(list(tried.values()), name)
        on_fit()
        if share >= best - GAIN:
            kept, now = fewer, tried
        best = max(best, share)
    out = [step.name.removeprefix("+ ") for step in chosen if step not in kept]
    if out:
        short = f"without {', '.join(out)}"
        for held in ways:
            held.chi2[short], held.fits[short] = now[held.by].chi2[name], now[held.by].fits[name]
        name = short
    return kept, name


def _share(ways: Sequence[Held], name: str) -> float:
    return float(np.mean([held.explained(name) for held in ways]))


def _again(
    found: Recordings,
    land: SharedWeightsLandscape,
    held: Held,
    name: str,
    steps: list[Step],
    free: dict[str, Free],
    base: SharedWeightsParams,
) -> Held:
    """Another model held out in the same way, from where the fits of this one ended."""
    out = Held(held.by, held.zero)
    for label, left in splits(found, held.by):
        rest, tested = (Predictor(found.only(rows & found.usable), land) for rows in (~left, left))
        one = fit(rest, steps, free, base, held.fits[name][label].values)
        out.fits.setdefault(name, {})[label] = one
        out.chi2.setdefault(name, {})[label] = float((tested.residual(one.params) ** 2).sum())
    return out
