"""Recorded searches as arrays over (run, epoch): what a model of weight sharing is fitted to.

A run is one seed of one trace. Runs of different lengths are padded with NaN. Published results have no place here: a
`Recordings` is made from traces only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nasbench_sim.errors import RunError
from nasbench_sim.files import sha256_file
from nasbench_sim.runs.trace import Trace
from nasbench_sim.spaces import Space

Array = npt.NDArray[Any]
#: a mean over no more than this share of the largest sd of a decision is exact (`none` of a supernet: sd 0)
_LEAST = 1e-3


@dataclass(frozen=True)
class Recordings:
    """`R` runs of up to `E` epochs.

    `method`, `seed`, `width` (channels, -1 unknown) and `trace` (number of its file) a run; `epochs`, `steps`
    int `[R]`: horizon and weight steps an epoch; `single` bool `[R]`: the method looks at single cells. float64
    `[R, E, D, K]`: `point` theta, `gradient`, its step sd `spread`, `usage`; `[R, E]`: `mixed`, mean over decisions of
    (1 - sum usage^2) / (1 - 1/K), and `steady`, 1 - that of sum Var usage / (1 - 1/K), NaN beyond a run's end. `shown`
    bool `[R, E, D, K]`: entries whose gradient counts.
    """

    space: Space
    method: npt.NDArray[np.str_]
    seed: npt.NDArray[np.int64]
    width: npt.NDArray[np.int64]
    trace: npt.NDArray[np.int64]
    epochs: npt.NDArray[np.int64]
    steps: npt.NDArray[np.int64]
    single: npt.NDArray[np.bool_]
    point: Array
    gradient: Array
    spread: Array
    usage: Array
    mixed: Array
    steady: Array
    shown: npt.NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.method)

    def only(self, rows: Array) -> Recordings:
        """The runs `rows`: a mask, or numbers, also repeated ones (a bootstrap's draw)."""
        return replace(self, **{n: getattr(self, n)[rows] for n in self.__dataclass_fields__ if n != "space"})

    @property
    def usable(self) -> npt.NDArray[np.bool_]:
        """bool `[R]`: runs that recorded gradients (RSPS takes none, PARSEC sees losses of cells only)."""
        return np.asarray(self.shown.any(axis=(1, 2, 3)))


def load_traces(paths: Sequence[Path]) -> tuple[list[Trace], dict[str, str]]:
    """The traces of files and folders, and their sha256 by name; raises `RunError`, one line."""
    files = [f for p in paths for f in (sorted(p.glob("*.h5")) if p.is_dir() else [p])]
    if not files:
        raise RunError(
            f"no traces (*.h5) in {', '.join(map(str, paths)) or 'nothing'}; `gpu-validation record` makes them"
        )
    traces = [Trace.load(f) for f in files]
    spaces = sorted({trace.space.name for trace in traces})
    if len(spaces) > 1:
        raise RunError(f"traces of different spaces ({', '.join(spaces)}); calibrate one space at a time")
    return traces, {f.name: sha256_file(f) for f in files}


def recordings(traces: Sequence[Trace]) -> Recordings:
    """One array of all runs; epochs that were recorded so far."""
    rows = [(number, trace, s) for number, trace in enumerate(traces) for s in range(len(trace.seeds)) if trace.epochs]
    if not rows:
        raise RunError("the traces hold no finished epoch yet; go on with `gpu-validation record`")
    space, last = rows[0][1].space, max(trace.epochs for _, trace, _ in rows)

    def epochs_of(name: str) -> Array:
        wide = rows[0][1].epoch[name].ndim == 4
        out = np.full((len(rows), last, *((space.D, space.K) if wide else ())), np.nan)
        for row, (_, trace, s) in zip(out, rows, strict=True):
            row[: trace.epochs] = trace.epoch[name][s]
        return out

    def each(get: Callable[[Trace, int], Any]) -> Array:
        return np.array([get(trace, s) for _, trace, s in rows])

    point, gradient, spread = (epochs_of(name) for name in ("point", "gradient", "gradient_sd"))
    usage, squared = epochs_of("usage"), epochs_of("usage_squared")
    several = np.maximum(space.counts, 2)
    one, moving = 1 - squared.sum(axis=3), squared.sum(axis=3) - (usage**2).sum(axis=3)
    mixed, unsteady = ((v * several / (several - 1))[:, :, space.counts > 1].mean(axis=2) for v in (one, moving))
    return Recordings(
        space=space,
        method=each(lambda trace, s: trace.method),
        seed=each(lambda trace, s: int(trace.seeds[s])),
        width=each(lambda trace, s: int(dict(trace.about.get("setting", {})).get("channels", -1))),
        trace=np.array([number for number, _, _ in rows]),
        epochs=each(lambda trace, s: int(trace.about["epochs"])),
        steps=each(lambda trace, s: int(trace.about["steps_per_epoch"])),
        single=np.nan_to_num(np.abs(mixed)).max(axis=1) < 1e-4,
        point=point,
        gradient=gradient,
        spread=spread,
        usage=usage,
        mixed=np.where(np.isnan(mixed), np.nan, np.clip(mixed, 0, 1)),
        steady=np.where(np.isnan(unsteady), np.nan, np.clip(1 - unsteady, 0, 1)),
        shown=np.isfinite(gradient) & np.isfinite(spread) & (point > 0) & space.mask,
    )


def precision(spread: Array, shown: npt.NDArray[np.bool_], steps: Array) -> Array:
    """1 / variance `[R, E, D, K]` of the recorded mean gradients, v = sd^2 / steps; 0 where nothing was shown."""
    sd = np.where(shown, spread, 0)
    largest = sd.max(axis=3, keepdims=True)
    use = shown & (largest > 0)
    sd = np.where(use, np.maximum(sd, _LEAST * largest), 1)
    return np.asarray(np.where(use, steps[:, None, None, None] / sd**2, 0))


def felt(found: Array, weight: Array) -> Array:
    """Gradients as a softmax feels them, in standard errors of the recorded means; 0 where `weight` = 1 / v is 0.

    A shift common to the options of a decision changes no search, so that the inverse-variance mean over the options is
    taken off: r_k = (g_k - sum_j w_j g_j / sum_j w_j) sqrt(w_k). `none` of a supernet has v = 0 (then a millionth of
    the largest), so that it is what the others are compared with.

    >>> import numpy as np
    >>> w = precision(np.array([[[[0.0, 2.0, 2.0]]]]), np.ones((1, 1, 1, 3), dtype=bool), np.array([4]))
    >>> felt(np.array([[[[1.0, 4.0, 6.0]]]]), w)[..., 1:].round(2).tolist()
    [[[[3.0, 5.0]]]]
    """
    total = weight.sum(axis=3, keepdims=True)
    values = np.where(weight > 0, found, 0)
    shift = (weight * values).sum(axis=3, keepdims=True) / np.where(total > 0, total, 1)
    return np.asarray((values - shift) * np.sqrt(weight))
