"""One calibration from traces to a document: the ladder, what is held out, the baselines, errors, trajectories."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from gpu_validation.calibration.fit import bootstrap
from gpu_validation.calibration.heldout import (
    SPLITS,
    Held,
    baselines,
    choose,
    climb,
    held_out,
    plain_table,
    scaled,
    splits,
)
from gpu_validation.calibration.model import Predictor, ladder, numbers, to_params
from gpu_validation.calibration.noise import with_noise
from gpu_validation.calibration.recordings import Recordings, felt, recordings
from gpu_validation.calibration.trajectories import compare, pooled, recorded_course, simulated_course
from nasbench_sim.errors import RunError
from nasbench_sim.landscapes import SharedWeightsLandscape, SharedWeightsParams
from nasbench_sim.runs.trace import Trace
from nasbench_sim.tables.table import Table

Array = npt.NDArray[Any]
Tick = Callable[[int, int], None]
WHAT = (
    "Parameters of the weight-sharing model (nasbench_sim.SharedWeightsLandscape), fitted to the mean architecture "
    "gradients of recorded true supernets; published search results were not used. Transfer to other supernets and "
    "data is an assumption."
)


@dataclass(frozen=True)
class Options:
    """How much is computed.

    `draws` of the bootstrap (0: no standard errors), `searches` simulated a method and model (0: no trajectories),
    `terms`: the first so many steps of the ladder (None: all), `by`: what is left out, one value at a time.
    """

    draws: int = 20
    searches: int = 24
    terms: int | None = None
    by: tuple[str, ...] = SPLITS


def calibrate(
    traces: Sequence[Trace], table: Table, dataset: str, options: Options, on_tick: Tick = lambda done, total: None
) -> dict[str, Any]:
    """Fit and judge; returns a document of plain data (`params` is what `SharedWeightsParams.load` reads).

    Raises `RunError` where no trace has an architecture gradient.
    """
    began = time.perf_counter()
    found = recordings(traces)
    if not found.usable.any():
        raise RunError("no trace has an architecture gradient (RSPS and PARSEC take none); add one of DARTS or GDAS")
    base = _plain(found)
    key = table.search_key_for(dataset)._asdict()
    land = SharedWeightsLandscape(table, **key, params=base, dtype=np.float64)
    names = list(found.space.options[0])
    free, steps = numbers(names), ladder(names)[: options.terms]
    groups = _by_method(traces)
    ways = [by for by in options.by if len(list(splits(found, by))) > 1]
    each = len(steps)
    total = each * (1 + sum(len(list(splits(found, by))) for by in ways)) + options.draws
    total += len(groups) * _models(options)
    done = 0

    def tick() -> None:
        nonlocal done
        done += 1
        on_tick(done, total)

    predictor = Predictor(found.only(found.usable), land)
    fits = climb(predictor, steps, free, base, tick)
    held = {by: held_out(found, land, by, steps, free, base, traces, tick) for by in ways}
    # without anything to hold out nothing is supported but what was asked for: all of it, and the document says so
    count = choose(list(held.values()), steps) if ways else len(steps)
    chosen = steps[:count]
    zero = float((predictor.recorded**2).sum())
    best = fits[chosen[-1].name] if chosen else None
    params = with_noise(predictor, best.params if best else to_params({}, base))
    errors = bootstrap(predictor, chosen, free, base, best, options.draws, on_tick=tick) if best else {}
    model = chosen[-1].name if chosen else "gradient = noise"
    without = _without(predictor, found, held.get("method"), model)
    document = {
        "what": WHAT,
        "table": table.name,
        "table_sha256": table.sha256,
        "dataset": dataset,
        "runs": _runs(traces, found),
        "params": _rounded(params.model_dump()),
        "params_without": {method: _rounded(one.model_dump()) for method, one in without.items()},
        "fitted": _rounded(best.values) if best else {},
        "standard_errors": _rounded(errors),
        "model": model,
        "chosen_by": f"held out by {' and '.join(ways)}" if ways else "nothing could be held out: the whole ladder",
        "ceiling": round(1 - predictor.dof / zero, 4) if zero else 0.0,
        "ladder": [
            {
                "model": step.name,
                "adds": list(step.adds),
                "fitted": round(1 - fits[step.name].cost / zero, 4) if zero else 0.0,
                **{by: _share(held[by], step.name) for by in ways},
            }
            for step in steps
        ],
        "baselines": _baselines(predictor, traces, held, zero),
        "held_out": {by: {name: _rounded(held[by].by_label(name)) for name in held[by].chi2} for by in ways},
        "by_method": _by(predictor, params),
    }
    if options.searches:
        document["trajectories"] = _trajectories(
            groups,
            table,
            dataset,
            predictor,
            without,
            params,
            fits[steps[-1].name].params,
            options,
            tick,
        )
    return {**document, "seconds": round(time.perf_counter() - began)}


def _plain(found: Recordings) -> SharedWeightsParams:
    """What the fit starts from: the schedule of the recorded learning rate, everything else off."""
    convolutions = [o for o in found.space.options[0] if "conv" in o]
    return SharedWeightsParams(
        scale=0, rate=dict.fromkeys(convolutions, 1e6), rate_progress=0, preference={}, onset=0, noise=0, idiosyncrasy=0
    )


def _by_method(traces: Sequence[Trace]) -> dict[str, list[Trace]]:
    """Traces of one method, setting and length together."""
    out: dict[str, list[Trace]] = {}
    for trace in traces:
        channels = dict(trace.about.get("setting", {})).get("channels")
        widths = {dict(other.about.get("setting", {})).get("channels") for other in traces}
        name = f"{trace.method}, {channels} channels" if len(widths) > 1 else trace.method
        if trace.epochs:
            out.setdefault(name, []).append(trace)
    return out


def _runs(traces: Sequence[Trace], found: Recordings) -> list[dict[str, Any]]:
    return [
        {
            "method": trace.method,
            "seeds": trace.seeds.tolist(),
            "epochs": trace.epochs,
            "of": int(trace.about["epochs"]),
            "gradients": bool(found.usable[found.trace == number].any()),
        }
        for number, trace in enumerate(traces)
    ]


def _share(held: Held, name: str) -> float | None:
    return round(held.explained(name), 4) if name in held.chi2 else None


def _baselines(
    predictor: Predictor, traces: Sequence[Trace], held: Mapping[str, Held], zero: float
) -> list[dict[str, Any]]:
    out: list[dict[str, Any]] = [{"model": "gradient = noise", "fitted": 0.0, **dict.fromkeys(held, 0.0)}]
    for name, gradients in baselines(traces).items():
        given = gradients(predictor)
        row: dict[str, Any] = {"model": name, "fitted": None, **{by: _share(one, name) for by, one in held.items()}}
        if given is not None:
            size = scaled(predictor, given)
            left = predictor.recorded - size * felt(given, predictor.weight)
            row |= {"fitted": round(1 - float((left**2).sum()) / zero, 4) if zero else 0.0, "scale": round(size, 5)}
        out.append(row)
    return out


def _by(predictor: Predictor, params: SharedWeightsParams) -> dict[str, Any]:
    """Recorded and fitted gradients by method `[E, K]`: centred over options, mean over runs and decisions."""
    gradients, found = predictor.gradients(params), predictor.found
    out = {}
    for method in np.unique(found.method):
        rows = found.method == method
        shown = found.shown[rows].all(axis=(2, 3))[:, :, None, None]
        both = []
        for values in (found.gradient[rows], gradients[rows]):
            centred = np.where(shown, values - values.mean(axis=3, keepdims=True), np.nan)
            number = shown.sum(axis=0)[:, 0] * values.shape[2]
            mean = np.nansum(centred, axis=(0, 2)) / np.where(number > 0, number, np.nan)
            both.append([[None if np.isnan(v) else round(float(v), 5) for v in row] for row in mean])
        out[str(method)] = {"recorded": both[0], "fitted": both[1]}
    return out


def _models(options: Options) -> int:
    return 6 if options.searches else 0


def _without(predictor: Predictor, found: Recordings, held: Held | None, model: str) -> dict[str, SharedWeightsParams]:
    """Parameters of `model` fitted to all methods but the one they are named after."""
    fits = {} if held is None else held.fits.get(model, {})
    out = {}
    for method, fit in fits.items():
        rest = Predictor(found.only((found.method != method) & found.usable), predictor.land)
        out[str(method)] = with_noise(rest, fit.params)
    return out


def _trajectories(
    groups: Mapping[str, Sequence[Trace]],
    table: Table,
    dataset: str,
    predictor: Predictor,
    without: Mapping[str, SharedWeightsParams],
    params: SharedWeightsParams,
    whole: SharedWeightsParams,
    options: Options,
    tick: Callable[[], None],
) -> dict[str, Any]:
    """Simulated against recorded searches: fitted, all terms, held out by method, the baselines."""
    base = predictor.land.params
    size = scaled(predictor, plain_table(predictor))
    table_only = with_noise(predictor, to_params({"scale": size, "none_visibility": 1.0}, base))
    land = SharedWeightsLandscape(table, **table.search_key_for(dataset)._asdict(), params=base)
    shared = {
        "fitted": params,
        "all terms": with_noise(predictor, whole),
        "shipped": SharedWeightsParams.load(),
        "plain table": table_only,
        "gradient = noise": with_noise(predictor, to_params({}, base)),
    }
    rows: dict[str, dict[str, dict[str, float]]] = {}
    for name, some in groups.items():
        method = some[0].method
        models = dict(shared) | ({"held out": without[method]} if method in without else {})
        theirs = recorded_course(some)
        for what, given in models.items():
            ours = simulated_course(some[0], table, dataset, land, given, options.searches, theirs.theta.shape[1])
            rows.setdefault(what, {})[name] = {k: round(v, 4) for k, v in compare(theirs, ours).items()}
            tick()
    both = [name for name in groups if name in rows.get("held out", {})]
    return {
        "methods": rows,
        # the same methods for every model: those that could be held out
        "pooled": {
            what: _rounded(pooled([row[name] for name in (both or list(groups))])) for what, row in rows.items() if row
        },
    }


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _rounded(v) for k, v in value.items()}
    return float(f"{value:.5g}") if isinstance(value, float) else value
