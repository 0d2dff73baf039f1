"""Published beside ours: for every run and accuracy the papers' mean, sd and n, and whether ours falls inside."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from nasbench_sim.reporting.comparison import Comparison, ComparisonRow
from nasbench_sim.reporting.published import PublishedRow, Score, absent_note, published_rows
from nasbench_sim.reporting.series import (
    clean,
    is_nb201,
    labels,
    orientation_only,
    panel_of,
    panels,
    published_role,
    settings,
)
from nasbench_sim.runs.record import Run

ROUNDING = 0.005  # half of the last printed digit, percent


def compare(runs: Sequence[Run]) -> Comparison:
    """Put every run's final accuracies beside the published rows of its method and data set.

    A run without a published row gets one line that says so. Rows of several papers that print the same numbers are
    one line with all sources. Where their sd is 0 or not printed, inside means equal to within rounding (0.005).

    Raises `RunError` for no runs, `TableError` where the published results are missing or damaged.
    """
    rows: list[ComparisonRow] = []
    for run, label in zip(runs, labels(runs), strict=True):
        for role in run.table["report_keys"]:
            rows += _rows(run, label, role)
    return Comparison(tuple(rows), preamble(panel.landscape for panel in panels(runs)))


def judge(mean: float, score: Score) -> bool:
    """Whether `mean` lies within the published mean ± 2 sd (± rounding where sd is 0 or unknown), percent.

    >>> judge(93.9, Score(mean=93.62, sd=0.12)), judge(93.8, Score(mean=93.62, sd=0.12))
    (False, True)
    """
    theirs = score.mean if score.corrected is None else score.corrected
    return abs(mean - theirs) <= (2 * score.sd if score.sd else ROUNDING) + 1e-5  # float32 tables: 54.3 is 54.299999


def misprint(score: Score) -> list[str]:
    """What a reader must know of a printed number that is wrong; nothing of any other.

    >>> misprint(Score(mean=71.0, sd=None, corrected=72.0))
    ['misprint: 71.00 is printed where 72.00 is meant']
    """
    if score.corrected is None:
        return []
    return [f"misprint: {score.mean:.2f} is printed where {score.corrected:.2f} is meant"]


def _rows(run: Run, label: str, role: str) -> list[ComparisonRow]:
    shared = ours(run, label, role, run.final(role))
    common = common_notes(run)
    found: list[PublishedRow] = []
    missing = "published results are at hand for NAS-Bench-201 only; this table is of another space"
    if is_nb201(run):
        known = published_rows(run.spec.method, run.spec.dataset, params=settings(run))
        found = [row for row in known if published_role(role) in row.scores]
        have = ", ".join(dict.fromkeys(name for row in known for name in row.scores))
        missing = f"published with {have} accuracy only" if known else absent_note(run.spec.method)
    if not found:
        return [ComparisonRow(**shared, notes=(missing, *common))]
    return [pair(run, shared, common, group) for group in _merged(found, run.spec.dataset, role)]


def ours(run: Run, label: str, role: str, values: npt.ArrayLike, dataset: str = "") -> dict[str, Any]:
    """What a row says of ours: mean, sd (n - 1) and n of `values[S]` over the searches that did not fail.

    `dataset`: where the cells were scored, if elsewhere than where they were searched.
    """
    kept = np.asarray(values, dtype=np.float64)[~run.failed]
    kept = kept[np.isfinite(kept)]
    return {
        "method": label,
        **panel_of(run)._asdict(),
        **({"dataset": dataset} if dataset else {}),
        "role": role,
        "mean": float(kept.mean()) if len(kept) else math.nan,
        "sd": float(kept.std(ddof=1)) if len(kept) > 1 else None,
        "n": len(kept),
        "failed": int(run.failed.sum()),
    }


def pair(run: Run, shared: dict[str, Any], common: tuple[str, ...], group: list[PublishedRow]) -> ComparisonRow:
    """One line: our accuracy (`ours`) beside the number that all rows of `group` print."""
    role, dataset = shared["role"], shared["dataset"]
    score = group[0].scores[published_role(role)]  # type: ignore[index]
    notes = list(common)
    inside: bool | None = None
    if orientation_only(run, role):
        notes.append(
            "this table's accuracy is another training of the cells than the papers report: for orientation, not judged"
        )
    else:
        inside = None if math.isnan(shared["mean"]) else judge(shared["mean"], score)
        if not score.sd:
            notes.append("their sd is 0 or not printed: inside means equal to within rounding (0.005)")
    notes += misprint(score)
    if _elsewhere(group[0], dataset) and run.spec.dataset == dataset:
        notes.append(f"the published cell was found by a search on CIFAR-10, ours by a search on {dataset}")
    epochs = [row for row in group if row.epochs not in (None, run.epochs)]
    notes += _by_label((f"{row.epochs} search epochs, ours {run.epochs}", row.label) for row in epochs)
    notes += _by_label((row.remark, row.label) for row in group if row.remark)
    return ComparisonRow(
        **shared,
        their_label="; ".join(dict.fromkeys(row.label for row in group)),
        their_mean=score.mean,
        their_sd=score.sd,
        their_n=group[0].n,
        source="; ".join(_by_label((row.cited, row.label) for row in group)),
        inside=inside,
        notes=tuple(dict.fromkeys(notes)),
    )


def _by_label(pairs: Iterable[tuple[str, str]]) -> list[str]:
    """Each text once, after the labels of the rows that it belongs to where there are several rows."""
    labelled: dict[str, list[str]] = {}
    for text, label in pairs:
        labelled.setdefault(text, []).append(label)
    if len({label for names in labelled.values() for label in names}) == 1:
        return list(labelled)
    return [f"{', '.join(dict.fromkeys(names))}: {text}" for text, names in labelled.items()]


def _merged(rows: Iterable[PublishedRow], dataset: str, role: str) -> list[list[PublishedRow]]:
    """Rows that print the same mean, sd (0 and none alike) and n, found on the same data set, are one group."""
    groups: dict[tuple[Any, ...], list[PublishedRow]] = {}
    for row in rows:
        score = row.scores[published_role(role)]  # type: ignore[index]
        groups.setdefault((score.mean, score.sd or 0.0, row.n, _elsewhere(row, dataset)), []).append(row)
    return list(groups.values())


def _elsewhere(row: PublishedRow, dataset: str) -> bool:
    return row.searched_on == "cifar10" and dataset != "cifar10"


def common_notes(run: Run) -> tuple[str, ...]:
    """What a reader must know of our side of a row."""
    notes = [clean(run.table.get("remark", ""))]
    if run.spec.landscape == "tabular":
        notes.append("tabular landscape: the exact expectation over the table, without weight-sharing error: a control")
    failed = int(run.failed.sum())
    if failed:
        notes.append(
            f"{failed} of {len(run.seeds)} searches diverged (alpha no longer finite): in no mean, kept in the record"
        )
    if len(run.seeds) == 1:
        notes.append("one seed: ours has no sd")
    return tuple(note for note in notes if note)


def preamble(landscapes: Iterable[str]) -> str:
    """The sentence above a comparison: what kind of searches these are."""
    signal = {
        "shared": "with a modelled supernet signal (landscape 'shared')",
        "tabular": "on the exact expectation over the table (landscape 'tabular')",
        "evaluations": "that train one cell after another in simulated seconds (landscape 'evaluations')",
    }
    kinds = list(dict.fromkeys(landscapes))
    how = " or ".join(signal.get(name, f"on landscape '{name}'") for name in kinds if name != "supernet")
    what = [f"Table-based searches {how}; no network was trained."] if how else []
    if "supernet" in kinds:
        what.append("Searches that trained a weight-sharing supernet (landscape 'supernet').")
    return " ".join([*what, "Accuracy in percent, mean ± sd (n searches, ? where the source does not say)."])
