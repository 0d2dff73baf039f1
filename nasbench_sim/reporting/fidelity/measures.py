"""What a comparison says of one method and of one scene, as plain data: numbers with their errors, and the curves."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from nasbench_sim.reporting.fidelity.recordings import Recording
from nasbench_sim.reporting.fidelity.simulate import Followed, accuracies
from nasbench_sim.reporting.fidelity.statistics import (
    Estimate,
    agreement,
    agreement_of_mode,
    agreement_within,
    chance_agreement,
    collapse_epochs,
    estimate,
    pooled,
    ranking,
    rmse_of_means,
    wasserstein,
)
from nasbench_sim.reporting.one_shot import correlation
from nasbench_sim.reporting.series import bands
from nasbench_sim.spaces import Space
from nasbench_sim.tables.table import Table

Array = npt.NDArray[Any]
#: the sides that stand beside the supernet: landscape `shared`, `tabular`, and `shared` with held-out parameters
SIDES = ("simulator", "plain_table", "held_out")


class Searches(NamedTuple):
    """Searches of one side that did not fail: `archs` `[S, E, D]`, final `accuracy` `[S]`, `theta_skip` `[S, E]`."""

    archs: Array
    accuracy: Array
    theta_skip: Array
    failed: int
    tau: Array  # [S, L], may be empty


def recorded(recording: Recording, table: Table, dataset: str) -> Searches:
    """The supernet's side; the one-shot ranking is held against the table's accuracies."""
    from scipy.stats import kendalltau

    values = accuracies(table, dataset)
    final = values[table.space.index(recording.archs[:, -1])].astype(np.float64)
    tau: Array = np.empty((0, 0))
    if recording.one_shot.size:
        truth = values[recording.cells].astype(np.float64)
        there = ~np.isnan(truth)
        seen = recording.one_shot[:, :, there].astype(np.float64)
        flat = [correlation(kendalltau, -row, truth[there]) for row in seen.reshape(-1, seen.shape[-1])]
        tau = np.array(flat).reshape(seen.shape[:2])
    return Searches(recording.archs, final, recording.theta_skip, recording.failed, tau)


def simulated(found: Followed, table: Table, dataset: str) -> Searches:
    """A simulated side."""
    good = ~found.run.failed
    archs = found.run.history["archs"][good].astype(np.int64)
    final = accuracies(table, dataset)[table.space.index(archs[:, -1])].astype(np.float64)
    return Searches(archs, final, found.theta_skip[good], int((~good).sum()), found.tau)


def skip_ratio(archs: Array, space: Space) -> Array:
    """Share of skip connections `[S, E]` of derived cells `[S, E, D]`."""
    return np.asarray(space.skip[np.arange(space.D), archs].mean(axis=-1))


def free(archs: Array, space: Space) -> Array:
    """Which derived operations have no parameters, bool `[S, E, D]`."""
    return np.asarray(~space.parametric[np.arange(space.D), archs])


def method_rows(recording: Recording, sides: Mapping[str, Searches], space: Space, purpose: str) -> dict[str, Any]:
    """One method: `sides` has `supernet`, `simulator`, and perhaps `plain_table` and `held_out`."""
    net = sides["supernet"]
    return {
        "method": recording.method,
        "label": recording.label,
        "params": dict(recording.params),
        "epochs": recording.epochs,
        "steps_per_epoch": recording.steps_per_epoch,
        "supernet_seeds": list(recording.seeds),
        "supernet_seconds": round(recording.seconds, 1),
        "sides": {name: _side(side, space) for name, side in sides.items()},
        "against_supernet": {
            name: _against(sides[name], net, space, f"{purpose} {name}") for name in SIDES if name in sides
        },
        "supernet_agreement": number(agreement_within(net.archs[:, -1])),
        "one_shot": _one_shot(recording, sides),
    }


def _side(side: Searches, space: Space) -> dict[str, Any]:
    """One side alone."""
    n = len(side.archs)
    if not n:
        return {"n": 0, "failed": side.failed}
    epochs = collapse_epochs(free(side.archs, space))
    collapsed = [e for e in epochs if e is not None]
    final, skips = side.accuracy, skip_ratio(side.archs, space)
    band = bands(skips)
    return {
        "n": n,
        "failed": side.failed,
        "accuracy": {
            "mean": number(final.mean()),
            "sd": number(final.std(ddof=1)) if n > 1 else None,
            "values": [number(v) for v in np.sort(final)],
        },
        "skip_ratio": {name: [number(v) for v in getattr(band, name)] for name in ("mean", "low", "high")},
        "theta_skip": [number(v) for v in side.theta_skip.mean(axis=0)],
        "collapse": {
            "share": number(len(collapsed) / n),
            "median_epoch": number(np.median(collapsed)) if collapsed else None,
            "epochs": epochs,
        },
    }


def _against(side: Searches, net: Searches, space: Space, purpose: str) -> dict[str, Any]:
    """One side against the supernet."""
    if not len(side.archs) or not len(net.archs):
        return {}
    final, theirs = side.archs[:, -1], net.archs[:, -1]
    thetas = side.theta_skip, net.theta_skip
    known = not any(np.isnan(t).any() for t in thetas)
    return {
        "accuracy_distance": told(estimate(wasserstein, side.accuracy, net.accuracy, f"{purpose} accuracy")),
        "skip_rmse": told(
            estimate(rmse_of_means, skip_ratio(side.archs, space), skip_ratio(net.archs, space), f"{purpose} skips")
        ),
        "theta_skip_rmse": told(estimate(rmse_of_means, *thetas, f"{purpose} theta")) if known else None,
        "agreement": told(estimate(agreement, final, theirs, f"{purpose} agreement", higher=True)),
        "agreement_of_mode": number(agreement_of_mode(final, theirs)),
        "chance": number(chance_agreement(final, theirs)),
    }


def _one_shot(recording: Recording, sides: Mapping[str, Searches]) -> dict[str, Any] | None:
    """Kendall's tau of one-shot and stand-alone accuracy by epoch, mean over searches; None where none was recorded."""
    found = {name: sides[name].tau for name in ("supernet", *SIDES) if name in sides and sides[name].tau.size}
    if "supernet" not in found:
        return None
    means = {name: [number(v) for v in tau.mean(axis=0)] for name, tau in found.items()}
    return {"epochs": recording.looked.tolist(), "cells": len(recording.cells), "tau": means}


