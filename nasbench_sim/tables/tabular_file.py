"""Tables of your own from a CSV or Parquet file: every column is mapped by hand, nothing is guessed.

One row an architecture, named by its string in one column. Each accuracy column is mapped to its full key, each cost
column to a metric and a data set, and the unit (percent or fraction) is stated:

    nasbench-sim tables import mine --csv results.csv --space nb201 --arch-column arch --unit percent \\
        --map val_acc=cifar10/valid/200/mean --map test_acc=cifar10/test/200/mean --metric params=params_m/cifar10

Zero-cost proxies and hardware costs (`--metric sf=proxy/synflow/cifar10`; see `columns`) may have empty cells: never
computed. Compressed CSV (`.csv.gz`) is read as it streams, within bounds. Rows are counted as lines of the file,
header = 1.
"""

from __future__ import annotations

import csv
import gzip
import io
import math
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from nasbench_sim.errors import ArchError, SpecError, TableError, unknown
from nasbench_sim.files import sha256_file
from nasbench_sim.spaces import Space
from nasbench_sim.tables.columns import RANGES, FloatArray, check_column, family, may_have_holes
from nasbench_sim.tables.manifest import cached_space, stamped
from nasbench_sim.tables.table import Epochs, Key, Seed, Source, Table

_MAX_LINE = 1 << 20
_MAX_TEXT = 1 << 31  # all of NAS-Bench-101 at four budgets has 0.4 GB
_MAX_BLANK = 1000
_MAX_SHOWN = 30  # columns named in a message
_NAMED_SEEDS = tuple(seed for seed in get_args(get_args(Seed)[1]) if seed != "completed")  # `tables complete` makes it
_PART = re.compile(r"[\w.-]{1,64}", re.ASCII)  # a proxy or a device
METRICS = tuple(f"{name}NAME" if name.endswith("/") else name for name in RANGES if name != "accuracy")


@dataclass(frozen=True)
class Mapped:
    """What the columns of a file mean.

    Attributes
    ----------
    accuracy: column -> key.
    metrics: column -> (metric, data set); metrics are `params_m`, `flops_m` (millions), `train_time_s` (of the
        search column's epochs), `mean_runs`, and the families of `columns`.
    unit: of the accuracy columns.
    arch_column: the column of architecture strings.
    search: the accuracy column that a search may see; may be left out where there is only one.
    allow_missing: make an architecture without a row, and an empty cell, a hole (NaN, "never measured").
    """

    accuracy: Mapping[str, Key]
    unit: Literal["percent", "fraction"]
    metrics: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    arch_column: str = "arch"
    search: str | None = None
    allow_missing: bool = False


def parse_map(text: str) -> tuple[str, Key]:
    """`COLUMN=DATASET/SPLIT/EPOCHS/SEED`; raises `SpecError` naming the part that does not fit.

    >>> parse_map("val=cifar10/valid/200/777")
    ('val', Key(dataset='cifar10', split='valid', epochs=200, seed=777))
    """
    column, _, right = text.rpartition("=")
    parts = right.split("/")
    if not column or len(parts) != 4 or not all(parts):
        raise SpecError(f"--map {text!r}: write COLUMN=DATASET/SPLIT/EPOCHS/SEED, e.g. val=cifar10/valid/200/mean")
    dataset, split, epochs_text, seed_text = parts
    epochs: Epochs
    if epochs_text == "unstated":
        epochs = "unstated"
    elif epochs_text.isascii() and epochs_text.isdigit() and 0 < int(epochs_text) < 10**6:
        epochs = int(epochs_text)
    else:
        raise SpecError(f"--map {text!r}: epochs {epochs_text!r} is neither a number nor 'unstated'")
    seed: Seed
    if seed_text in _NAMED_SEEDS:
        seed = seed_text  # type: ignore[assignment]
    elif seed_text.isascii() and seed_text.isdigit() and len(seed_text) < 19:
        seed = int(seed_text)
    else:
        raise SpecError(f"--map {text!r}: seed {seed_text!r} is neither a number nor one of {', '.join(_NAMED_SEEDS)}")
    return column, Key(dataset, split, epochs, seed)


