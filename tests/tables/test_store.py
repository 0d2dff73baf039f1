"""The table file: what is written is read; what is not exactly a table is one line, and never a wrong number."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from nasbench_sim.errors import RunError, TableError
from nasbench_sim.sealed import BLOCK
from nasbench_sim.tables.manifest import _json, content_sha256, stamped
from nasbench_sim.tables.store import read_table, write_table
from nasbench_sim.tables.table import Key
from tests.tables.helpers import MISSING, SEED, TEST, VALID, craft, reseal, same, small_table

TABLE = small_table()


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("store") / "small.h5"
    write_table(TABLE, path)
    return path.read_bytes()


def message(path: Path) -> str:
    with pytest.raises(TableError) as caught:
        read_table(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)
    return str(caught.value)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    digest = write_table(TABLE, tmp_path / "a.h5")
    back = read_table(tmp_path / "a.h5")
    assert same(back, TABLE)
    assert list(back.report_keys) == ["valid", "test"]
    assert back.sha256 == digest == content_sha256(TABLE) == stamped(TABLE).sha256
    assert all(not column.flags.writeable for column in back.accuracy.values())
    assert np.isnan(back.accuracy[SEED][MISSING])


def test_equal_tables_are_equal_files(tmp_path: Path, good: bytes) -> None:
    write_table(read_back(tmp_path, good), tmp_path / "again.h5")
    assert (tmp_path / "again.h5").read_bytes() == good


def read_back(folder: Path, data: bytes) -> Any:
    (folder / "x.h5").write_bytes(data)
    return read_table(folder / "x.h5")


def test_the_digest_names_the_content_and_not_the_name() -> None:
    digest = content_sha256(TABLE)
    assert content_sha256(replace(TABLE, name="other")) == digest
    one = {k: v.copy() for k, v in TABLE.accuracy.items()}
    one[VALID][0] = np.nextafter(one[VALID][0], np.float32(0))
    changed = [
        replace(TABLE, accuracy=one),
        replace(TABLE, remark="made up."),
        replace(TABLE, search_key=TEST),
        replace(TABLE, sources=()),
        replace(TABLE, extra={}),
        replace(TABLE, metrics={}),
    ]
    assert len({digest, *(content_sha256(t) for t in changed)}) == 7


def test_a_table_without_costs_is_a_table(tmp_path: Path) -> None:
    write_table(replace(TABLE, metrics={}), tmp_path / "a.h5")
    assert read_table(tmp_path / "a.h5").metrics == {}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {"accuracy": {VALID: np.full(15_625, 101, dtype=np.float32)}, "report_keys": {"valid": VALID}},
            "row 0 holds 101",
        ),
        ({"accuracy": {VALID: np.zeros(5, dtype=np.float32)}, "report_keys": {"valid": VALID}}, "expected 15625 rows"),
        ({"search_key": Key("cifar10", "valid", 12, "mean")}, "is not among its columns"),
        ({"report_keys": {"test": Key("x", "y", 1, 1)}}, "is not among its columns"),
        ({"extra": {"file": Path("x")}}, "cannot be written as JSON"),
        ({"extra": {"n": float("nan")}}, "cannot be written as JSON"),
        ({"name": "two\nlines"}, "not a table of schema 1: name"),
        ({"metrics": {("params_m", "cifar10"): np.full(15_625, np.nan)}}, "row 0 holds nan"),
    ],
)
def test_what_could_not_be_read_back_is_not_written(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    with pytest.raises(TableError, match=said):
        write_table(replace(TABLE, **change), tmp_path / "a.h5")
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, good: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.h5"
    path.write_bytes(good)

    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(RunError, match="No space left"):
        write_table(TABLE, path)
    assert path.read_bytes() == good
    assert list(tmp_path.iterdir()) == [path]


@settings(
    max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, derandomize=True
)
@given(at=st.integers(0, 12_000), bit=st.integers(0, 7), end=st.booleans())
@example(at=0, bit=0, end=False)
def test_a_flip_under_a_fitting_seal_is_noticed_or_harmless(
    tmp_path: Path, good: bytes, at: int, bit: int, end: bool
) -> None:
    """Past the seal, HDF5's own checksums, the manifest's and our checks of the structure stand."""
    damaged = bytearray(good)
    damaged[-1 - at if end else BLOCK + at] ^= 1 << bit
    path = tmp_path / "damaged.h5"
    path.write_bytes(damaged)
    reseal(path)
    try:
        back = read_table(path)
    except TableError as error:
        assert "\n" not in str(error)
    else:
        assert same(back, TABLE)


def _replace(name: str, data: Any, **options: Any) -> Callable[[h5py.File], None]:
    def edit(file: h5py.File) -> None:
        array = file[name][...] if data is None else data
        del file[name]
        file.create_dataset(name, data=array, **{"chunks": np.shape(array), "fletcher32": True, **options})

    return edit


def _set(name: str, index: Any, value: Any) -> Callable[[h5py.File], None]:
    def edit(file: h5py.File) -> None:
        file[name][index] = value

    return edit


def _root_attribute(file: h5py.File) -> None:
    file.attrs["note"] = "x"


def _manifest(**changes: Any) -> Callable[[h5py.File], None]:
    def edit(file: h5py.File) -> None:
        import json

        document = {**json.loads(file["manifest"][...].tobytes()), **changes}
        _replace("manifest", np.frombuffer(_json(document), np.uint8))(file)

    return edit


def _spaced_manifest(file: h5py.File) -> None:
    _replace("manifest", np.frombuffer(file["manifest"][...].tobytes() + b" ", np.uint8))(file)


A = np.zeros((3, 15_625), dtype="<f4")


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (_root_attribute, "holds"),
        (lambda f: f.create_dataset("more", data=[1]), "holds accuracy, manifest, measured, metrics, more"),
        (lambda f: f.__delitem__("measured"), "a table holds"),
        (lambda f: f.__delitem__("metrics"), "a table holds"),
        (lambda f: f.__delitem__("manifest"), "has no manifest"),
        (_replace("accuracy", A.astype("<f8")), "accuracy should be <f4"),
        (_replace("accuracy", A[:2]), "accuracy should be <f4"),
        (_replace("accuracy", A[:, :-1]), "accuracy should be <f4"),
        (_replace("measured", A), "measured should be"),
        (_set("measured", (0, 0), 0), "disagrees with the numbers"),
        (_set("measured", (0, 0), 2), "disagrees with the numbers"),
        (_set("accuracy", (0, 0), np.nan), "disagrees with the numbers"),
        (_set("accuracy", (1, 5), 50.0), "does not fit its sha256"),
        (_set("metrics", (0, 5), 0.5), "does not fit its sha256"),
        (_manifest(schema_version=2), "not a table of schema 1: schema_version"),
        (_manifest(format="other"), "not a table of schema 1: format"),
        (_manifest(space="nb999"), "unknown search space 'nb999'"),
        (_manifest(size=7), "7 rows do not fit the 15625"),
        (_manifest(size="15625"), "size"),
        (_manifest(search_key=["a", "b", 1, 1]), "is not among its columns"),
        (_manifest(remark=5), "remark"),
        (_manifest(more=1), "more"),
        (_manifest(accuracy=[]), "accuracy"),
        (_manifest(name="a\nb"), "name"),
        (_spaced_manifest, "not in canonical form"),
        (_replace("manifest", np.frombuffer(b"{", np.uint8)), "not a table of schema 1: document"),
        (_replace("manifest", np.frombuffer(b"[" * 100_000, np.uint8)), "not a table of schema 1"),
    ],
)
def test_a_file_made_by_hand_is_refused(tmp_path: Path, edit: Callable[[h5py.File], None], said: str) -> None:
    path = tmp_path / "crafted.h5"
    craft(path, edit)
    with pytest.raises(TableError, match=said):
        read_table(path)
    message(path)


def test_an_impossible_number_with_fitting_checksums_is_refused(tmp_path: Path) -> None:
    from nasbench_sim.tables.manifest import column_sha256

    def edit(file: h5py.File) -> None:
        import json

        file["accuracy"][0, 3] = 100.5
        document = json.loads(file["manifest"][...].tobytes())
        document["accuracy"][0]["sha256"] = column_sha256(file["accuracy"][0])
        _replace("manifest", np.frombuffer(_json(document), np.uint8))(file)

    path = tmp_path / "crafted.h5"
    craft(path, edit)
    assert "row 3 holds 100.5, outside 0..100" in message(path)


@pytest.mark.real
def test_the_full_table_survives_and_stays_small_in_memory(tmp_path: Path, nb201_table: Any) -> None:
    path = tmp_path / "nb201.h5"
    assert write_table(nb201_table, path) == nb201_table.sha256
    assert same(read_table(path), nb201_table)
    # VmHWM, not ru_maxrss: the latter survives exec and would be that of this test process
    code = (
        "import sys; from nasbench_sim.tables.store import read_table; t = read_table(sys.argv[1]); "
        "assert len(t.accuracy) == 33; print(open('/proc/self/status').read().split('VmHWM:')[1].split()[0])"
    )
    if not Path("/proc/self/status").exists():
        pytest.skip("peak memory is read from /proc, which this system does not have")
    out = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    assert int(out.stdout) < 300 * 1024  # kilobytes
