"""A zero-cost proxy that comes with the project: SynFlow of every NAS-Bench-201 cell, on any table of that space.

The published proxies must be imported, and exist for 9,445 of the 15,625 cells and two data sets. SynFlow needs no
data, so the project computes it itself for all cells and three data sets (`data/README.md` has command and figures):

    synflow-mean   natural logarithm of the mean over all initialisations, exact

0 stands for the 341 cells through which nothing flows; all others lie above 12. The name differs from the published
`synflow`, one initialisation, on purpose: a table may hold that too, and numbers of two origins are never mixed. A
column that a table was given under this name goes before the shipped one.
"""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Mapping
from functools import lru_cache

import numpy as np

from nasbench_sim.errors import TableError
from nasbench_sim.resources import data_path
from nasbench_sim.tables.columns import PROXY, FloatArray, check_column

SPACE = "nb201"
FILE = "nb201_synflow.csv.gz"
SIZE = 15_625
NAMES = ("synflow-mean",)
_CAP = 4_000_000  # bytes of text; the file has 0.6 MB


def shipped(space: str) -> Mapping[tuple[str, str], FloatArray]:
    """Columns `[A]` by (proxy, data set) for the tables of a space, in official index order; none for most spaces.

    Raises `TableError` where the file is damaged.

    >>> sorted({name for name, _ in shipped("nb201")}), shipped("nb101-toy")
    (['synflow-mean'], {})
    """
    return _columns() if space == SPACE else {}


@lru_cache(maxsize=1)
def _columns() -> Mapping[tuple[str, str], FloatArray]:
    path = data_path(FILE)
    try:
        with gzip.open(path) as file:
            text = file.read(_CAP).decode("ascii")
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise TableError(f"{path}: cannot be read ({error}); reinstall nasbench-sim") from error
    return read_columns(text, str(path))


def read_columns(text: str, file: str) -> dict[tuple[str, str], FloatArray]:
    """Columns from the text of a file made by `gpu-validation proxies`, named as tables name them.

    Raises `TableError` unless it has every cell once, in order, with a score everywhere.
    """
    head, _, body = text.partition("\n")
    names = head.split(",")
    parts = [name.split("/") for name in names[1:]]
    if names[0] != "index" or not parts or any(len(p) != 2 or p[0] not in NAMES for p in parts):
        raise TableError(f"{file}: expected the columns index and PROXY/DATASET of {', '.join(NAMES)}, got {head}")
    try:
        rows = np.loadtxt(io.StringIO(body), delimiter=",", ndmin=2)
    except ValueError as error:
        raise TableError(f"{file}: {error}") from error
    if rows.shape != (SIZE, len(names)) or not np.array_equal(rows[:, 0], np.arange(SIZE)):
        raise TableError(f"{file}: expected {SIZE} cells of {len(names)} columns in index order, got {rows.shape}")
    return {
        (proxy, dataset): check_column(
            rows[:, i], what=f"{file} {proxy}/{dataset}", kind=PROXY + proxy, size=SIZE, holes=False
        )
        for i, (proxy, dataset) in enumerate(parts, start=1)
    }
