"""Small made-up tables for tests that need no real numbers."""

from __future__ import annotations

import numpy as np

from nasbench_sim.spaces import NB201
from nasbench_sim.tables.table import Key, Table, check_column

VALID = Key("cifar10", "valid", 200, "mean")
TEST = Key("cifar10", "test", 200, "mean")
SPACE = NB201()


def synthetic_table(seed: int = 0, name: str = "synthetic") -> Table:
    """An NB201 table in which 3x3 convolutions help, `none` hurts, and every cell has its own luck."""
    random = np.random.default_rng(seed)
    worth = np.array([-6.0, -1.0, 1.0, 2.0, -2.0])
    base = 80 + worth[SPACE.all].sum(axis=1) / 2
    columns = {
        key: check_column(base + random.normal(0, 0.5, SPACE.size), what=str(key), kind="accuracy", size=SPACE.size)
        for key in (VALID, TEST)
    }
    # as in the real tables, no proxy for cells with operations that lead nowhere: here, with two `none` or more
    proxies = {}
    # the last has the name of the shipped column, which stands for real cells and says nothing of made-up accuracies
    names = ("synflow", "snip", "grasp", "nwot", "jacov", "synflow-mean")
    for n, proxy in enumerate(f"proxy/{name}" for name in names):
        score = base + np.random.default_rng(seed + 1 + n).normal(0, 2, SPACE.size)
        score[(SPACE.all == 0).sum(axis=1) > 1] = np.nan
        proxies[proxy, "cifar10"] = check_column(score, what=proxy, kind=proxy, size=SPACE.size)
    return Table(
        name=name,
        space=SPACE,
        accuracy=columns,
        metrics=proxies,
        search_key=VALID,
        report_keys={"valid": VALID, "test": TEST},
        remark="made-up numbers",
        sha256=f"{name}-{seed}",
    )
