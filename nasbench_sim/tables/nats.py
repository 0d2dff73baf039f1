"""Tables from the official files: NATS-Bench topology (folder or .tar) and NAS-Bench-201 (.pth), with learning curves.

    nasbench-sim tables import nats-tss --from NATS-tss-v1_0-3ffb9-simple
    nasbench-sim tables import nb201-v1_1 --from NAS-Bench-201-v1_1-096897.pth

makes two files: the curves (`curves`, every run after every epoch, 644 MB) and an ordinary table of what the runs
reached at their end, under each seed and as `"mean"`, which is the mean over the seeds that an architecture has. Both
releases train some architectures with fewer seeds than others; a seed column has holes there, and nothing fills them.
`tests/benchmarks/test_curves_bench.py` times the reading of both kinds of file.

Numbers are those of the files rounded to float32, and means are of the rounded numbers, rounded once more.

Keys follow the other tables: `cifar10/valid` is cifar10-valid x-valid and `cifar10/test` is cifar10 ori-test, two
different trainings; `cifar10/train` belongs to the latter and is the accuracy on train + valid. `cifar10-valid` is
there under its own name too. `valtest` of cifar100 and ImageNet16-120 is the union of valid and test.

Costs: `params_m` and `flops_m` follow the layers (`nb201_costs`); what the files state, 150 cells wrongly
(D-X-Y/NATS-Bench#36), stays in the curves. `train_time_s` is 200 epochs of training, the mean over the runs (for
`cifar10`: of the cifar10-valid run, the one a search sees). `latency_ms/gpu-batch256` is one batch of 256 on the GPU of
the benchmark's authors. Zero-cost proxies and hardware costs are added where their files lie in the folder or beside
the source (`nb201_optional`).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from nasbench_sim.errors import NotMeasured, TableError
from nasbench_sim.files import atomic_path, sha256_file
from nasbench_sim.spaces.nb201 import NB201
from nasbench_sim.tables import catalogue
from nasbench_sim.tables.columns import FloatArray, check_column
from nasbench_sim.tables.curves import CurveKey, Curves, CurveSeed, curves_path
from nasbench_sim.tables.curves_writer import CurveWriter
from nasbench_sim.tables.manifest import cached_space, stamped
from nasbench_sim.tables.nats_files import Decoded, Progress, decoded
from nasbench_sim.tables.nats_pth import decoded_pth
from nasbench_sim.tables.nb201_costs import costs
from nasbench_sim.tables.nb201_optional import read_costs
from nasbench_sim.tables.nb201_sources import NATS_PAPER, NB201_PAPER
from nasbench_sim.tables.store import write_table
from nasbench_sim.tables.table import Key, Source, Table

LATENCY = "latency_ms/gpu-batch256"
FULL = 200  # epochs of the runs that are reported
_DATASETS = ("cifar10", "cifar10-valid", "cifar100", "ImageNet16-120")
_NOTES = (
    "seed mean is the mean over the seeds that an architecture has (mean_runs says how many); a seed column has holes",
    "cifar10/valid (cifar10-valid run, x-valid) and cifar10/test (cifar10 run, ori-test) are two different trainings",
    "params_m and flops_m follow the layers; the files are wrong for 150 cells (D-X-Y/NATS-Bench#36)",
)


def import_official(
    source: Path,
    name: str,
    *,
    force: bool = False,
    allow_missing: bool = False,
    workers: int = 1,
    progress: Progress | None = None,
) -> Path:
    """Make the table `name` and its curves from a folder, a .tar or a .pth file; returns the table's file.

    `allow_missing` accepts a source that does not hold all 15,625 architectures (their rows stay unmeasured); `force`
    replaces a table of that name. Architectures are read one by one, so memory does not grow with the source. Raises
    `TableError` for everything that is wrong with the source, and then leaves what was there as it was.
    """
    catalogue.check_name(name)
    target = catalogue.table_path(name)
    if target.exists() and not force:
        raise TableError(f"a table {name} exists ({target}); choose another name, or use --force to import it again")
    space = cached_space("nb201")
    kept = curves_path(name)
    with atomic_path(kept) as part, CurveWriter("nb201", kept.parent) as writer:
        for cell, runs in _read(source, workers, progress):
            writer.add(cell, runs)
        found = int(writer.cells.sum())
        if found < space.size and not allow_missing:
            raise TableError(
                f"{source}: holds {found} of {space.size} architectures, the first one missing is "
                f"{int(np.argmin(writer.cells))}; get it in full, or use --allow-missing to leave the others unmeasured"
            )
        writer.finish(part, sources=(_source(source),), notes=())
        table = table_of(Curves(part), name, beside=source)
    write_table(table, target)
    return target


def _read(source: Path, workers: int, progress: Progress | None) -> Iterator[Decoded]:
    space = cached_space("nb201")
    if source.suffix == ".pth":
        return decoded_pth(source, space, progress=progress)
    return decoded(source, space, workers=workers, progress=progress)


def _source(path: Path) -> Source:
    return Source(
        name=path.resolve().name,
        sha256=sha256_file(path) if path.is_file() else "",
        licence="MIT",
        citation=f"{NB201_PAPER}; {NATS_PAPER}",
        gives="accuracies, losses, times, latency, parameters and FLOPs of every run",
    )


def table_of(curves: Curves, name: str, *, beside: Path) -> Table:
    """What the runs of `curves` reached at their end, as a table; proxies and hardware costs from files near `beside`.

    Raises `TableError` where there are no cifar10-valid and cifar10 runs of 200 epochs, which a search needs.
    """
    accuracy: dict[Key, FloatArray] = {}
    groups: dict[tuple[str, str, int], list[CurveKey]] = {}
    for key in (k for k in curves.available if k.metric == "accuracy"):
        groups.setdefault((key.dataset, key.split, key.epochs), []).append(key)
    for (dataset, split, epochs), keys in groups.items():
        names = [(dataset, split)]
        if (dataset, split) == ("cifar10-valid", "valid"):
            names.append(("cifar10", "valid"))
        seeds: list[CurveSeed] = [*(k.seed for k in keys), "mean"]
        for seed in seeds:
            series = curves.series(dataset=dataset, split=split, epochs=epochs, seed=seed, metric="accuracy")
            values = series.values(epoch=epochs, missing="nan")
            for d, s in names:
                what = f"{name} {d}/{s}"
                accuracy[Key(d, s, epochs, seed)] = check_column(
                    values, what=what, kind="accuracy", size=curves.space.size
                )
    search = Key("cifar10", "valid", FULL, "mean")
    report = {split: Key("cifar10", split, FULL, "mean") for split in ("valid", "test")}
    missing = [str(k) for k in (search, *report.values()) if k not in accuracy]
    if missing:
        raise TableError(f"{name}: its source has no {missing[0]}, without which nothing can be searched on it")
    measured = int((~np.isnan(accuracy[search])).sum())
    partial = measured < curves.space.size
    space = curves.space
    assert isinstance(space, NB201)
    added = read_costs(beside, space)
    return stamped(
        Table(
            name=name,
            space=space,
            accuracy=accuracy,
            metrics={**_costs(curves, space, name, partial), **added.metrics},
            search_key=search,
            report_keys=report,
            sources=(*curves.sources, *added.sources),
            remark=f"only {measured} of {curves.space.size} architectures were imported" if partial else "",
            extra={"notes": [*_NOTES, *curves.notes, *added.notes], "absent": added.absent, "curves": curves.sha256},
        )
    )


def _costs(curves: Curves, space: NB201, name: str, partial: bool) -> dict[tuple[str, str], FloatArray]:
    out: dict[tuple[str, str], Any] = {}
    for dataset in _DATASETS:
        run = "cifar10-valid" if dataset == "cifar10" else dataset
        try:
            seeds = curves.seeds(dataset=run, epochs=FULL)
        except NotMeasured:
            continue
        out.update({(cost, dataset): values for cost, values in costs(space, dataset).items()})
        ran = [curves.series(dataset=run, split="train", epochs=FULL, seed=s, metric="accuracy") for s in seeds]
        runs = np.sum([~np.isnan(r.values(epoch=FULL, missing="nan")) for r in ran], axis=0)
        out["mean_runs", dataset] = np.where(runs, runs, np.nan)
        about: dict[str, Any] = {"dataset": run, "epochs": FULL, "seed": "mean"}
        with suppress(NotMeasured):  # files without times or latencies
            out["train_time_s", dataset] = curves.seconds(split="train", epoch=FULL, **about)
        with suppress(NotMeasured):
            out[LATENCY, dataset] = curves.fact("latency_s", **about) * 1e3
    return {
        key: check_column(
            values, what=f"{name} {key[0]} ({key[1]})", kind=key[0], size=space.size, holes=partial or "/" in key[0]
        )
        for key, values in out.items()
    }
