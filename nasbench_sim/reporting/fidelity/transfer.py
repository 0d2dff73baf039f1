"""The transfer test: parameters fitted at small scale, run on the real table, against every published row.

Nothing here is fitted. The protocol is the published one of DARTS, 50 epochs of 391 steps; methods that were published
with other lengths are run at these 50 epochs too, and at their own with `full`. Both are said in the notes of a row.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from nasbench_sim.files import MAX_JSON, read_text
from nasbench_sim.reporting.compare import compare, judge
from nasbench_sim.reporting.fidelity.measures import free, number
from nasbench_sim.reporting.fidelity.simulate import Job, accuracies
from nasbench_sim.reporting.fidelity.statistics import collapse_epochs
from nasbench_sim.reporting.published import Score, absent_note
from nasbench_sim.resources import data_path
from nasbench_sim.runs.record import Run
from nasbench_sim.runs.spec import make_spec
from nasbench_sim.tables.table import Table

TABLE = "nb201"
EPOCHS, STEPS = 50, 391
GET = "table nb201 is not on this machine; `nasbench-sim tables fetch nb201` gets it (11 MB)"


@dataclass(frozen=True)
class Setting:
    """A method with published rows: `epochs` it was published with; `full`: run only when everything is asked for.

    `most`: a bound on the seeds of a method whose steps are dear.
    """

    method: str
    params: Mapping[str, Any] = field(default_factory=dict)
    epochs: int = EPOCHS
    full: bool = False
    most: int = 1_000_000

    @property
    def label(self) -> str:
        """Name of the setting."""
        return " ".join([self.method, *(f"{k}={v}" for k, v in self.params.items())])


#: every gradient and sampling method that has a published row on NAS-Bench-201
SETTINGS = (
    Setting("darts", {"order": 1}),
    Setting("darts", {"order": 2}),
    Setting("balenas", {"order": 1}),
    Setting("balenas", {"order": 2}),
    Setting("drnas", epochs=100),
    Setting("gdas", epochs=250),
    Setting("snas", epochs=100),
    Setting("pc-darts"),
    Setting("bpnas", epochs=100),
    Setting("rsps", epochs=250),
    Setting("setn", epochs=250),
    Setting("balenas-tf", {"draws": 100, "proxy": "synflow-mean", "order": 2}, full=True),
    Setting("random", epochs=250, full=True),
    Setting("enas", epochs=250, full=True, most=16),  # 25 times the cost of a step of DARTS
)
#: yes or no questions: method, and whether its searches are published to collapse
COLLAPSES = {"darts": True, "balenas": False, "drnas": False, "gdas": False}


def transfer_jobs(
    table: Table,
    params: Mapping[str, Any],
    *,
    seeds: int,
    full: bool,
    epochs: int | None = None,
    steps_per_epoch: int = STEPS,
) -> list[Job]:
    """The searches of the test; `epochs` for all of them, default the protocol's, with `full` the published ones."""
    jobs = []
    for setting in SETTINGS:
        if setting.full and not full:
            continue
        for dataset in table.datasets() if full else [table.search_key.dataset]:
            spec = make_spec(
                method=setting.method,
                params=dict(setting.params),
                table=table.name,
                dataset=dataset,
                landscape="shared",
                landscape_params=dict(params),
                seeds=min(seeds, setting.most),
                epochs=epochs or (setting.epochs if full else EPOCHS),
                steps_per_epoch=steps_per_epoch,
            )
            jobs.append(Job(("transfer", setting.label, dataset), spec, table.name))
    return jobs


def transfer_report(table: Table, runs: Mapping[tuple[str, str], Run], *, full: bool) -> dict[str, Any]:
    """The test's outcome as plain data, of runs by (label of the setting, data set)."""
    comparison = compare(list(runs.values()))
    rows = [
        {**record, "ours": row.ours, "theirs": row.theirs, "refs": comparison.numbers(row)}
        for record, row in zip(comparison.records(), comparison.rows, strict=True)
    ]
    judged = [row.inside for row in comparison.rows if row.inside is not None]
    cells = [_logged(table, runs[place], row, place[1]) for row, place in _logged_rows(runs)]
    any_run = next(iter(runs.values()))
    return {
        "table": table.name,
        "sha256": table.sha256,
        "datasets": sorted({dataset for _, dataset in runs}),
        "epochs": sorted({run.spec.epochs for run in runs.values()}),
        "steps_per_epoch": any_run.spec.steps_per_epoch,
        "seeds": max(len(run.seeds) for run in runs.values()),
        "judged": len(judged),
        "inside": sum(judged),
        "rows": rows,
        "footnotes": list(comparison.footnotes),
        "preamble": comparison.preamble,
        "collapse": [_collapse(run, label, table) for (label, _), run in runs.items()],
        "logged_cells": cells,
        "not_run": [s.label for s in SETTINGS if s.full and not full],
        "unpublished": {"parsec": absent_note("parsec")},
    }


def _collapse(run: Run, label: str, table: Table) -> dict[str, Any]:
    good = run.history["archs"][~run.failed].astype(np.int64)
    epochs = collapse_epochs(free(good, table.space)) if len(good) else []
    return {
        "setting": label,
        "method": run.spec.method,
        "dataset": run.spec.dataset,
        "n": len(good),
        "share": number(sum(e is not None for e in epochs) / len(epochs)) if epochs else None,
        "skip_ratio": number(run.history["skip_ratio"][~run.failed, -1].mean()) if epochs else None,
    }


def _logged_rows(runs: Mapping[tuple[str, str], Run]) -> list[tuple[dict[str, Any], tuple[str, str]]]:
    """Rows of `data/logged_cells.json` with the place of the run that they are compared with."""
    rows: Sequence[dict[str, Any]] = json.loads(read_text(data_path("logged_cells.json"), MAX_JSON))["rows"]
    out = []
    for row in rows:
        for place in runs:
            if place[0] == Setting(row["method"], row["params"]).label and place[1] in row["cells"]:
                out.append((row, place))
    return out


def _logged(table: Table, run: Run, row: Mapping[str, Any], dataset: str) -> dict[str, Any]:
    """Accuracy and parameter-free operations of logged final cells beside ours."""
    index = np.array(row["cells"][dataset], dtype=np.int64)
    values = accuracies(table, dataset)
    theirs, good = values[index].astype(np.float64), run.archs[~run.failed]
    ours = values[table.space.index(good)].astype(np.float64)
    score = Score(mean=round(float(theirs.mean()), 4), sd=round(float(theirs.std(ddof=1)), 4))
    return {
        "label": row["label"],
        "dataset": dataset,
        "cells": index.tolist(),
        "their_mean": score.mean,
        "their_sd": score.sd,
        "mean": number(ours.mean()) if len(ours) else None,
        "sd": number(ours.std(ddof=1)) if len(ours) > 1 else None,
        "n": len(ours),
        "inside": bool(judge(float(ours.mean()), score)) if len(ours) else None,
        "their_free": number(free(table.space.at(index)[:, None], table.space).mean()),
        "free": number(free(good[:, None], table.space).mean()) if len(ours) else None,
    }
