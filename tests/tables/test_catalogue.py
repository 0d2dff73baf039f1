"""Where tables live, what they may be called, and what is said when one is not there."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import nasbench_sim.tables as public
from nasbench_sim.errors import TableError
from nasbench_sim.tables import analog, catalogue
from nasbench_sim.tables.store import write_table
from tests.tables.helpers import same, small_table


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("NASBENCH_SIM_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def test_the_public_names() -> None:
    names = ["Handle", "Key", "Source", "Table", "evaluation_seconds", "fidelities"]
    names += ["list_tables", "open_curves", "open_modules", "open_table", "read_table", "write_table"]
    assert public.__all__ == names
    assert all(hasattr(public, name) for name in names)


def test_at_first_there_is_the_embedded_table(home: Path) -> None:
    assert [t.name for t in catalogue.list_tables()] == ["nb201-analog", "nb201-mini"]
    assert catalogue.best_table_name() == "nb201-analog"
    assert catalogue.open_table("nb201-analog") is analog.load_analog()
    assert not home.exists()


def test_nb201_names_the_two_commands_that_get_it() -> None:
    with pytest.raises(TableError) as caught:
        catalogue.open_table("nb201")
    assert "`nasbench-sim tables fetch nb201`" in str(caught.value)
    assert "`nasbench-sim tables import nb201 --from DIR`" in str(caught.value)


def test_an_unknown_name_gets_the_nearest_one() -> None:
    catalogue.install(small_table("mine"))
    with pytest.raises(
        TableError, match=r"unknown table 'mime'; did you mean 'mine'\? Known: nb201-analog, nb201-mini, mine, nb201"
    ):
        catalogue.open_table("mime")


def test_an_installed_table_opens_by_name_and_by_path() -> None:
    table = small_table("mine")
    path = catalogue.install(table)
    assert same(catalogue.open_table("mine"), table)
    assert same(catalogue.open_table(path), table)
    assert same(catalogue.open_table(str(path)), table)
    assert [t.name for t in catalogue.list_tables()] == ["nb201-analog", "nb201-mini", "mine"]
    assert catalogue.list_tables()[2].size == path.stat().st_size


def test_nothing_is_overwritten_without_force() -> None:
    catalogue.install(small_table("mine"))
    other = replace(small_table("mine"), remark="another")
    with pytest.raises(TableError, match=r"other content exists .* --force"):
        catalogue.install(other)
    assert catalogue.open_table("mine").remark == "made up"
    catalogue.install(other, force=True)
    assert catalogue.open_table("mine").remark == "another"


def test_the_same_content_again_is_no_mistake() -> None:
    first = catalogue.install(small_table("mine"))
    before = first.stat().st_mtime_ns
    catalogue.install(catalogue.open_table("mine"))
    assert first.stat().st_mtime_ns == before


def test_a_damaged_file_is_not_overwritten_silently() -> None:
    path = catalogue.install(small_table("mine"))
    path.write_bytes(b"damaged")
    with pytest.raises(TableError, match="--force"):
        catalogue.install(small_table("mine"))
    catalogue.install(small_table("mine"), force=True)
    assert catalogue.open_table("mine").name == "mine"


@pytest.mark.parametrize("name", ["nb201", "nb201-analog"])
def test_built_in_names_are_reserved(name: str) -> None:
    with pytest.raises(TableError, match="is reserved"):
        catalogue.install(small_table(name), force=True)


@pytest.mark.parametrize("name", ["", "Mine", "-x", ".x", "../x", "a/b", "a b", "x.h5", "é", "a" * 65, "a\n"])
def test_names_that_cannot_be(name: str) -> None:
    with pytest.raises(TableError, match="cannot name a table"):
        catalogue.install(small_table(name))


def test_foreign_files_in_the_folder_are_not_listed(home: Path) -> None:
    catalogue.install(small_table("mine"))
    (home / "tables" / ".mine.h5.x.part").write_text("")
    (home / "tables" / "notes.txt").write_text("")
    (home / "tables" / "folder.h5").mkdir()
    assert [t.name for t in catalogue.list_tables()] == ["nb201-analog", "nb201-mini", "mine"]


def test_a_file_renamed_by_hand_takes_its_new_name(home: Path) -> None:
    catalogue.install(small_table("mine")).rename(home / "tables" / "yours.h5")
    assert catalogue.open_table("yours").name == "yours"


def test_a_path_that_is_absent_is_said_to_be(tmp_path: Path) -> None:
    with pytest.raises(TableError, match="No such file"):
        catalogue.open_table(tmp_path / "none.h5")
    with pytest.raises(TableError, match="No such file"):
        catalogue.open_table("folder/none")


def test_homes(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert catalogue.home() == home
    assert catalogue.cache_folder() == home / "cache"
    monkeypatch.delenv("NASBENCH_SIM_HOME")
    assert "nasbench-sim" in str(catalogue.home())
    assert catalogue.cache_folder() != catalogue.home()


@pytest.mark.real
def test_nb201_is_the_default_once_it_is_here(shared_data: Path, nb201_table: Any, tmp_path: Path) -> None:
    path = catalogue.install_nb201(shared_data / "raw")
    assert catalogue.best_table_name() == "nb201"
    assert catalogue.open_table("nb201").sha256 == nb201_table.sha256
    assert catalogue.install_nb201(shared_data / "raw") == path  # the same again
    write_table(small_table("nb201"), path)
    with pytest.raises(TableError, match="--force"):
        catalogue.install_nb201(shared_data / "raw")
