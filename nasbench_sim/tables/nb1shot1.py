"""The tables of the three NAS-Bench-1Shot1 spaces: NAS-Bench-101's numbers, joined with each space by module hash.

`nb1shot1-1`, `-2` and `-3` are ordinary tables: key `cifar10`/split/epochs/seed with splits `train`, `valid` and
`test`, the budgets that the source has (108, and 4, 12, 36), seeds `run0`, `run1`, `run2` in the order of the source,
and `mean` over the runs there are (`mean_runs`). Only final numbers are here: halfway of a training is none of its own
(`ModuleTable` has it). `train_time_s` is the mean of the runs of the search key's epochs. `params_m` is the source's,
and of modules that it does not have what follows from the graph (`nb101_costs`): known for all. Where three vertices
share the output's channels (only in nb1shot1-2) it depends on their order, by 0.9 % at most: 396 of the sample's 3,212
modules differ in it from the same module in our order of the vertices.

What the source does not have is NaN, so a table from the sample is partial (see `holes`).

As in the published searches, validation accuracy is what a search sees, and both are of one training run on 40,000
images; there is no second training on all 50,000.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt

from nasbench_sim.errors import TableError
from nasbench_sim.spaces import NB1Shot1
from nasbench_sim.spaces.nb101 import prune
from nasbench_sim.spaces.nb101_batch import rows_of
from nasbench_sim.tables.columns import FloatArray, check_column
from nasbench_sim.tables.manifest import cached_space, stamped
from nasbench_sim.tables.module_codes import Codes, module_code, modules_of
from nasbench_sim.tables.modules import RUNS, SPLITS, ModuleTable
from nasbench_sim.tables.nb101_costs import parameters
from nasbench_sim.tables.nb101_sources import NB1SHOT1_PAPER
from nasbench_sim.tables.table import Key, Source, Table

NAMES = ("nb1shot1-1", "nb1shot1-2", "nb1shot1-3")
_DATASET = "cifar10"
_SPACE_SOURCE = Source(
    name="NAS-Bench-1Shot1 search spaces",
    url="https://arxiv.org/abs/2001.10422",
    citation=NB1SHOT1_PAPER,
    gives="which module each architecture is; by formula params_m of modules that the file does not have",
)


def class_modules(space: NB1Shot1) -> Codes:
    """Codes `[U]` of one pruned module for each of `space.unique_hashes`, that of its first architecture; read-only."""
    return _class_modules(space.number)


@lru_cache(maxsize=3)  # slow to make; of space 3 0.4 MB to keep
def _class_modules(number: int) -> Codes:
    space = NB1Shot1(number)
    _, first = np.unique(space.classes, return_index=True)
    out = np.array([module_code(*prune(*space.module(arch))) for arch in space.at(first)], dtype=np.uint64)
    out.setflags(write=False)
    return out


def found(modules: ModuleTable, name: str) -> bool:
    """Whether `modules` has any module of the space."""
    space = cached_space(name)
    assert isinstance(space, NB1Shot1)
    return bool((rows_of(space.unique_hashes, modules.hashes) >= 0).any())


def build(modules: ModuleTable, name: str) -> Table:
    """The table of one of `NAMES`; raises `TableError` where `modules` has no module of the space at all.

    Rows are `A` architectures in radix order; architectures that are one module have one number.
    """
    space = cached_space(name)
    assert isinstance(space, NB1Shot1)
    rows = rows_of(space.unique_hashes, modules.hashes)
    if (rows < 0).all():
        raise TableError(f"{name}: none of its {len(rows)} modules is among the {modules.size} of table {modules.name}")

    def joined(values: npt.NDArray[np.floating]) -> FloatArray:
        found = np.where(rows < 0, np.nan, values[rows]).astype(np.float32)
        return found[space.classes]

    accuracy: dict[Key, FloatArray] = {}
    for epochs in modules.budgets:
        for split in SPLITS:
            for run in (*RUNS, "mean"):
                column = joined(modules.values(epochs=epochs, run=run, split=split, when="final"))
                if not np.isnan(column).all():
                    accuracy[Key(_DATASET, split, epochs, run)] = column
    last = max(key.epochs for key in accuracy if isinstance(key.epochs, int))
    search = Key(_DATASET, "valid", last, "mean")
    params = np.where(rows < 0, parameters(*modules_of(class_modules(space))), modules.params[rows])
    metrics = {
        "params_m": (params[space.classes] / 1e6).astype(np.float32),
        "train_time_s": joined(modules.seconds(epochs=last, run="mean", when="final")),
        "mean_runs": joined(_runs(modules, last)),
    }
    measured, found = ~np.isnan(accuracy[search]), rows >= 0
    return stamped(
        Table(
            name=name,
            space=space,
            accuracy={
                key: check_column(values, what=f"{name} {key}", kind="accuracy", size=space.size)
                for key, values in accuracy.items()
            },
            metrics={
                (metric, _DATASET): check_column(values, what=f"{name} {metric}", kind=metric, size=space.size)
                for metric, values in metrics.items()
            },
            search_key=search,
            report_keys={split: search._replace(split=split) for split in ("valid", "test")},
            sources=(*modules.sources, _SPACE_SOURCE),
            remark=""
            if measured.all()
            else f"{name} is partial: {measured.sum():,} of its {space.size:,} architectures were measured "
            f"({100 * measured.mean():.1f} %), and the best of them need not be the best of the space.",
            extra={"notes": [f"{found.sum():,} of the {len(found):,} distinct modules of the space are in the source"]},
        )
    )


def _runs(modules: ModuleTable, epochs: int) -> npt.NDArray[np.float64]:
    """How many runs stand behind each mean, `[N]`; NaN where none does."""
    columns = [modules.values(epochs=epochs, run=run, split="valid", when="final") for run in RUNS]
    count = sum((~np.isnan(column)).astype(np.float64) for column in columns)
    return np.where(count == 0, np.nan, count)
