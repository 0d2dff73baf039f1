"""Completing a partial table: a separate, flagged one in which a regression stands in for what was not measured.

What is kept apart, so that a prediction is never taken for a measurement:

- the completed table has a name of its own (`nb1shot1-1+regressor`) and a remark that every output on it repeats;
- measured columns are copied with their holes; the completed ones are new columns, under the seed `"completed"`, and a
  key has no default, so nobody reads them without saying so;
- a completed column repeats every measured number exactly (checked whenever a table is written or read);
- `Table.measured` of a completed column says which rows were measured, so that a run can say it of each derived cell;
- `extra["completed"]` has the model, its version and its quality on held-out measurements, by column.

Validation and test. Each column has a model of its own that sees architectures and that column's measurements, nothing
else: no test accuracy enters what a search sees, and no test accuracy is worked out from the validation accuracy of the
same cell. That does not make predicted test accuracies independent of predicted validation accuracies: both are smooth
functions of the same features and lack the noise of training, by which measured ones differ (`valid_test_tau` says how
alike both rank, among measured and among predicted cells). A result on a predicted cell is a prediction; only the
measured share of a run's cells is benchmark evidence.

The model is an interpolation: its quality is that on held-out cells of the same sample. Where the sample is not uniform
(that of NAS-Bench-101 is not), unmeasured cells may be predicted worse. Failures of training are not predicted, and
medians are drawn to the middle: of nb1shot1-1 the best predicted cell is 0.14 points below the best measured one (see
the tests), so that regret on the completed table is regret to a measured cell.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from nasbench_sim.errors import SpecError, TableError, unknown
from nasbench_sim.tables.columns import RANGES, FloatArray, check_column
from nasbench_sim.tables.manifest import stamped
from nasbench_sim.tables.regressor import FAILED, SETTINGS, Features, Quality, features, predict, tau
from nasbench_sim.tables.table import Key, Source, Table

HOW = ("regressor",)
MIN_MEASURED = 50  # distinct units; with fewer, five folds say nothing
_TIME = "train_time_s"


def complete(table: Table, how: str) -> Table:
    """The table `NAME+how` without holes: every `mean` column of the splits that are searched and reported, completed.

    Also `train_time_s`, for simulated seconds. Raises `SpecError` for another `how` than `"regressor"` and where
    scikit-learn is not installed, and `TableError` for a table without holes, without a measured `mean` to complete, or
    with measurements of fewer than 50 distinct cells.
    """
    if how not in HOW:
        raise SpecError(f"how to complete a table: {unknown('way', how, HOW)}")
    if not table.partial:
        raise TableError(f"table {table.name} has no holes: every architecture has {table.search_key}")
    if table.search_key.seed != "mean":
        raise TableError(f"table {table.name}: only a mean is completed, and a search on it sees {table.search_key}")
    seen = features(table.space)
    splits = {table.search_key.split, *(key.split for key in table.report_keys.values())}
    accuracy, said = dict(table.accuracy), {}
    for key in sorted(table.accuracy, key=str):
        if key.seed == "mean" and key.split in splits:
            column, quality = _completed(table.accuracy[key], str(key), "accuracy", seen, table.name)
            accuracy[key._replace(seed="completed")] = column
            said[str(key)] = quality._asdict()
    metrics = dict(table.metrics)
    for (metric, dataset), column in table.metrics.items():
        if metric == _TIME and np.isnan(column).any():
            filled, quality = _completed(column, f"{metric} ({dataset})", metric, seen, table.name)
            metrics[metric, dataset] = filled
            said[f"{metric} ({dataset})"] = quality._asdict()
    return stamped(_flagged(replace(table, accuracy=accuracy, metrics=metrics), said))


def _completed(column: FloatArray, what: str, kind: str, seen: Features, name: str) -> tuple[FloatArray, Quality]:
    """A column `[A]` with predictions in its holes, and their quality."""
    y = np.full(len(seen.x), np.nan)
    there = ~np.isnan(column)
    y[seen.unit[there]] = column[there]  # units that several architectures share have one number
    known = int((~np.isnan(y)).sum())
    if known < MIN_MEASURED:
        raise TableError(f"table {name}: {what} was measured for {known} distinct cells, too few to predict the others")
    low, top = RANGES[kind]
    predicted, quality = predict(seen.x, y, seen.group, top=top, failed=FAILED if kind == "accuracy" else low)
    filled = np.where(there, column, predicted[seen.unit].astype(np.float32))
    return check_column(filled, what=f"{name} {what}", kind=kind, size=len(column), holes=False), quality


def _flagged(table: Table, said: dict[str, Any]) -> Table:
    """Name, keys, remark, sources and facts of the completed table."""
    import sklearn

    name = f"{table.name}+regressor"
    measured = ~np.isnan(table.accuracy[table.search_key])
    holes = int((~measured).sum())
    seen = said[str(table.search_key)]
    facts = {
        "of": table.sha256,
        "how": "regressor",
        "model": _model(),
        "scikit-learn": sklearn.__version__,
        "measured": int(measured.sum()),
        "predicted": holes,
        "held_out": said,
        "valid_test_tau": _agreement(table, measured),
    }
    return replace(
        table,
        name=name,
        search_key=table.search_key._replace(seed="completed"),
        report_keys={role: key._replace(seed="completed") for role, key in table.report_keys.items()},
        remark=f"{holes:,} of the {len(measured):,} architectures of {name} ({100 * holes / len(measured):.1f} %) were "
        f"not measured but predicted from the others (held-out Kendall tau {seen['tau']:.2f}, {seen['tau_best']:.2f} "
        f"among the best tenth; R2 {seen['r2']:.2f}, {seen['r2_trained']:.2f} without failed trainings); results on "
        "them are predictions.",
        sources=(
            *table.sources,
            Source(
                name=f"scikit-learn {_model()}",
                version=sklearn.__version__,
                gives="predictions under seed completed, and of train_time_s, where nothing was measured",
            ),
        ),
        extra={**table.extra, "completed": facts},
    )


def _model() -> str:
    return f"HistGradientBoostingRegressor({', '.join(f'{name}={value}' for name, value in SETTINGS.items())})"


def _agreement(table: Table, measured: Any) -> dict[str, float]:
    """Kendall's tau between the two reported splits, among measured and among predicted architectures."""
    keys: list[Key] = [key._replace(seed="completed") for key in table.report_keys.values()]
    if len(keys) < 2:
        return {}
    a, b = (table.accuracy[key] for key in keys[:2])
    rows = {"measured": np.flatnonzero(measured), "predicted": np.flatnonzero(~measured)}
    rng = np.random.default_rng(0)  # of nb1shot1-3, with its million cells, a sample
    return {
        which: tau(a[some], b[some])
        for which, every in rows.items()
        for some in [every if len(every) <= 100_000 else np.sort(rng.choice(every, 100_000, replace=False))]
    }
