"""Which tables there are and where they live: one embedded, the others as .h5 files under the user's own folder.

`$NASBENCH_SIM_HOME` (or the platform's user data folder) holds `tables/NAME.h5`; downloads are kept in a cache.
"""

from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import platformdirs

from nasbench_sim.errors import TableError, unknown
from nasbench_sim.tables import analog, nb201
from nasbench_sim.tables.store import read_table, write_table
from nasbench_sim.tables.table import Table

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
RESERVED = (analog.NAME, nb201.NAME)
_GET_NB201 = (
    "table nb201 is not on this machine yet; get it with `nasbench-sim tables fetch nb201`, "
    "or `nasbench-sim tables import nb201 --from DIR` where DIR holds the original files"
)


class Listed(NamedTuple):
    """One available table: its name, its file (None for the embedded one) and the file's size in bytes."""

    name: str
    path: Path | None
    size: int


def home() -> Path:
    """Folder of everything that belongs to the user: `$NASBENCH_SIM_HOME`, or the platform's user data folder."""
    own = os.environ.get("NASBENCH_SIM_HOME")
    return Path(own) if own else Path(platformdirs.user_data_dir("nasbench-sim"))


def cache_folder() -> Path:
    """Folder of downloads: `$NASBENCH_SIM_HOME/cache`, or the platform's user cache folder."""
    own = os.environ.get("NASBENCH_SIM_HOME")
    return Path(own) / "cache" if own else Path(platformdirs.user_cache_dir("nasbench-sim"))


def table_path(name: str) -> Path:
    """File of an imported table, whether or not it exists; raises `TableError` for a name that cannot be one.

    >>> table_path("my-table").name
    'my-table.h5'
    """
    if not _NAME.fullmatch(name) or name.endswith(".h5"):
        raise TableError(
            f"{name!r} cannot name a table; use up to 64 of a-z 0-9 . _ -, first a letter or digit, without .h5"
        )
    return home() / "tables" / f"{name}.h5"


def check_name(name: str) -> None:
    """Raise `TableError` unless a table of the user's own may have this name.

    >>> check_name("my-table")
    """
    table_path(name)
    if name in RESERVED:
        raise TableError(f"the name {name} is reserved for the built-in benchmark; choose another name")


def list_tables() -> list[Listed]:
    """Every table that `open_table` can open by name, the embedded one first.

    >>> list_tables()[0].name
    'nb201-analog'
    """
    folder = home() / "tables"
    files = sorted(folder.glob("*.h5")) if folder.is_dir() else []
    named = [f for f in files if _NAME.fullmatch(f.stem) and f.is_file()]
    return [Listed(analog.NAME, None, 0), *(Listed(f.stem, f, f.stat().st_size) for f in named)]


def best_table_name() -> str:
    """`nb201` where it was fetched or imported, else the embedded `nb201-analog`."""
    return nb201.NAME if table_path(nb201.NAME).is_file() else analog.NAME


def open_table(name_or_path: str | Path) -> Table:
    """A table by name, or from an .h5 file; checked in full and held in memory.

    Raises `TableError` for an unknown name (naming the ones there are), for `nb201` before it was fetched or imported
    (naming the two commands that get it), and for a damaged file.

    >>> open_table("nb201-analog").space.size
    15625
    """
    text = str(name_or_path)
    if isinstance(name_or_path, Path) or text.endswith(".h5") or os.sep in text:
        return read_table(name_or_path)
    if text == analog.NAME:
        return analog.load_analog()
    known = [t.name for t in list_tables()]
    if text not in known:
        if text == nb201.NAME:
            raise TableError(_GET_NB201)
        raise TableError(unknown("table", text, dict.fromkeys([*known, nb201.NAME])))
    table = read_table(table_path(text))
    return table if table.name == text else replace(table, name=text)  # a file that was renamed by hand


def install(table: Table, *, force: bool = False) -> Path:
    """Keep a table under its name for `open_table`; returns its file.

    Raises `TableError` for a reserved name, and where a table of that name with other content exists and `force` is
    false. The same content again is left as it is.
    """
    check_name(table.name)
    return _keep(table, force)


def install_nb201(folder: Path, *, force: bool = False) -> Path:
    """Build `nb201` from the originals in `folder` and keep it; returns its file. Raises as `nb201.build` does."""
    return _keep(nb201.build(folder), force)


def _keep(table: Table, force: bool) -> Path:
    path = table_path(table.name)
    if path.exists() and not force:
        try:
            same = read_table(path).sha256 == (table.sha256 or None)
        except TableError:
            same = False
        if same:
            return path
        raise TableError(
            f"a table {table.name} with other content exists ({path}); choose another name, or use --force"
        )
    write_table(table, path)
    return path
