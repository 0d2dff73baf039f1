"""What a study of ensembles says: scores by size with intervals, differences, and the published ordering tested.

Two things vary: who the members are (repetitions) and which test images there are. For accuracy and NLL, which are
means over images, the standard error of a mean or difference d takes both, as if independent:

    se(d)^2 = var over repetitions / n  +  var over the I images of (image i's d, averaged over repetitions) / I

(two-way random effects; the interaction is counted in both, so the interval errs wide). Methods that share their pools
are compared repetition by repetition, others as independent samples; images are always paired. ECE is no mean over
images: its interval is over repetitions alone, and says so. Intervals are d +- 1.96 se. Training seeds are not drawn
anew: one network a cell stands for the cell, and a claim is about these networks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from nasbench_sim.ensembles.by_size import METRICS, BySize, score_by_size
from nasbench_sim.ensembles.greedy import truth_table
from nasbench_sim.ensembles.metrics import accuracy
from nasbench_sim.ensembles.predictions import Predictions
from nasbench_sim.reporting.published import all_rows
from nasbench_sim.runs.ensemble_study import Members, networks

Array = npt.NDArray[Any]
Z95 = 1.959964
Verdict = Literal["holds", "does not hold", "open", "not tested"]
#: the published claim: the first beats the second in test accuracy on every data set
ORDERING = (("bpnas", "nes-bs"), ("bpnas", "nes-rs"))
PUBLISHED_SETS = ("cifar10", "cifar100", "ImageNet16-120")
LABELS = {"bpnas": "BPNAS ensemble", "nes-bs": "NESBS ensemble", "nes-rs": "NES-RS ensemble"}


@dataclass(frozen=True)
class Interval:
    """A mean or difference with its 95 % interval; `low` and `high` are None where one repetition says nothing."""

    mean: float
    low: float | None
    high: float | None

    @property
    def half(self) -> float | None:
        """Half the width of the interval."""
        return None if self.low is None or self.high is None else (self.high - self.low) / 2


@dataclass(frozen=True)
class Scored:
    """Test scores of one method: who the members were, and `scores` of size -> `BySize` of that size alone."""

    members: Members
    scores: Mapping[int, BySize]

    def values(self, metric: str, size: int) -> Array:
        """`[n]` over repetitions."""
        return np.asarray(getattr(self.scores[size], metric)[:, 0])

    def images(self, metric: str, size: int) -> Array | None:
        """`[I]`, the mean over repetitions of what each image contributes; None for ECE."""
        found = self.scores[size].images.get(metric)
        return None if found is None else found[0]


def score_members(members: Mapping[str, Members], test: Predictions) -> dict[str, Scored]:
    """Scores of every method on the test predictions."""
    out = {}
    for name, found in members.items():
        sizes = list(found.sets)
        if found.nested:
            together = score_by_size(test, found.sets[max(sizes)], sizes)
            scores = {size: _only(together, z) for z, size in enumerate(sizes)}
        else:
            scores = {size: score_by_size(test, found.sets[size], [size]) for size in sizes}
        out[name] = Scored(found, scores)
    return out


def _only(scores: BySize, z: int) -> BySize:
    accuracy, nll, ece = (getattr(scores, metric)[:, z : z + 1] for metric in METRICS)
    images = {name: x[z : z + 1] for name, x in scores.images.items()}
    return BySize(scores.sizes[z : z + 1], accuracy, nll, ece, images)


def interval(values: Array, images: Array | None) -> Interval:
    """Mean of `values[n]` over repetitions with the interval over repetitions and `images[I]` (None: without them).

    >>> found = interval(np.array([1.0, 3.0]), None)
    >>> found.mean, round(found.low, 3), round(found.high, 3)
    (2.0, 0.04, 3.96)
    """
    mean = float(values.mean())
    if len(values) < 2:
        return Interval(mean, None, None)
    se = np.sqrt(values.var(ddof=1) / len(values) + _over_images(images))
    return Interval(mean, float(mean - Z95 * se), float(mean + Z95 * se))


def difference(first: Scored, second: Scored, metric: str, size: int) -> Interval:
    """First minus second at one size, with its interval; see the module."""
    a, b = first.values(metric, size), second.values(metric, size)
    images = [each.images(metric, size) for each in (first, second)]
    apart = None if images[0] is None or images[1] is None else images[0] - images[1]
    if first.members.pooled and second.members.pooled:
        return interval(a - b, apart)
    mean = float(a.mean() - b.mean())
    if min(len(a), len(b)) < 2:
        return Interval(mean, None, None)
    se = np.sqrt(a.var(ddof=1) / len(a) + b.var(ddof=1) / len(b) + _over_images(apart))
    return Interval(mean, float(mean - Z95 * se), float(mean + Z95 * se))


def _over_images(images: Array | None) -> float:
    return 0.0 if images is None or len(images) < 2 else float(images.var(ddof=1)) / len(images)


def differences(scored: Mapping[str, Scored]) -> list[dict[str, Any]]:
    """All pairs of methods at all sizes both have: plain records of accuracy (points), NLL (nats) and ECE."""
    names = list(scored)
    out = []
    for i, second in enumerate(names):
        for first in names[i + 1 :]:
            for size in (s for s in scored[first].scores if s in scored[second].scores):
                each = {m: asdict(difference(scored[first], scored[second], m, size)) for m in METRICS}
                out.append({"first": first, "second": second, "size": size, **each})
    return out


def verdict(differences_of_pairs: Sequence[Interval]) -> Verdict:
    """`holds`: every interval is above 0; `does not hold`: one is below 0; `open`: neither.

    >>> verdict([Interval(1, 0.5, 1.5), Interval(1, -0.1, 2.1)]), verdict([Interval(-1, -1.5, -0.5)])
    ('open', 'does not hold')
    """
    if not differences_of_pairs:
        return "not tested"
    if any(d.high is not None and d.high < 0 for d in differences_of_pairs):
        return "does not hold"
    return "holds" if all(d.low is not None and d.low > 0 for d in differences_of_pairs) else "open"


def ordering(scored: Mapping[str, Scored]) -> list[dict[str, Any]]:
    """The published ordering by size, in test accuracy: the differences of `ORDERING` that can be taken, a verdict."""
    if not {name for pair in ORDERING for name in pair} <= set(scored):
        return []
    sizes = [s for s in scored["bpnas"].scores if all(s in scored[b].scores for _, b in ORDERING)]
    out = []
    for size in sizes:
        taken = {f"{a} - {b}": difference(scored[a], scored[b], "accuracy", size) for a, b in ORDERING}
        record = {name: asdict(d) for name, d in taken.items()}
        out.append({"size": size, "differences": record, "verdict": verdict(list(taken.values()))})
    return out


def published_ordering() -> list[dict[str, Any]]:
    """The BPNAS ensemble table: accuracies and differences by data set, points (its sizes are not stated)."""
    out = []
    for dataset in PUBLISHED_SETS:
        rows = {row.label: row.scores["test"].mean for row in all_rows(dataset) if row.kind == "ensemble"}
        found = {name: rows[label] for name, label in LABELS.items()}
        apart = {f"{a} - {b}": round(found[a] - found[b], 4) for a, b in ORDERING}
        out.append({"dataset": dataset, "accuracy": found, "differences": apart})
    return out


def single_networks(valid: Predictions, test: Predictions) -> dict[str, float]:
    """Test accuracy in percent of the one network with the lowest validation NLL, and of the best one in hindsight.

    >>> one = Predictions([[[0.9, 0.1]], [[0.4, 0.6]]], [0], [5, 6], "nb201", "toy", "valid", [-1, -1], "toy")
    >>> other = Predictions([[[0.3, 0.7]], [[0.6, 0.4]]], [0], [5, 6], "nb201", "toy", "test", [-1, -1], "toy")
    >>> single_networks(one, other)
    {'chosen': 0.0, 'hindsight': 100.0}
    """
    each = [accuracy(p, test.labels) for p in test.probabilities]
    chosen = int(truth_table(valid.probabilities, valid.labels).alone.argmin())
    return {"chosen": each[chosen], "hindsight": max(each)}


def record_of(scored: Mapping[str, Scored], pool: int, single: Mapping[str, float]) -> dict[str, Any]:
    """Plain data: by method n, what was left out, and by size the mean, its interval and the spread of each score.

    `above_single`: share of the ensembles above the best network in hindsight, in test accuracy.
    """
    out: dict[str, Any] = {}
    for name, each in scored.items():
        found = each.members
        rows = []
        for size in each.scores:
            row: dict[str, Any] = {"size": size, "networks": networks(name, size, pool)}
            row["above_single"] = float((each.values("accuracy", size) > single["hindsight"]).mean())
            for metric in METRICS:
                values = each.values(metric, size)
                low, high = np.percentile(values, [2.5, 97.5])
                about = asdict(interval(values, each.images(metric, size)))
                row[metric] = {**about, "band_low": float(low), "band_high": float(high)}
            rows.append(row)
        counts = {"n": found.n, "asked": found.asked, "failed": found.failed, "uncovered": found.uncovered}
        out[name] = {**counts, "note": found.note, "scores": rows}
    return out
