"""What the tests of black-box searches share: a made-up table with two fidelities and training times, and a run."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from nasbench_sim.runs import make_spec
from nasbench_sim.runs.engine import Progress
from nasbench_sim.runs.evaluations import EvaluationBatch
from nasbench_sim.searchers import methods
from nasbench_sim.searchers.blackbox import Problem, make_problem
from nasbench_sim.tables.table import Table, check_column
from tests.synthetic import SPACE, TEST, VALID, synthetic_table

NAMES = sorted(name for name, recipe in methods().items() if recipe.family in ("black-box", "multi-objective"))
TWO_FIDELITIES = ("successive-halving", "hyperband", "bohb")
SHORT = VALID._replace(epochs=12)
SEEDS = np.array([11, 3, 2**40, 0, 5])
BUDGET = 6_000.0  # about 30 evaluations of 12 epochs, or 3 of 200


def two_fidelities(seed: int = 0) -> Table:
    """The synthetic table with a noisier 12-epoch column and training times of 400 to 6,400 s that grow with 3x3."""
    table = synthetic_table(seed)
    random = np.random.default_rng(seed + 100)
    short = table.accuracy[VALID].astype(np.float64) - 8 + random.normal(0, 1, SPACE.size)
    seconds = 400 + 1_000 * (SPACE.all == 3).sum(axis=1) + random.uniform(0, 10, SPACE.size)
    columns = {
        SHORT: check_column(short, what="12 epochs", kind="accuracy", size=SPACE.size),
        "time": check_column(seconds, what="times", kind="train_time_s", size=SPACE.size),
        "params": check_column(0.1 + (SPACE.all == 3).sum(axis=1), what="params", kind="params_m", size=SPACE.size),
    }
    return dataclasses.replace(
        table,
        accuracy={**table.accuracy, SHORT: columns[SHORT]},
        metrics={("train_time_s", "cifar10"): columns["time"], ("params_m", "cifar10"): columns["params"]},
    )


TABLE = two_fidelities()


def poisoned(table: Table) -> Table:
    """The same table with every test accuracy unmeasured."""
    nothing = np.full(SPACE.size, np.nan, dtype=np.float32)
    return dataclasses.replace(table, accuracy={**table.accuracy, TEST: nothing})


def problem(table: Table = TABLE, **about: Any) -> Problem:
    """The problem of searching the table's cifar10."""
    return make_problem(table, "cifar10", **about)


def batch(
    name: str,
    seeds: Any = SEEDS,
    *,
    table: Table = TABLE,
    budget: float = BUDGET,
    epochs: int = 6,
    params: Mapping[str, Any] | None = None,
    dataset: str = "cifar10",
    **landscape: Any,
) -> EvaluationBatch:
    """A batch of a method with its test parameters, or with `params`."""
    spec = make_spec(
        method=name,
        params=dict(methods()[name].test_params if params is None else params),
        table=table.name,
        dataset=dataset,
        landscape="evaluations",
        landscape_params=landscape,
        seeds=tuple(int(s) for s in seeds),
        epochs=epochs,
        budget=budget,
    )
    return EvaluationBatch(spec, table, np.asarray(seeds))


def finish(batch: EvaluationBatch, progress: Progress | None = None) -> Progress:
    """The batch's progress after its last point."""
    progress = progress or batch.start()
    while progress.epoch < batch.epochs:
        progress = batch.advance(progress)
    return progress


def result(batch: EvaluationBatch) -> dict[str, np.ndarray]:
    """Everything that a record would hold of the batch, by name."""
    progress = finish(batch)
    return {**progress.history, **batch.final_state([progress])}


def assert_same(a: Mapping[str, np.ndarray], b: Mapping[str, np.ndarray]) -> None:
    """Equal bit for bit, up to the columns that only a longer search of another row needs."""
    assert a.keys() == b.keys()
    for name in a:
        x, y = a[name], b[name]
        assert x.dtype == y.dtype, name
        if name.startswith("evaluated_") or name == "front":
            n = min(x.shape[1], y.shape[1])
            x, y = x[:, :n], y[:, :n]
        assert np.array_equal(x, y, equal_nan=x.dtype.kind == "f"), name
