"""A paper's tables with ours beside theirs: every row, also those that cannot be had, and why."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from nasbench_sim.errors import TableError
from nasbench_sim.reporting.compare import common_notes, ours, pair, preamble
from nasbench_sim.reporting.comparison import Comparison, ComparisonRow
from nasbench_sim.reporting.papers import Paper, PaperTable, Row, chosen
from nasbench_sim.reporting.published import PublishedRow, labelled_row
from nasbench_sim.reporting.series import prunes
from nasbench_sim.runs.record import Run
from nasbench_sim.tables.table import Table

Array = npt.NDArray[Any]
NOTHING = "nothing was published for this row and data set"


def paper_tables(
    paper: Paper,
    runs: Mapping[tuple[str, str, str], Run],
    table: Table,
    *,
    datasets: Sequence[str] | None = None,
    lacking: Mapping[tuple[str, str, str], str] | None = None,
) -> list[tuple[PaperTable, Comparison]]:
    """Every table of the paper: ours beside theirs, with n of both and whether ours falls in their mean ± 2 sd.

    `runs`: (table name, row label, data set) -> finished run, as `papers.wanted` names them. A row without search says
    why, one whose search this table cannot give says so in the words of `lacking`; a quantity that the paper does not
    print stands alone.
    """
    out = []
    for one in paper.tables:
        rows: list[ComparisonRow] = []
        for row in one.rows:
            for dataset in chosen(one, datasets):
                place = (one.name, row.label, dataset)
                if lacking and place in lacking:
                    row_here = Row(
                        label=row.label, published=row.published, unavailable=lacking[place], remark=row.remark
                    )
                else:
                    row_here = row
                rows += [_row(row_here, runs.get(place), table, dataset, quantity) for quantity in one.quantities]
        used = [run.spec.landscape for (name, _, _), run in runs.items() if name == one.name]
        out.append((one, Comparison(tuple(rows), preamble(used or ["shared"]))))
    return out


def epochs_to_convergence(run: Run) -> Array:
    """First epoch (from 1) at whose end one operation is left on every edge, `[S]`; NaN where that never happened."""
    done = run.history["active_ops"] == run.archs.shape[1]
    return np.where(done.any(axis=1), done.argmax(axis=1) + 1.0, np.nan)


def scored_on(run: Run, table: Table, dataset: str, role: str) -> Array:
    """True accuracy `[S]` in percent of the run's final cells on `dataset`, NaN for failed searches."""
    index = table.space.index(np.maximum(run.archs, 0))
    values = table.accuracy[table.report_keys_for(dataset)[role]][index]
    return np.where(run.failed, np.nan, values)


def _row(row: Row, run: Run | None, table: Table, dataset: str, quantity: str) -> ComparisonRow:
    published = None if row.published is None else labelled_row(*row.published, dataset)
    remark = (row.remark,) if row.remark else ()
    if run is None:
        return _without_run(row, published, table, dataset, quantity)
    if quantity == "epochs":
        return _epochs(row, run, published)
    shared = ours(run, row.label, quantity, scored_on(run, table, dataset, quantity), dataset)
    notes = (*common_notes(run), *remark)
    if run.spec.dataset != dataset:
        notes = (
            *notes,
            f"cells of the searches on {run.spec.dataset}, scored on {dataset}, as in the paper's protocol",
        )
    if published is None or quantity not in published.scores:
        return _alone(shared, published, notes)
    return pair(run, shared, notes, [published])


def _alone(shared: dict[str, Any], published: PublishedRow | None, notes: tuple[str, ...]) -> ComparisonRow:
    label = "none" if published is None else published.label
    return _line(shared, label, None, "", None, (NOTHING, *notes))


def _line(
    shared: dict[str, Any],
    label: str,
    score: tuple[float, float | None, int | None] | None,
    source: str,
    inside: bool | None,
    notes: tuple[str, ...],
    missing: str = "",
) -> ComparisonRow:
    mean, sd, n = score or (None, None, None)
    return ComparisonRow(
        **shared,
        their_label=label,
        their_mean=mean,
        their_sd=sd,
        their_n=n,
        source=source,
        inside=inside,
        notes=notes,
        missing=missing,
    )


def _epochs(row: Row, run: Run, published: PublishedRow | None) -> ComparisonRow:
    values = epochs_to_convergence(run)
    ends = prunes(run)
    if not ends:
        values = np.full(len(run.seeds), float(run.epochs))
    shared = ours(run, row.label, "epochs", values)
    late = int((np.isnan(values) & ~run.failed).sum())
    notes = (*common_notes(run), *((row.remark,) if row.remark else ()))
    if not ends:
        notes = (*notes, "prunes nothing and does not end by itself: its length")
    if late:
        notes = (*notes, f"{late} of {len(values)} searches had not ended after {run.epochs} epochs: not in the mean")
    if published is None or published.epochs is None:
        return _alone(shared, published, notes)
    theirs = (float(published.epochs), None, published.n)
    notes = (*notes, "epochs until one operation is left on every edge; the paper prints no spread, so not judged")
    return _line(shared, published.label, theirs, f"{published.source}, {published.where}", None, notes)


def _without_run(row: Row, published: PublishedRow | None, table: Table, dataset: str, quantity: str) -> ComparisonRow:
    shared: dict[str, Any] = {
        "method": row.label,
        "table": table.name,
        "landscape": "table" if row.optimum else "none",
        "dataset": dataset,
        "role": quantity,
        "mean": math.nan,
        "sd": None,
        "n": 0,
        "failed": 0,
    }
    notes = (row.remark,) if row.remark else ()
    score = None if published is None or quantity == "epochs" else published.scores.get(quantity)  # type: ignore[call-overload]
    theirs = None if score is None or published is None else (score.mean, score.sd, published.n)
    source = "" if published is None else f"{published.source}, {published.where}"
    label = "none" if published is None else published.label
    if not row.optimum or quantity == "epochs":
        why = row.unavailable or "the best cell of the table is looked up, not searched for"
        return _line(shared, label, theirs, source, None, notes, missing=why)
    best = float(np.nanmax(table.accuracy[table.report_keys_for(dataset)[quantity]]))
    shared |= {"mean": best, "n": 1}
    inside = None
    if score is not None:
        right = score.mean if score.corrected is None else score.corrected
        inside = abs(best - right) <= 0.005 + 1e-5
        if score.corrected is not None:
            notes = (*notes, f"misprint: {score.mean:.2f} is printed where {score.corrected:.2f} is meant")
    return _line(shared, label, theirs, source, inside, notes)


def check_published(paper: Paper) -> None:
    """Raise `TableError` for a row of the paper that names a published row which does not exist."""
    for one in paper.tables:
        for row in one.rows:
            if row.published is not None and all(labelled_row(*row.published, d) is None for d in one.datasets):
                raise TableError(f"paper {paper.name}, {one.name}: no published row {row.published}")
