"""Small made-up tables over the NAS-Bench-1Shot1 spaces, whose decisions have unequal numbers of options."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from nasbench_sim.spaces import NB1Shot1
from nasbench_sim.tables.table import Key, Table, check_column

VALID = Key("cifar10", "valid", 108, "mean")
TEST = Key("cifar10", "test", 108, "mean")
SHORT = Key("cifar10", "valid", 4, "mean")
WORTH = {"maxpool3x3": -1.0, "conv3x3-bn-relu": 1.0, "conv1x1-bn-relu": 0.4}


@lru_cache(maxsize=3)
def space_of(number: int) -> NB1Shot1:
    """One space of each number, shared by the tests."""
    return NB1Shot1(number)


@lru_cache(maxsize=6)
def synthetic(number: int, seed: int = 0) -> Table:
    """A table in which 3x3 convolutions help, each choice of parents has a worth, and every cell has its own luck.

    Two fidelities (4 and 108 epochs) with training times of 500 s and more, so that black-box searches run on it.
    """
    space, random = space_of(number), np.random.default_rng(seed)
    base, convolutions = np.full(space.size, 90.0), np.zeros(space.size)
    codes = np.arange(space.size)  # the official order is that of the codes
    for d, options in enumerate(space.options):
        worth = random.normal(0, 0.3, len(options)) + np.array([WORTH.get(o, 0.0) for o in options])
        chosen = codes // space.radix[d] % space.counts[d]
        base += 0.5 * worth[chosen]
        convolutions += np.array([o == "conv3x3-bn-relu" for o in options])[chosen]
    noise = {key: random.normal(0, sd, space.size) for key, sd in ((VALID, 0.2), (TEST, 0.2), (SHORT, 1.0))}
    accuracy = {
        key: check_column(base + luck - 8 * (key == SHORT), what=str(key), kind="accuracy", size=space.size)
        for key, luck in noise.items()
    }
    times = 500 + 500 * convolutions + random.uniform(0, 9, space.size)
    columns = {"train_time_s": times, "params_m": times / 1000}
    return Table(
        name=f"synthetic-{space.name}",
        space=space,
        accuracy=accuracy,
        metrics={
            (name, "cifar10"): check_column(values, what=name, kind=name, size=space.size)
            for name, values in columns.items()
        },
        search_key=VALID,
        report_keys={"valid": VALID, "test": TEST},
        remark="made-up numbers",
        sha256=f"{space.name}-{seed}",
    )