def parse_metric(text: str) -> tuple[str, tuple[str, str]]:
    """`COLUMN=METRIC/DATASET`, where METRIC may be of two parts; raises `SpecError`.

    >>> parse_metric("params=params_m/cifar10")
    ('params', ('params_m', 'cifar10'))
    >>> parse_metric("sf=proxy/synflow/cifar10")
    ('sf', ('proxy/synflow', 'cifar10'))
    """
    column, _, right = text.rpartition("=")
    metric, _, dataset = right.rpartition("/")
    if not column or not metric or not dataset:
        raise SpecError(
            f"--metric {text!r}: write COLUMN=METRIC/DATASET, e.g. params=params_m/cifar10 or sf=proxy/synflow/cifar10"
        )
    kind = family(metric)
    if kind not in RANGES or kind == "accuracy":
        raise SpecError(f"--metric {text!r}: {unknown('metric', metric, METRICS)}")
    name = metric.removeprefix(kind)
    if kind.endswith("/") and not _PART.fullmatch(name):
        raise SpecError(f"--metric {text!r}: {name!r} cannot be the NAME in {kind}NAME; use a-z A-Z 0-9 . _ -")
    return column, (metric, dataset)


def read_tabular(path: Path, mapped: Mapped, *, name: str, space: str) -> Table:
    """A table called `name` from a `.csv`, `.csv.gz` or `.parquet` file.

    Raises `TableError` or `SpecError`, one line with the row, for an absent column, a number that is not one, an
    unknown, repeated or missing architecture, an accuracy outside the unit's range, and a unit that cannot be right.
    """
    the_space = cached_space(space)
    search = _search_column(mapped)
    accuracy, metrics = read_columns(path, mapped, the_space)
    report = {k.split: k for k in accuracy if k._replace(split=search.split) == search}
    alone = set(report.values()) == {search}
    return stamped(
        Table(
            name=name,
            space=the_space,
            accuracy=accuracy,
            metrics=metrics,
            search_key=search,
            report_keys=report,
            sources=(source_of(path),),
            remark=f"search and report use the same column ({search}), so results on it are in-sample."
            if alone
            else "",
        )
    )


def source_of(path: Path) -> Source:
    """A file of the user's own as a provenance entry."""
    return Source(name=path.name, sha256=sha256_file(path), gives="every column, as mapped on import")


def read_columns(
    path: Path, mapped: Mapped, the_space: Space
) -> tuple[dict[Key, FloatArray], dict[tuple[str, str], FloatArray]]:
    """The mapped accuracies and metrics of a file, each `[A]`; raises as `read_tabular` does."""
    wanted = [mapped.arch_column, *mapped.accuracy, *mapped.metrics]
    for kind, keys in (("key", list(mapped.accuracy.values())), ("metric", list(mapped.metrics.values()))):
        if len(set(keys)) != len(keys):
            raise SpecError(f"two columns are mapped to the same {kind}; map each {kind} once")
    holed = {column for column, (metric, _) in mapped.metrics.items() if may_have_holes(metric)}
    may_be_empty = set(wanted) if mapped.allow_missing else holed - set(mapped.accuracy)
    values = {column: np.full(the_space.size, np.nan) for column in wanted[1:]}
    row_of = np.zeros(the_space.size, dtype=np.int64)
    for row, cells in read_cells(path, wanted):
        index = _index(the_space, cells[0], f"{path} row {row}")
        if row_of[index]:
            raise TableError(f"{path} row {row}: architecture {cells[0]} stood in row {row_of[index]} already")
        row_of[index] = row
        for column, cell in zip(wanted[1:], cells[1:], strict=True):
            values[column][index] = _number(cell, f"{path} row {row}, column {column!r}", column in may_be_empty)
    _check_complete(path, the_space, row_of, mapped.allow_missing)
    accuracy = {
        key: _accuracy(values[c], mapped.unit, f"{path} column {c!r}", row_of) for c, key in mapped.accuracy.items()
    }
    metrics = {key: _metric(values[c], key[0], f"{path} column {c!r}") for c, key in mapped.metrics.items()}
    return accuracy, metrics


