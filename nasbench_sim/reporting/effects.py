"""Which axis of an ablation matters: paired effects against the baseline, with intervals, tests and a verdict.

Pairs are cells that differ on one axis only, at equal seeds: both searches see the same noise (common random numbers),
so their difference varies far less than either. For value v against baseline b of an axis

    d[s] = mean over pairs of cells of (accuracy[v, rest, s] - accuracy[b, rest, s])          points of percent

The seed is the unit: pairs of one seed share its noise and are averaged first, so n is the number of seeds, not of
searches. Interval of the mean of d: bootstrap over seeds, BCa (Efron 1987). Test: Wilcoxon's signed ranks (1945),
two-sided; p = 1 where all differences are zero. Correction over all comparisons of the ablation: Holm (1979) for any
false claim, or Benjamini and Hochberg (1995) for their share. Effect size: matched-pairs rank-biserial correlation
(Kerby 2014), from -1 (every seed falls) to 1 (every seed rises). A pair with a failed search is left out and counted.
"""

from __future__ import annotations

import csv
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from scipy import stats

from nasbench_sim.errors import SpecError, unknown
from nasbench_sim.files import atomic_path
from nasbench_sim.runs.ablate_results import Ablation
from nasbench_sim.runs.grid import Panel

FloatArray = npt.NDArray[np.float64]
Correction = Literal["holm", "bh"]
RESAMPLES = 9_999
ALPHA = 0.05
#: median sd of a cell's accuracy over its training seeds, points: NAS-Bench-201, CIFAR-10 test, cells above 88 %
TRAINING_NOISE = 0.2
LEAST = 6  # seeds; the smallest p of Wilcoxon's test is 2 / 2^n, which 5 seeds leave above 0.05
CORRECTIONS: dict[Correction, str] = {"holm": "Holm", "bh": "Benjamini-Hochberg"}


@dataclass(frozen=True)
class Effect:
    """One value of one axis against the axis's baseline, within one panel.

    `mean`, `baseline_mean`: percent, mean over seeds of `by_seed`.
    `difference`, `low`, `high`: points, mean of d and its 95 % interval. `p`, `p_corrected`: see the module.
    `seeds`: seeds with a pair; `pairs`: pairs of cells. `failed` of the `searches` with this value, `baseline_failed`
    of as many with the baseline. A number that needs more seeds than there are is None.
    """

    panel: Panel
    axis: str
    value: str
    baseline: str
    mean: float | None
    baseline_mean: float | None
    difference: float | None
    low: float | None
    high: float | None
    p: float | None
    p_corrected: float | None
    rank_biserial: float | None
    seeds: int
    pairs: int
    searches: int
    failed: int
    baseline_failed: int

    @property
    def differs(self) -> bool:
        """Whether the corrected p is below 0.05."""
        return self.p_corrected is not None and self.p_corrected < ALPHA

    def record(self) -> dict[str, Any]:
        """Plain data, one line of `effects.csv`."""
        plain = asdict(self)
        return {**self.panel._asdict(), **{k: v for k, v in plain.items() if k != "panel"}, "differs": self.differs}


def effects(ablation: Ablation, *, correction: Correction = "holm", rng_seed: int = 0) -> list[Effect]:
    """Every value of every axis against its baseline, panel by panel; deterministic for a given `rng_seed`.

    Raises `SpecError` for an unknown correction.
    """
    check_correction(correction)
    found = [
        effect
        for panel in dict.fromkeys(cell.panel for cell in ablation.cells)
        for number in range(len(ablation.axes))
        for effect in _of_axis(ablation, panel, number, rng_seed)
    ]
    tested = [i for i, effect in enumerate(found) if effect.p is not None]
    corrected = corrected_p(np.array([found[i].p for i in tested], dtype=np.float64), correction)
    for i, p in zip(tested, corrected, strict=True):
        found[i] = replace(found[i], p_corrected=float(p))
    return found


def check_correction(name: str) -> Correction:
    """`name` as a correction; raises `SpecError` for an unknown one.

    >>> check_correction("bh")
    'bh'
    """
    for known in CORRECTIONS:
        if name == known:
            return known
    raise SpecError(unknown("correction", name, CORRECTIONS))


def corrected_p(p: FloatArray, correction: Correction) -> FloatArray:
    """p values `[n]` corrected for n comparisons.

    Holm: in rising order p[i] * (n - i), made monotone and at most 1. Benjamini-Hochberg: scipy's.

    >>> corrected_p(np.array([0.01, 0.04, 0.03]), "holm").tolist()
    [0.03, 0.06, 0.06]
    """
    if correction == "bh" and len(p):
        return np.asarray(stats.false_discovery_control(p), dtype=np.float64)
    order = np.argsort(p, kind="stable")
    out = np.empty(len(p))
    out[order] = np.minimum(np.maximum.accumulate(p[order] * (len(p) - np.arange(len(p)))), 1)
    return out


