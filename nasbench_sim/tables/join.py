"""One table from two sources, joined by architecture: other laboratories' columns next to a benchmark's accuracies.

Zero-cost proxies, hardware costs, and the accuracy of every architecture under one trained supernet come in files of
their own. `tables import --join TABLE` puts the mapped columns of such a file beside those of a table, under a new
name; nothing of the table is changed, and a column that it has already is refused.

The accuracy under a supernet is an accuracy key of its own, whose split says what it is and whose epochs are the
supernet's: no training of the architecture itself, so neither `valid` nor `test`. For the one-shot supernet of few-shot
NAS (Zhao et al., ICML 2021, arXiv 2006.06863: 600 epochs, CIFAR-10), converted to a CSV file of one row a cell:

    nasbench-sim tables import nb201-supernet --join nb201 --csv nb201_oneshot_supernet_c10.csv.gz --unit percent \\
        --map oneshot_acc=cifar10/one-shot/600/single

and `table.values(dataset="cifar10", split="one-shot", epochs=600, seed="single")` has them.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from nasbench_sim.errors import SpecError, TableError
from nasbench_sim.tables.columns import FloatArray
from nasbench_sim.tables.manifest import stamped
from nasbench_sim.tables.table import Key, Source, Table
from nasbench_sim.tables.tabular_file import Mapped, read_columns, source_of


def join(
    table: Table,
    name: str,
    *,
    accuracy: Mapping[Key, FloatArray],
    metrics: Mapping[tuple[str, str], FloatArray],
    sources: tuple[Source, ...],
) -> Table:
    """`table` under a new name, with more columns `[A]` in official index order and their sources.

    What is searched and reported stays as it was. Raises `TableError` naming the first column that `table` has already.

    >>> import numpy as np
    >>> from nasbench_sim.tables import open_table
    >>> table, key = open_table("nb201-analog"), Key("cifar10", "one-shot", 600, "single")
    >>> more = join(table, "mine", accuracy={key: np.full(15_625, 50, np.float32)}, metrics={}, sources=())
    >>> more.query(0, dataset="cifar10", split="one-shot", epochs=600, seed="single")
    50.0
    """
    twice = [str(k) for k in accuracy if k in table.accuracy] + ["/".join(m) for m in metrics if m in table.metrics]
    if twice:
        raise TableError(f"table {table.name} has {twice[0]} already; map the column to another key")
    extra = {key: value for key, value in table.extra.items() if key != "curves"}  # those are of the table's own name
    return stamped(
        Table(
            name=name,
            space=table.space,
            accuracy={**table.accuracy, **accuracy},
            metrics={**table.metrics, **metrics},
            search_key=table.search_key,
            report_keys=table.report_keys,
            sources=(*table.sources, *sources),
            remark=table.remark,
            extra=extra,
        )
    )


def join_file(table: Table, name: str, path: Path, mapped: Mapped) -> Table:
    """`table` under a new name with the mapped columns of a `.csv`, `.csv.gz` or `.parquet` file, by architecture.

    Raises as `join` and `read_tabular` do, and `SpecError` where no column is mapped, or one is said to be searched.
    """
    if not mapped.accuracy and not mapped.metrics:
        raise SpecError("no column is mapped; add --map COLUMN=DATASET/SPLIT/EPOCHS/SEED or --metric")
    if mapped.search is not None:
        raise SpecError(f"--search does not go with --join: what a search may see stays that of table {table.name}")
    accuracy, metrics = read_columns(path, mapped, table.space)
    return join(table, name, accuracy=accuracy, metrics=metrics, sources=(source_of(path),))
