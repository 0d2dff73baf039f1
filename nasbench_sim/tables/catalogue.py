"""Which tables there are and where they live: two come with the project, the others are files of the user's folder.

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
from nasbench_sim.resources import data_path
from nasbench_sim.tables import analog, nb1shot1, nb201
from nasbench_sim.tables.modules import NAME as NB101
from nasbench_sim.tables.modules import ModuleTable, modules_sha256, read_modules, verify_modules, write_modules
from nasbench_sim.tables.store import read_table, write_table
from nasbench_sim.tables.table import Table

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}(\+regressor)?")  # the ending is that of completed tables
MINI = "nb201-mini"  # all cells trained small, a file of the project's data
EMBEDDED = (analog.NAME, MINI)
RESERVED = (*EMBEDDED, nb201.NAME, NB101, *nb1shot1.NAMES)
_GET_NB201 = (
    "table nb201 is not on this machine yet; get it with `nasbench-sim tables fetch nb201`, "
    "or `nasbench-sim tables import nb201 --from DIR` where DIR holds the original files"
)
_GET_NB101 = (
    "`nasbench-sim tables fetch nb101` downloads NAS-Bench-101 (523 MB) and makes it, "
    "`nasbench-sim tables import nb101 --from FILE` makes it from a file of yours"
)


class Listed(NamedTuple):
    """One available table: its name, its file (None for one that is code) and the file's size in bytes."""

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
    if name.endswith("+regressor"):
        raise TableError(f"{name}: names that end in +regressor are for `tables complete`; choose another name")
    if name in RESERVED:
        raise TableError(f"the name {name} is reserved for the built-in benchmark; choose another name")


def list_tables() -> list[Listed]:
    """Every table that `open_table` can open by name, those that come with the project first.

    >>> list_tables()[0].name
    'nb201-analog'
    """
    folder = home() / "tables"
    files = sorted(folder.glob("*.h5")) if folder.is_dir() else []
    named = [f for f in files if _NAME.fullmatch(f.stem) and f.is_file() and f.stem not in EMBEDDED]
    here = mini_path()
    own = [Listed(analog.NAME, None, 0), Listed(MINI, here, here.stat().st_size)]
    return [*own, *(Listed(f.stem, f, f.stat().st_size) for f in named)]


def mini_path() -> Path:
    """File of `nb201-mini`, part of the project's data."""
    return data_path(f"{MINI}.h5")


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
    if text == MINI:
        return read_table(mini_path())
    known = [t.name for t in list_tables()]
    if text not in known:
        if text == nb201.NAME:
            raise TableError(_GET_NB201)
        if text == NB101:
            raise TableError(f"{NB101} is a table of modules: open it with open_modules(), or open {nb1shot1.NAMES[0]}")
        if text in nb1shot1.NAMES:
            raise TableError(f"table {text} is not on this machine yet; {_GET_NB101}")
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


def install_completed(table: Table, how: str, *, force: bool = False) -> Path:
    """Complete a partial table, keep the result under its own name and return its file; raises as `complete` does."""
    return _keep(table.complete(how), force)


def modules_path() -> Path:
    """File of the table of NAS-Bench-101's modules, whether or not it exists."""
    return table_path(NB101).with_suffix(".safetensors")


def open_modules(path: Path | None = None) -> ModuleTable:
    """`nb101`, or another file of modules; its numbers are read and checked when they are first asked for.

    Raises `TableError` where it was not imported yet, naming the commands that do, and for a damaged file.
    """
    if path is None and not modules_path().is_file():
        raise TableError(f"table {NB101} is not on this machine yet; {_GET_NB101}")
    return read_modules(modules_path() if path is None else path)


def install_nb101(modules: ModuleTable, *, force: bool = False) -> dict[str, Path]:
    """Keep `nb101` and the tables of those NAS-Bench-1Shot1 spaces that it has modules of; returns their files by name.

    Raises `TableError` where one of them exists with other content and `force` is false; then nothing is written.
    """
    tables = [nb1shot1.build(modules, name) for name in nb1shot1.NAMES if nb1shot1.found(modules, name)]
    for table in tables:
        _check_free(table, force)
    path = modules_path()
    kept = not force and path.exists() and _holds(path, modules)
    files = {table.name: _keep(table, force) for table in tables}
    if not kept:
        write_modules(modules, path)  # last: where `nb101` is, its tables are
    return {NB101: path, **files}


def _holds(path: Path, modules: ModuleTable) -> bool:
    """Whether a file holds all of a table; false where it is damaged, `TableError` where it holds something else."""
    try:
        there = read_modules(path)
    except TableError:
        return False
    if there.sha256 != modules_sha256(modules):
        raise TableError(f"a table {NB101} with other content exists ({path}); use --force to replace it")
    try:
        verify_modules(there)
    except TableError:
        return False
    return True


def _check_free(table: Table, force: bool) -> bool:
    """Whether the same content is there already; raises `TableError` for other content unless `force`."""
    path = table_path(table.name)
    if not path.exists() or force:
        return False
    try:
        same = read_table(path).sha256 == (table.sha256 or None)
    except TableError:
        same = False
    if not same:
        raise TableError(
            f"a table {table.name} with other content exists ({path}); choose another name, or use --force"
        )
    return True


def _keep(table: Table, force: bool) -> Path:
    path = table_path(table.name)
    if not _check_free(table, force):
        write_table(table, path)
    return path