def scene_ranking(methods: Sequence[tuple[str, Mapping[str, Searches]]], purpose: str) -> dict[str, Any]:
    """Kendall's tau of the ranking of the methods by mean final accuracy, a side; why not, where not."""
    out: dict[str, Any] = {"methods": [label for label, _ in methods]}
    for name in SIDES:
        some = [sides for _, sides in methods if name in sides and len(sides[name].accuracy)]
        some = [sides for sides in some if len(sides["supernet"].accuracy)]
        if len(some) < 3:
            continue
        taus = ranking([s[name].accuracy for s in some], [s["supernet"].accuracy for s in some], f"{purpose} {name}")
        out[name] = {**told(taus), "n": len(some)}
    return out


def over_methods(pairs: Sequence[tuple[Searches, Searches]], space: Space, purpose: str) -> dict[str, Any]:
    """Root mean squares over methods, `pairs` of (one side, the supernet), and `errors`: their yardsticks."""
    some = [(side, net) for side, net in pairs if len(side.archs) and len(net.archs)]
    thetas = [(side.theta_skip, net.theta_skip) for side, net in some]
    skips = [(skip_ratio(side.archs, space), skip_ratio(net.archs, space)) for side, net in some]
    found = {
        "accuracy_distance": pooled(wasserstein, [(a.accuracy, b.accuracy) for a, b in some], f"{purpose} accuracy"),
        "skip_rmse": pooled(rmse_of_means, skips, f"{purpose} skips"),
        "theta_skip_rmse": pooled(
            rmse_of_means, [pair for pair in thetas if not any(np.isnan(t).any() for t in pair)], f"{purpose} theta"
        ),
    }
    errors = {name: {k: v for k, v in told(one).items() if k != "value"} for name, one in found.items()}
    return {"methods": len(some), **{name: number(one.value) for name, one in found.items()}, "errors": errors}


def told(found: Estimate) -> dict[str, float | None]:
    """An estimate as plain data."""
    return {name: number(value) for name, value in found._asdict().items()}


def number(value: float) -> float | None:
    """A number with four decimals, None for NaN: JSON has none.

    >>> number(float("nan")), number(0.123456)
    (None, 0.1235)
    """
    value = float(value)
    return round(value, 4) if math.isfinite(value) else None
