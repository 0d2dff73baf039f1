"""Recordings for tests of the comparison: made by simulated searches on the synthetic table, or by hand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nasbench_sim.runs import make_spec
from nasbench_sim.runs.engine import Batch
from nasbench_sim.runs.trace import EPOCH, Trace, trace_of
from nasbench_sim.tables.table import Table
from tests.synthetic import SPACE, synthetic_table

TABLE = synthetic_table()
EPOCHS, STEPS = 6, 8
CELLS = np.arange(0, SPACE.size, 500)


def about(method: str, **more: Any) -> dict[str, Any]:
    """What a recording of a small supernet says of itself."""
    return {
        "method": method,
        "params": {},
        "space": "nb201",
        "landscape": "supernet",
        "setting": {"channels": 2, "cells": 1},
        "dataset": "cifar10",
        "data_sha256": "ab",
        "train_images": 2000,
        "epochs": EPOCHS,
        "steps_per_epoch": STEPS,
        "seconds": 1.5,
        **more,
    }


def simulated_trace(
    method: str,
    seeds: npt.NDArray[np.int64],
    *,
    table: Table = TABLE,
    landscape: str = "shared",
    params: Mapping[str, Any] | None = None,
    step_order: str = "together",
    **more: Any,
) -> Trace:
    """A search of the simulator in the guise of a recording: the simulator is then the truth."""
    spec = make_spec(
        method=method,
        params=dict(params or {}),
        table=table.name,
        dataset="cifar10",
        landscape=landscape,
        seeds=tuple(seeds.tolist()),
        epochs=EPOCHS,
        steps_per_epoch=STEPS,
        step_order=step_order,
    )
    if step_order != "together":
        more["setting"] = {"channels": 2, "cells": 1, "order": step_order}
    return trace_of(Batch(spec, table, seeds), about(method, params=dict(params or {}), **more))


def made_trace(method: str, archs: npt.ArrayLike, *, seeds: list[int], **more: Any) -> Trace:
    """A recording with derived cells `archs[N, E, D]`, uniform theta; one-shot accuracies: the truth, then mirrored."""
    cells = np.asarray(archs, dtype=np.int8)
    n, e, d = cells.shape
    shapes = {name: (n, e, d, SPACE.K) if wide else (n, e) for name, wide in EPOCH.items()}
    epoch = {name: np.full(shape, np.nan, dtype=np.float32) for name, shape in shapes.items()}
    epoch["theta"] = np.full((n, e, d, SPACE.K), 0.2, dtype=np.float32)
    values = TABLE.accuracy[TABLE.report_keys["test"]][CELLS]
    one_shot = np.stack([np.stack([values, -values + 200.0])] * n).astype(np.float32)
    told = about(method, epochs=e, **more)
    return Trace(told, np.array(seeds), epoch, cells, CELLS, np.array([1, e]), one_shot)


def save(folder: Path, *traces: Trace) -> Path:
    """Write them as `METHOD-seedN.h5`, one search a file; returns the folder."""
    for trace in traces:
        for row, seed in enumerate(trace.seeds.tolist()):
            epoch = {name: values[row : row + 1] for name, values in trace.epoch.items()}
            shot = trace.one_shot[row : row + 1] if trace.one_shot.size else trace.one_shot
            one = replace(
                trace, seeds=trace.seeds[row : row + 1], epoch=epoch, archs=trace.archs[row : row + 1], one_shot=shot
            )
            one.save(folder / f"{trace.method}-seed{seed}.h5")
    return folder