def _search_column(mapped: Mapped) -> Key:
    if not mapped.accuracy:
        raise SpecError("no accuracy column is mapped; add --map COLUMN=DATASET/SPLIT/EPOCHS/SEED")
    if mapped.search is None:
        if len(mapped.accuracy) > 1:
            raise SpecError(f"say which column a search may see: --search with one of {', '.join(mapped.accuracy)}")
        return next(iter(mapped.accuracy.values()))
    if mapped.search not in mapped.accuracy:
        raise SpecError(f"--search: {unknown('mapped column', mapped.search, mapped.accuracy)}")
    return mapped.accuracy[mapped.search]


def _index(space: Space, text: object, where: str) -> int:
    try:
        return space.resolve(str(text))
    except ArchError as error:
        raise TableError(f"{where}: {error}") from error


def _number(cell: object, where: str, allow_missing: bool) -> float:
    if cell is None or cell == "":
        if allow_missing:
            return math.nan
        raise TableError(f"{where} is empty; pass --allow-missing if it was never measured")
    try:
        if not isinstance(cell, (str, int, float)) or isinstance(cell, bool) or "_" in str(cell):  # float("1_0") is 10
            raise ValueError
        value = float(cell)
    except ValueError:
        raise TableError(f"{where}: {str(cell)[:40]!r} is not a number") from None
    if not math.isfinite(value):
        raise TableError(f"{where}: {str(cell)[:40]!r} is not a finite number; leave the cell empty if never measured")
    return value


def _check_complete(path: Path, space: Space, row_of: npt.NDArray[np.int64], allow: bool) -> None:
    missing = np.flatnonzero(row_of == 0)
    if len(missing) == space.size:
        raise TableError(f"{path} has no rows")
    if len(missing) and not allow:
        first = int(missing[0])
        raise TableError(
            f"{path}: {len(missing)} of {space.size} architectures have no row, the first is index {first} "
            f"({space.format(space.at(first))}); pass --allow-missing to leave them unmeasured"
        )


def _accuracy(
    values: npt.NDArray[np.float64],
    unit: str,
    what: str,
    row_of: npt.NDArray[np.int64],
) -> FloatArray:
    top = 1.0 if unit == "fraction" else 100.0
    bad = ~np.isnan(values) & ~((values >= 0) & (values <= top))
    if bad.any():
        i = int(np.flatnonzero(bad)[np.argmin(row_of[bad])])
        hint = "; is the unit percent?" if unit == "fraction" and values[i] <= 100 else ""
        raise TableError(f"{what}, row {row_of[i]}: {values[i]:g} is outside 0..{top:g} for unit {unit}{hint}")
    if unit == "percent" and np.nanmax(values, initial=0.0) <= 1.0:
        raise TableError(f"{what}: no value is above 1, so the unit can hardly be percent; pass --unit fraction")
    return check_column(values * (100.0 / top), what=what, kind="accuracy", size=len(values))


def _metric(values: npt.NDArray[np.float64], kind: str, what: str) -> FloatArray:
    holes = int(np.isnan(values).sum())
    if holes == len(values):
        raise TableError(f"{what} has no value at all; leave out its --metric")
    if holes and not may_have_holes(kind):
        raise TableError(f"{what}: a cost needs every architecture, {holes} are missing; leave out its --metric")
    return check_column(values, what=what, kind=kind, size=len(values))


# --- rows of either kind of file ------------------------------------------------------------------------------------


