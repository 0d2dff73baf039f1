"""The table file: one HDF5 file a benchmark, read once into memory, and every byte of it accounted for.

Layout (schema 1). The file is sealed (see `nasbench_sim.sealed`): size and sha256 of everything stand in its first
block and are compared before HDF5's parser sees a byte, so that damage anywhere (a flipped bit, a truncated copy, a
changed attribute) is one clear line. Behind the seal, in the root group and nothing else:

    manifest  uint8    [n]     JSON: space, keys, sha256 of every column, provenance, remark
    accuracy  float32  [C, A]  percent, official index order, NaN = never measured
    measured  uint8    [C, A]  1 = measured; must agree with the NaNs
    metrics   float32  [M, A]  costs and zero-cost proxies, see `columns` (absent where M = 0)

each one chunk with fletcher32. A file made by hand with a valid seal still meets the checks of `sealed.read_dataset`,
and only these names may be there; all of it before anything is allocated.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import h5py
import numpy as np

from nasbench_sim.errors import TableError
from nasbench_sim.sealed import add_dataset, read_dataset, read_sealed, write_sealed
from nasbench_sim.tables.columns import FloatArray
from nasbench_sim.tables.holes import Mask, check_completed, untrained
from nasbench_sim.tables.manifest import (
    SCHEMA,
    Manifest,
    cached_space,
    check,
    column_sha256,
    columns,
    digest,
    read_manifest,
    write_manifest,
)
from nasbench_sim.tables.table import Key, Table

MAX_BYTES = 1 << 30  # a table is held in memory whole; nb201 has 4 MB
_KIND = "nasbench-sim table"
_MEND = "fetch or import the table again"


def write_table(table: Table, path: Path | str) -> str:
    """Write a table file atomically; returns its content's sha256.

    Equal tables give equal files, byte for byte. Raises `TableError` for a table that could not be read back (a number
    out of range, a report key it does not hold) and `RunError` where the folder cannot be written.

    >>> import tempfile
    >>> from nasbench_sim.spaces import NB201
    >>> key = Key("cifar10", "valid", 200, 777)
    >>> table = Table("tiny", NB201(), {key: np.full(15625, 90.5, dtype=np.float32)}, {}, key, {"valid": key})
    >>> target = Path(tempfile.mkdtemp()) / "tiny.h5"
    >>> write_table(table, target) == read_table(target).sha256
    True
    """
    accuracy, metrics = columns(table)
    manifest = write_manifest(table, accuracy, metrics)
    stacked = np.stack(list(accuracy.values())).astype("<f4")
    with write_sealed(path, _KIND) as file:
        add_dataset(file, "manifest", np.frombuffer(manifest, dtype=np.uint8))
        add_dataset(file, "accuracy", stacked)
        add_dataset(file, "measured", (~np.isnan(stacked)).astype(np.uint8))
        if metrics:
            add_dataset(file, "metrics", np.stack(list(metrics.values())).astype("<f4"))
    return digest(manifest)


def read_table(path: Path | str) -> Table:
    """Read and check a table file; the file is closed before this returns, and all arrays are read-only.

    Raises `TableError`, one line that names the file, for anything that is not exactly a table of schema 1: absent,
    empty, truncated, damaged, another schema, numbers out of physical range, a mask that disagrees with the numbers.
    """
    with read_sealed(path, _KIND, error=TableError, mend=_MEND, max_bytes=MAX_BYTES) as file:
        return _table(file, str(path))


def _table(file: h5py.File, where: str) -> Table:
    read = partial(read_dataset, file, where=where, error=TableError)
    names = set(file)
    if "manifest" not in names:
        raise TableError(f"{where}: not a table of schema {SCHEMA}: it has no manifest")
    text = read("manifest", "|u1", None).tobytes()
    manifest = read_manifest(text, where)
    expected = {"manifest", "accuracy", "measured"} | ({"metrics"} if manifest.metrics else set())
    if names != expected or len(file.attrs):
        raise TableError(f"{where}: holds {', '.join(sorted(names))}; a table holds {', '.join(sorted(expected))}")
    shape = (len(manifest.accuracy), manifest.size)
    values = read("accuracy", "<f4", shape)
    mask = read("measured", "|u1", shape)
    if not np.array_equal(mask, ~np.isnan(values)):
        raise TableError(f"{where}: the mask of what was measured disagrees with the numbers")
    accuracy: dict[Key, FloatArray] = {}
    for row, column in zip(values, manifest.accuracy, strict=True):
        key = Key(*column.key)
        accuracy[key] = _checked(row, column.sha256, f"{where}: {key}", "accuracy")
    check_completed(accuracy, where)
    absent = untrained(accuracy)
    metrics: dict[tuple[str, str], FloatArray] = {}
    if manifest.metrics:
        costs = read("metrics", "<f4", (len(manifest.metrics), manifest.size))
        for row, metric in zip(costs, manifest.metrics, strict=True):
            name, dataset = metric.key
            metrics[metric.key] = _checked(row, metric.sha256, f"{where}: {name} ({dataset})", name, absent)
    return _from_manifest(manifest, accuracy, metrics, digest(text))


def _checked(row: FloatArray, sha256: str, what: str, kind: str, absent: Mask | None = None) -> FloatArray:
    if column_sha256(row) != sha256:
        raise TableError(f"{what} does not fit its sha256 in the manifest; fetch or import the table again")
    return check(row, kind, what=what, size=len(row), absent=absent)


def _from_manifest(
    manifest: Manifest,
    accuracy: dict[Key, FloatArray],
    metrics: dict[tuple[str, str], FloatArray],
    sha256: str,
) -> Table:
    return Table(
        name=manifest.name,
        space=cached_space(manifest.space),
        accuracy=accuracy,
        metrics=metrics,
        search_key=Key(*manifest.search_key),
        report_keys={role: Key(*parts) for role, parts in manifest.report_keys},
        sources=tuple(manifest.sources),
        remark=manifest.remark,
        sha256=sha256,
        extra=manifest.extra,
    )
