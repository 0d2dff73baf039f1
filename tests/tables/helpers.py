"""Small tables for tests, and table files edited by hand but sealed again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np

from nasbench_sim import sealed
from nasbench_sim.spaces import NB201
from nasbench_sim.tables import store
from nasbench_sim.tables.table import Key, Source, Table

SPACE = NB201()
VALID = Key("cifar10", "valid", 200, "mean")
TEST = Key("cifar10", "test", 200, "mean")
SEED = Key("cifar10", "valid", 200, 999)
MISSING = 7  # the row without seed 999


def small_table(name: str = "small") -> Table:
    """Random accuracies under three keys, one of them with a hole, and one cost."""
    rng = np.random.default_rng(1)
    accuracy = {k: rng.uniform(10, 95, SPACE.size).astype(np.float32) for k in (VALID, TEST, SEED)}
    accuracy[SEED][MISSING] = np.nan
    return Table(
        name=name,
        space=SPACE,
        accuracy=accuracy,
        metrics={("params_m", "cifar10"): rng.uniform(0.1, 2, SPACE.size).astype(np.float32)},
        search_key=VALID,
        report_keys={"valid": VALID, "test": TEST},
        sources=(Source("made for a test", licence="none", gives="everything"),),
        remark="made up",
        extra={"absent": {"12": "12 epochs were never asked for"}},
    )


def same(a: Table, b: Table) -> bool:
    """Whether two tables say the same: names, numbers (NaN = NaN), provenance."""
    columns = list(a.accuracy) == list(b.accuracy) or set(a.accuracy) == set(b.accuracy)
    return (
        columns
        and all(np.array_equal(a.accuracy[k], b.accuracy[k], equal_nan=True) for k in a.accuracy)
        and set(a.metrics) == set(b.metrics)
        and all(np.array_equal(a.metrics[k], b.metrics[k], equal_nan=True) for k in a.metrics)
        and (a.name, a.search_key, dict(a.report_keys), a.sources, a.remark, a.extra)
        == (b.name, b.search_key, dict(b.report_keys), b.sources, b.remark, b.extra)
    )


def reseal(path: Path) -> None:
    """Give an edited file a seal that fits, as an attacker would."""
    data = path.read_bytes()
    body = data[sealed.BLOCK :]
    path.write_bytes(sealed._seal("nasbench-sim table", body) + body)


def craft(path: Path, edit: Callable[[h5py.File], None]) -> None:
    """A good table file, edited through HDF5 and sealed again."""
    store.write_table(small_table(), path)
    with h5py.File(path, "r+") as file:
        edit(file)
    reseal(path)