def mean_interval(values: FloatArray, rng_seed: int = 0) -> tuple[float, float] | None:
    """95 % bootstrap interval of the mean of `values` `[n]`, None for fewer than two.

    BCa; the percentile interval where BCa is undefined (it needs resamples on both sides of the mean).

    >>> mean_interval(np.array([1.0, 1.0, 1.0]))
    (1.0, 1.0)
    """
    if len(values) < 2:
        return None
    if np.ptp(values) == 0:
        return float(values[0]), float(values[0])
    for method in ("BCa", "percentile"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", stats.DegenerateDataWarning)  # that is what the percentile is for
            found = stats.bootstrap(
                (values,),
                np.mean,
                n_resamples=RESAMPLES,
                method=method,
                rng=np.random.default_rng(rng_seed),
                batch=max(1, 4_000_000 // len(values)),  # 32 MB at a time
            ).confidence_interval
        if np.isfinite(found.low) and np.isfinite(found.high):
            break
    return float(found.low), float(found.high)


def signed_rank(differences: FloatArray) -> tuple[float, float]:
    """Wilcoxon's two-sided p and the rank-biserial correlation of `differences` `[n]`; (1, 0) where all are zero.

    >>> p, r = signed_rank(np.arange(1.0, 9.0))
    >>> round(p, 6), r
    (0.007812, 1.0)
    """
    moved = differences[differences != 0]
    if not len(moved):
        return 1.0, 0.0
    ranks = stats.rankdata(np.abs(moved))
    balance = float((ranks * np.sign(moved)).sum() / ranks.sum())
    return float(stats.wilcoxon(moved).pvalue), balance


def matched(ablation: Ablation, panel: Panel, number: int) -> list[list[int]]:
    """Cells by level of an axis: those whose other values occur with every level of it, in the same order.

    In a full grid that is every cell of the panel; of one axis at a time it is the cells with the others at their
    baseline. Column i of the lists differs on this axis only.
    """
    at: list[dict[tuple[int, ...], int]] = [{} for _ in ablation.axes[number].values]
    for cell in ablation.cells:
        if cell.panel == panel:
            rest = (*cell.levels[:number], *cell.levels[number + 1 :])
            at[cell.levels[number]][rest] = cell.number
    rests = [rest for rest in at[0] if all(rest in level for level in at)]
    return [[level[rest] for rest in rests] for level in at]


def by_seed(ablation: Ablation, panel: Panel, number: int) -> list[FloatArray]:
    """Accuracy `[S]` in percent of every value of an axis: mean over its matched cells, NaN where all failed."""
    values = ablation.accuracy[ablation.role]
    return [_mean(values[some].astype(np.float64)) for some in matched(ablation, panel, number)]


def _mean(values: FloatArray) -> FloatArray:
    """Mean over the first axis of what is not NaN; NaN where all is."""
    there = ~np.isnan(values)
    count = there.sum(axis=0)
    total = np.where(there, values, 0).sum(axis=0)
    out: FloatArray = np.divide(total, count, out=np.full(values.shape[1], np.nan), where=count > 0)
    return out


def _of_axis(ablation: Ablation, panel: Panel, number: int, rng_seed: int) -> list[Effect]:
    """Every value of one axis but the baseline; `gather` has made sure that column s is one seed in all cells."""
    axis, cells = ablation.axes[number], matched(ablation, panel, number)
    accuracy = ablation.accuracy[ablation.role]
    means = [float(v[~np.isnan(v)].mean()) if not np.isnan(v).all() else None for v in by_seed(ablation, panel, number)]
    failed = [int(ablation.failed[some].sum()) for some in cells]
    base = axis.baseline
    out = []
    for level, label in enumerate(axis.labels):
        if level == base:
            continue
        d = _mean(accuracy[cells[level]].astype(np.float64) - accuracy[cells[base]])
        d = d[~np.isnan(d)]
        interval = mean_interval(d, rng_seed)
        p, balance = signed_rank(d) if len(d) > 1 else (None, None)
        out.append(
            Effect(
                panel=panel,
                axis=axis.name,
                value=label,
                baseline=axis.labels[base],
                mean=means[level],
                baseline_mean=means[base],
                difference=float(d.mean()) if len(d) else None,
                low=interval[0] if interval else None,
                high=interval[1] if interval else None,
                p=p,
                p_corrected=None,
                rank_biserial=balance,
                seeds=len(d),
                pairs=len(cells[level]),
                searches=ablation.failed[cells[level]].size,
                failed=failed[level],
                baseline_failed=failed[base],
            )
        )
    return out


def write_effects(found: Sequence[Effect], path: Path | str) -> Path:
    """Write one line an effect as CSV, atomically; an empty field is a number that could not be had."""
    records = [effect.record() for effect in found]
    with atomic_path(path) as part, part.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(records[0]), lineterminator="\n")
        writer.writeheader()
        for record in records:
            writer.writerow({k: f"{v:.6g}" if isinstance(v, float) else v for k, v in record.items()})
    return Path(path)
