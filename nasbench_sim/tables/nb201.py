"""`nb201`: the full NAS-Bench-201 at 200 epochs, put together from five public originals and checked against itself.

What the numbers are
--------------------
`cifar10/valid` is the published cifar10-valid x-valid number and `cifar10/test` the published cifar10 ori-test number:
two different training runs (half of the training set, all of it). The first run is also there under its own name,
`cifar10-valid`. `cifar100` and `ImageNet16-120` have train, valid and test, and `valtest`, the union of valid and test,
which is never offered as either.

Two releases, and what `seed` means
-----------------------------------
The originals were extracted from two releases of one benchmark. Means (and the cifar10 test runs) are those of
NAS-Bench-201 v1.1, which has 1 to 3 runs a cell; the named seeds are those of NATS-Bench v1.0, which has 2 or 3. For
each cell and data set the v1.1 mean is the mean over exactly these seeds, which `_check_means` verifies for all 15,625:
three runs: 777, 888, 999; two: 777, 888; one: 888. So `seed="mean"` is not the mean of the seed columns for the 2,433
cells where v1.0 has more runs. `mean_runs` says how many stand behind each mean.

The cifar10 test runs are numbered `run0`, `run1`, `run2`: their source does not name seeds. For cells 0, 11 and 284,
which can be compared with the NATS-Bench files, they are 777, 888, 999 in that order; a cell with one run has 888, so
`run0` is not always 777, and numbering them by seed would be a guess.

Costs: parameters and FLOPs are those of the exact formula of `nb201_costs`. The NATS-Bench v1.0 files state another
number of parameters for 150 cells, those of a different cell (D-X-Y/NATS-Bench#36, a known bug); the other 15,475 agree
with the formula, and the build fails otherwise. `train_time_s` is 200 epochs of training in seconds (for `cifar10`: of
the cifar10-valid run, the one a search sees).

Twelve epochs, zero-cost proxies and hardware costs come from files that only `tables import` can add (see
`nb201_optional`). Without them the table says so when asked.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nasbench_sim.errors import ArchError, TableError
from nasbench_sim.spaces.base import IntArray
from nasbench_sim.spaces.nb201 import NB201
from nasbench_sim.tables.columns import FloatArray, check_column
from nasbench_sim.tables.manifest import cached_space, stamped
from nasbench_sim.tables.nb201_costs import costs
from nasbench_sim.tables.nb201_csv import Float64, read_floats, read_rows
from nasbench_sim.tables.nb201_optional import read_optional
from nasbench_sim.tables.nb201_sources import (
    CIFAR10,
    CIFAR10_RUNS,
    CIFAR100,
    IMAGENET16,
    ORIGINALS,
    SEEDS,
    Original,
)
from nasbench_sim.tables.table import Key, Table
from nasbench_sim.tables.unpickle import FLOAT64_ARRAYS, Float64Array, read_pickle

NAME = "nb201"
SEED_NUMBERS = (777, 888, 999)
RUNS = ("run0", "run1", "run2")
_WRONG_PARAMS = 150  # cells whose number of parameters the published file has wrong
_NOTES = (
    "seed mean is the mean of NAS-Bench-201 v1.1 (1 to 3 runs a cell, see mean_runs); seeds 777, 888 and 999 are "
    "NATS-Bench v1.0 (2 or 3 runs a cell)",
    "cifar10/valid (cifar10-valid run, x-valid) and cifar10/test (cifar10 run, ori-test) are two different trainings",
    "run0, run1, run2 of cifar10/test are in the source's order; the source does not name their seeds",
    "params_m and flops_m follow the layers; the published files are wrong for 150 cells (D-X-Y/NATS-Bench#36)",
)


def build(folder: Path) -> Table:
    """The table from the originals in `folder`, and from the optional files there or one level up, if they exist.

    Raises `TableError` naming the file for one that is absent, is not byte for byte the pinned original, or does not
    agree with the others.
    """
    read = {original: original.read(folder / original.file) for original in ORIGINALS}
    space = cached_space("nb201")
    assert isinstance(space, NB201)
    c10, c100, in16 = (_read_csv(o, read[o], space) for o in (CIFAR10, CIFAR100, IMAGENET16))
    runs = _read_runs(read[CIFAR10_RUNS], space)
    mean_runs = (~np.isnan(runs)).sum(axis=0)
    seeds = _read_seeds(read[SEEDS], space.size)
    _check_means(c10["valid"], seeds["cifar10-valid"], mean_runs, tolerance=1e-6, what="cifar10-valid x-valid")
    # ori-test was evaluated apart from x-valid and x-test, and one image in 10,000 (6,000) may fall the other way
    for dataset, means, images in (("cifar100", c100, 10_000), ("ImageNet16-120", in16, 6_000)):
        union = (means["valid"] + means["test"]) / 2
        _check_means(union, seeds[dataset], mean_runs, tolerance=101 / images, what=f"{dataset} valid+test")

    accuracy: dict[Key, Float64] = {}
    _put(accuracy, "cifar10", "valid", c10["valid"], seeds["cifar10-valid"], SEED_NUMBERS)
    _put(accuracy, "cifar10", "test", _mean(runs), runs, RUNS)
    _put(accuracy, "cifar10-valid", "train", c10["train"])
    _put(accuracy, "cifar10-valid", "valid", c10["valid"], seeds["cifar10-valid"], SEED_NUMBERS)
    _put(accuracy, "cifar10-valid", "test", c10["test"])
    for dataset, means in (("cifar100", c100), ("ImageNet16-120", in16)):
        for split in ("train", "valid", "test"):
            _put(accuracy, dataset, split, means[split])
        _put(accuracy, dataset, "valtest", None, seeds[dataset], SEED_NUMBERS)
    sources = [original.source() for original in ORIGINALS]
    extras = read_optional(folder, space)
    accuracy.update(extras.accuracy)
    sources += extras.sources
    extra: dict[str, Any] = {"notes": [*_NOTES, *extras.notes], "absent": extras.absent}
    return stamped(
        Table(
            name=NAME,
            space=space,
            accuracy={
                key: check_column(values, what=f"{NAME} {key}", kind="accuracy", size=space.size)
                for key, values in accuracy.items()
            },
            metrics={**_metrics(space, seeds, mean_runs), **extras.metrics},
            search_key=Key("cifar10", "valid", 200, "mean"),
            report_keys={split: Key("cifar10", split, 200, "mean") for split in ("valid", "test")},
            sources=tuple(sources),
            extra=extra,
        )
    )


def _put(
    accuracy: dict[Key, Float64],
    dataset: str,
    split: str,
    mean: Float64 | None,
    singles: Float64 | None = None,
    names: Sequence[Any] = (),
) -> None:
    if mean is not None:
        accuracy[Key(dataset, split, 200, "mean")] = mean
    if singles is not None:
        for name, column in zip(names, singles, strict=True):
            accuracy[Key(dataset, split, 200, name)] = column


def _mean(columns: Float64) -> Float64:
    """Mean over the runs that exist; columns `[3, A]` have their holes at the end."""
    return np.asarray(np.nansum(columns, axis=0) / (~np.isnan(columns)).sum(axis=0))


# --- the CSV files --------------------------------------------------------------------------------------------------


def _read_csv(original: Original, data: bytes, space: NB201) -> dict[str, Float64]:
    rows = read_rows(original.file, data.decode(), ("file id", "arch str"), space)
    return {
        split: read_floats(original.file, rows, column)
        for split, column in (
            ("train", "train accuracy"),
            ("valid", "validation accuracy"),
            ("test", "test accuracy"),
        )
    }


# --- the pickles ----------------------------------------------------------------------------------------------------


def _read_runs(data: bytes, space: NB201) -> Float64:
    """cifar10 ori-test of each run, `[3, A]` in official order; NaN where there was no such run."""
    file = CIFAR10_RUNS.file
    rows = read_pickle(data, what=file, cap=CIFAR10_RUNS.size)
    out = np.full((3, space.size), np.nan)
    seen = np.zeros(space.size, dtype=np.bool_)
    try:
        for cell, values in rows.items():  # keys are tuples of operation numbers in our own edge and operation order
            i = int(space.index(np.array(cell)))
            if seen[i] or not 1 <= len(values) <= 3:
                raise TableError(f"{file}: cell {cell} stands twice or has {len(values)} runs")
            seen[i] = True
            out[: len(values), i] = values
    except (AttributeError, TypeError, ArchError) as error:
        raise TableError(f"{file}: not a dictionary of run accuracies by cell ({error})") from error
    if not seen.all():
        raise TableError(f"{file}: cell {int(np.argmin(seen))} is missing")
    return out


#: data set in the file -> ours
_SEED_DATASETS = {"cifar10": "cifar10-valid", "cifar100": "cifar100", "imagenet": "ImageNet16-120"}


def _read_seeds(data: bytes, size: int) -> dict[str, Float64]:
    """Accuracy by seed, `[3, A]` a data set; `<data set>/runtime` and `<data set>/params` are `[A]`."""
    file = SEEDS.file
    raw = read_pickle(data, what=file, cap=SEEDS.size, allowed=FLOAT64_ARRAYS)
    flat: dict[tuple[str, str], Float64] = {}
    for theirs in _SEED_DATASETS:
        for column in ("loss", "runtime", "size_in_mb"):
            array = raw.get(theirs, {}).get(column) if isinstance(raw, dict) else None
            if not isinstance(array, Float64Array):
                raise TableError(f"{file}: no array {theirs}/{column}")
            flat[theirs, column] = array.values
    if len({len(a) for a in flat.values()}) != 1:
        raise TableError(f"{file}: its arrays have different lengths")
    starts, counts = _segments(np.stack([flat[d, c] for d in _SEED_DATASETS for c in ("runtime", "size_in_mb")]), size)
    out: dict[str, Float64] = {}
    for theirs, ours in _SEED_DATASETS.items():
        seeds = np.full((3, size), np.nan)
        for s in range(3):
            has = counts > s
            seeds[s, has] = 100.0 - flat[theirs, "loss"][starts[has] + s]
        out[ours] = seeds
        out[f"{ours}/runtime"] = flat[theirs, "runtime"][starts]
        out[f"{ours}/params"] = flat[theirs, "size_in_mb"][starts]
    return out


def _segments(shared: Float64, size: int) -> tuple[IntArray, IntArray]:
    """First row and number of rows of each cell, `[A]` each: consecutive rows with equal `shared[:, row]` are one cell.

    The rows carry no cell number, but training time and size are the same for all seeds of a cell, and the training
    times of neighbours in index order always differ. Raises `TableError` unless that makes `size` cells of 2 or 3 rows.
    """
    new = np.r_[True, (shared[:, 1:] != shared[:, :-1]).any(axis=0)]
    starts = np.flatnonzero(new)
    counts = np.diff(np.r_[starts, shared.shape[1]])
    if len(starts) != size or not np.isin(counts, (2, 3)).all():
        raise TableError(
            f"{SEEDS.file}: expected {size} cells of 2 or 3 seeds, got {len(starts)} of {counts.min()}-{counts.max()}"
        )
    return starts, counts


def _check_means(means: Float64, seeds: Float64, mean_runs: IntArray, *, tolerance: float, what: str) -> None:
    """Raise `TableError` unless the v1.1 means are means of the v1.0 seeds that v1.1 has (see the module's head)."""
    held = np.array([(False, True, False), (True, True, False), (True, True, True)])[mean_runs - 1].T
    expected = np.where(held, seeds, 0).sum(axis=0) / mean_runs
    bad = ~(np.abs(expected - means) <= tolerance)  # also bad where a seed that should exist is NaN
    if bad.any():
        i = int(np.argmax(bad))
        raise TableError(
            f"{NAME}: {what} of cell {i} is {means[i]:.6f} in one original and {expected[i]:.6f} in another"
        )


def _metrics(space: NB201, seeds: dict[str, Float64], mean_runs: IntArray) -> dict[tuple[str, str], FloatArray]:
    out: dict[tuple[str, str], FloatArray] = {}
    for dataset in ("cifar10", "cifar10-valid", "cifar100", "ImageNet16-120"):
        run = "cifar10-valid" if dataset == "cifar10" else dataset
        formula = costs(space, dataset)
        wrong = int((np.abs(formula["params_m"] - seeds[f"{run}/params"]) > 1e-6).sum())
        if wrong != _WRONG_PARAMS:
            raise TableError(
                f"{SEEDS.file}: parameters of {wrong} cells on {run} differ from their layers, expected {_WRONG_PARAMS}"
            )
        columns: dict[str, npt.ArrayLike] = {
            **formula,
            "train_time_s": seeds[f"{run}/runtime"],
            "mean_runs": mean_runs,
        }
        for name, values in columns.items():
            out[name, dataset] = check_column(values, what=f"{NAME} {name}", kind=name, size=space.size, holes=False)
    return out
