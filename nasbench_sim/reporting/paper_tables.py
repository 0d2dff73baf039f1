"""A paper's tables with ours beside theirs: every row, also those that cannot be had, and why."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from nasbench_sim.reporting.compare import common_notes, judge, misprint, ours, pair, preamble
from nasbench_sim.reporting.comparison import Comparison, ComparisonRow
from nasbench_sim.reporting.papers import Paper, PaperTable, Row, chosen
from nasbench_sim.reporting.published import PublishedRow, Score, labelled_row
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
                why = (lacking or {}).get(place, row.unavailable)
                rows += [_row(row, runs.get(place), table, dataset, quantity, why) for quantity in one.quantities]
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


def _row(row: Row, run: Run | None, table: Table, dataset: str, quantity: str, why: str) -> ComparisonRow:
    published = None if row.published is None else labelled_row(*row.published, dataset)
    remark = (row.remark,) if row.remark else ()
    if run is None:
        return _without_run(row, published, table, dataset, quantity, why)
    if quantity == "epochs":
        return _epochs(row, run, published)
    shared = ours(run, row.label, quantity, scored_on(run, table, dataset, quantity), dataset)
    notes = (*common_notes(run), *remark)
    if run.spec.dataset != dataset:
        here = f"cells of the searches on {run.spec.dataset}, scored on {dataset}, as in the paper's protocol"
        notes = (*notes, here)
    if published is None or quantity not in published.scores:
        return _alone(shared, published, notes)
    return pair(run, shared, notes, [published])


def _alone(shared: dict[str, Any], published: PublishedRow | None, notes: tuple[str, ...]) -> ComparisonRow:
    label = "none" if published is None else published.label
    return ComparisonRow(**shared, their_label=label, notes=(NOTHING, *notes))


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
    notes = (*notes, "epochs until one operation is left on every edge; the paper prints no spread, so not judged")
    theirs = {**_cited(published), "their_mean": float(published.epochs)}
    return ComparisonRow(**shared, **theirs, notes=notes)


def _cited(published: PublishedRow) -> dict[str, Any]:
    """What a row says of the published one, but for its number."""
    return {"their_label": published.label, "their_n": published.n, "source": published.cited}


def _without_run(
    row: Row, published: PublishedRow | None, table: Table, dataset: str, quantity: str, why: str
) -> ComparisonRow:
    looked_up = row.optimum and quantity != "epochs"
    line: dict[str, Any] = {
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
    notes = [row.remark] if row.remark else []
    score: Score | None = None
    if published is not None:
        score = published.scores.get(quantity)  # type: ignore[call-overload]
        line |= _cited(published) if score else {"their_label": published.label, "source": published.cited}
    if score is not None:
        line |= {"their_mean": score.mean, "their_sd": score.sd}
    if not looked_up:
        missing = why or "the best cell of the table is looked up, not searched for"
        return ComparisonRow(**line, notes=tuple(notes), missing=missing)
    line["mean"] = float(np.nanmax(table.accuracy[table.report_keys_for(dataset)[quantity]]))
    line["n"] = 1
    if score is not None:
        line["inside"] = judge(line["mean"], score)
        notes += misprint(score)
    return ComparisonRow(**line, notes=tuple(notes))