def read_cells(path: Path, wanted: Sequence[str]) -> Iterator[tuple[int, list[object]]]:
    """(line number, cells of the wanted columns) of every row of a `.csv`, `.csv.gz` or `.parquet` file.

    The file is read as it streams, a line at a time. Raises `TableError` for one that cannot be read, an absent column
    and a row of another length.
    """
    if path.is_dir():
        raise TableError(f"{path} is a folder; give a .csv, .csv.gz or .parquet file")
    try:
        if path.suffix == ".parquet":
            yield from _parquet_rows(path, wanted)
        else:
            with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as raw:
                yield from _csv_rows(path, raw, wanted)
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())[:160]  # pyarrow's have several lines
        raise TableError(f"{path}: cannot be read ({reason}); check the file") from error
    except UnicodeDecodeError as error:
        raise TableError(f"{path} is not text in UTF-8 (byte {error.start}); save it as UTF-8") from error


def _csv_rows(path: Path, raw: io.BufferedIOBase, wanted: Sequence[str]) -> Iterator[tuple[int, list[object]]]:
    def lines() -> Iterator[str]:
        total = 0
        while line := raw.readline(_MAX_LINE):  # bounded: a compressed file of one endless line must not fill memory
            total += len(line)
            if len(line) == _MAX_LINE or total > _MAX_TEXT:
                what = f"a line is longer than {_MAX_LINE}" if total <= _MAX_TEXT else f"it is longer than {_MAX_TEXT}"
                raise TableError(f"{path}: {what} bytes; this is not a table")
            yield line.decode()

    reader = csv.reader(lines(), strict=True)
    try:
        header = next(reader, None)
        if not header:
            raise TableError(f"{path} {'is empty' if header is None else 'begins with an empty line'}; give a header")
        header[0] = header[0].removeprefix("\ufeff")  # what some spreadsheets write first
        at = [_position(path, header, column) for column in wanted]
        blank = 0
        for cells in reader:
            if not cells:
                blank += 1
                if blank > _MAX_BLANK:  # 200 kB of .csv.gz can be 200 MB of them, which took a minute
                    raise TableError(f"{path} has more than {_MAX_BLANK} empty lines; this is not a table")
                continue
            if len(cells) != len(header):
                raise TableError(f"{path} row {reader.line_num}: {len(cells)} cells under {len(header)} column names")
            yield reader.line_num, [cells[i] for i in at]
    except csv.Error as error:
        raise TableError(f"{path} row {reader.line_num}: not valid CSV ({error})") from error


def _position(path: Path, header: Sequence[str], column: str) -> int:
    if header.count(column) != 1:
        if column in header:
            raise TableError(f"{path} has {header.count(column)} columns called {column!r}; names must differ")
        # names come from the file: they may hold line ends, and be thousands
        shown = [" ".join(name.split())[:40] for name in header[:_MAX_SHOWN]]
        more = f" and {len(header) - _MAX_SHOWN} more" if len(header) > _MAX_SHOWN else ""
        raise TableError(f"{path}: {unknown('column', column, shown)}{more}")
    return header.index(column)


def _parquet_rows(path: Path, wanted: Sequence[str]) -> Iterator[tuple[int, list[object]]]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise TableError(f"{path}: Parquet needs pyarrow; `pip install 'pyarrow>=17'`, or use CSV") from error
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            for column in wanted:
                _position(path, file.schema_arrow.names, column)
            row = 1  # counted as in a CSV file, whose header is line 1
            for batch in file.iter_batches(batch_size=4096, columns=list(dict.fromkeys(wanted))):
                for cells in zip(*(batch.column(c).to_pylist() for c in wanted), strict=True):
                    row += 1
                    yield row, list(cells)
    except pyarrow.ArrowException as error:
        raise TableError(f"{path}: not a readable Parquet file ({' '.join(str(error).split())[:160]})") from error
