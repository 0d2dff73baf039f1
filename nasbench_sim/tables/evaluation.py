"""What an evaluation costs in simulated seconds, and after how many epochs one can be had: for budgeted searches.

Black-box searches are compared at equal wall-clock time, and a table makes that time up from the training times it
holds. Here the cost of training a cell for e epochs is

    seconds(e) = train_time_s * e / E

with E the epochs that `train_time_s` stands for (200 in nb201). It is additive and monotone in e by construction.

Checked by the tests against the three NATS-Bench files at hand (cells 0, 11 and 284): their runs of 12 and of 200
epochs have the same seconds an epoch to 1e-12, so that proportionality is what the benchmark itself assumes.

Deviation from `simulate_train_eval` of NATS-Bench 1.8, which adds one pass over the validation split (train-all-time +
valid-per-time): no original of nb201 holds validation times for all cells. So in those files an evaluation of 12 epochs
is too cheap by 2.8 to 4.1 % of its training on cifar10, 0.28 to 0.41 % on cifar100 and 0.05 to 0.08 % on
ImageNet16-120.
"""

from __future__ import annotations

import numpy as np

from nasbench_sim.errors import NotMeasured, SpecError
from nasbench_sim.tables.columns import FloatArray
from nasbench_sim.tables.table import Table

_TIME = "train_time_s"


def evaluation_seconds(table: Table, dataset: str, epochs: int) -> FloatArray:
    """Seconds to train each architecture for `epochs` epochs on a data set, float32 `[A]`, read-only.

    `epochs` is a whole number from 1 to the budget of the table's search key, whose training `train_time_s` is; it need
    not be one at which accuracies exist (`fidelities`), since a search pays for epochs between two of them. Validation
    is not counted (see the module's head). Raises `NotMeasured` where the table has no training times for the data set
    or does not state their epochs, and `SpecError` for another number of epochs.

    >>> from nasbench_sim.spaces import NB201
    >>> from nasbench_sim.tables import Key
    >>> key = Key("cifar10", "valid", 200, "mean")
    >>> ones = np.ones(15_625, dtype=np.float32)
    >>> table = Table("tiny", NB201(), {key: 90 * ones}, {("train_time_s", "cifar10"): 1_000 * ones}, key, {})
    >>> evaluation_seconds(table, "cifar10", 12)[:2].tolist()
    [60.0, 60.0]
    """
    full = table.search_key.epochs
    if not isinstance(full, int):
        raise NotMeasured(
            f"table {table.name} does not state its epochs, so an evaluation on it has no cost in seconds; "
            "use nb201, or a table with training times"
        )
    timed = [d for name, d in table.metrics if name == _TIME]
    if dataset not in timed:
        has = f"it has them for {', '.join(timed)}" if timed else "it has none"
        raise NotMeasured(
            f"table {table.name} has no training times ({_TIME}) for data set {dataset!r}, so an evaluation has no "
            f"cost in seconds; {has}"
        )
    whole = isinstance(epochs, (int, np.integer)) and not isinstance(epochs, bool)
    if not whole or not 1 <= epochs <= full:
        raise SpecError(f"epochs {epochs!r}: table {table.name} knows the training time of a whole number in 1..{full}")
    out = (table.metric(_TIME, dataset=dataset).astype(np.float64) * (int(epochs) / full)).astype(np.float32)
    out.setflags(write=False)
    return out


def fidelities(table: Table, dataset: str) -> list[int]:
    """Epochs, ascending, after which the split that a search sees is measured for every architecture on a data set.

    The seed is that of the table's search key (`"mean"` in nb201, which gives [12, 200], or [200] without the 12-epoch
    file). Raises `NotMeasured` for an unknown data set, and where the table does not state its epochs.

    >>> from nasbench_sim.spaces import NB201
    >>> from nasbench_sim.tables import Key
    >>> full, short = Key("cifar10", "valid", 200, "mean"), Key("cifar10", "valid", 12, "mean")
    >>> ones = np.ones(15_625, dtype=np.float32)
    >>> fidelities(Table("tiny", NB201(), {full: 90 * ones, short: 80 * ones}, {}, full, {}), "cifar10")
    [12, 200]
    """
    wanted = table.search_key_for(dataset)
    epochs = [
        key.epochs
        for key, column in table.accuracy.items()
        if key._replace(epochs=wanted.epochs) == wanted and not np.isnan(column).any()
    ]
    stated = sorted(e for e in epochs if isinstance(e, int))
    if not stated:
        raise NotMeasured(
            f"table {table.name}: no stated number of epochs at which {dataset}/{wanted.split}/seed {wanted.seed} is "
            f"measured for all {table.space.size} architectures, so it has no fidelities{table.remedy}"
        )
    return stated
