"""The file of a table of modules: what is written is read, and every damaged byte is found."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nasbench_sim.tables import tensor_file
from nasbench_sim.tables.modules import (
    KIND,
    RUNS,
    ModuleTable,
    array_names,
    modules_sha256,
    read_modules,
    verify_modules,
    write_modules,
)
from nasbench_sim.tables.nb101 import read_nb101
from nasbench_sim.tables.tensor_file import TensorFile, write_tensors
from tests.tables.tfrecords import FORK, KEY, good_record, one_line, small_file, write_tfrecord


@pytest.fixture
def table(tmp_path: Path) -> ModuleTable:
    return read_nb101(small_file(tmp_path))


def test_what_is_written_is_read(table: ModuleTable, tmp_path: Path) -> None:
    path = tmp_path / "kept.safetensors"
    sha256 = write_modules(table, path)
    again = read_modules(path)
    assert again.sha256 == sha256 == modules_sha256(table) == modules_sha256(again)
    assert (again.budgets, again.sources, again.notes) == (table.budgets, table.sources, table.notes)
    assert np.array_equal(again.hashes, table.hashes) and np.array_equal(again.codes, table.codes)
    for epochs in table.budgets:
        for run in RUNS:
            key: Any = {"epochs": epochs, "run": run, "when": "final"}
            assert np.array_equal(again.values(**key, split="test"), table.values(**key, split="test"))
            assert np.array_equal(again.seconds(**key), table.seconds(**key))
    verify_modules(again)
    first = path.read_bytes()
    write_modules(again, path)
    assert path.read_bytes() == first
    assert modules_sha256(read_nb101(path)) == sha256


def test_other_tools_read_the_file(table: ModuleTable, tmp_path: Path) -> None:
    safetensors = pytest.importorskip("safetensors.numpy", reason="the safetensors package is not installed")
    write_modules(table, tmp_path / "x.safetensors")
    arrays = safetensors.load_file(tmp_path / "x.safetensors")
    assert set(arrays) == {"seal", *array_names(table.budgets)}
    assert np.array_equal(arrays["108/run0/final/valid"], table.fractions(**KEY))


def test_every_damaged_byte_is_found(tmp_path: Path) -> None:
    """Of head, seal and arrays alike: on opening, or when all of it is read."""
    path = tmp_path / "x.safetensors"
    write_modules(read_nb101(write_tfrecord(tmp_path / "x.tfrecord", [good_record(), good_record(FORK)])), path)
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    for at in [*range(0, len(whole), 3), len(whole) - 1]:
        damaged = bytearray(whole)
        damaged[at] ^= 1 << int(rng.integers(8))
        path.write_bytes(damaged)
        said = one_line(lambda: verify_modules(read_modules(path)))
        assert said.startswith(str(path))
    for length in (0, 1, 7, 8, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        assert str(path) in one_line(lambda: read_modules(path))
    path.write_bytes(whole + b"x")
    assert "truncated or padded" in one_line(lambda: read_modules(path))
    assert "is a folder" in one_line(lambda: read_modules(tmp_path))
    assert "cannot be read (No such file" in one_line(lambda: read_modules(tmp_path / "none"))


def test_an_array_is_read_when_it_is_asked_for(table: ModuleTable, tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    write_modules(table, path)
    opened = read_modules(path)
    path.write_bytes(path.read_bytes()[:-1] + b"\x7f")  # the last byte of the last array
    last = TensorFile.names(opened._arrays)[-1]  # type: ignore[arg-type]
    assert last == "hashes"
    assert "hashes does not fit its sha256" in one_line(lambda: opened.size)
    assert len(opened._arrays["params"]) == 4


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda a: {**a, "108/run0/final/valid": a["108/run0/final/valid"] + 1}, "is not 2 numbers in 0..1"),
        (lambda a: {**a, "108/run0/final/seconds": -a["108/run0/final/seconds"]}, "is not 2 numbers in 0..1e+09"),
        (lambda a: {**a, "params": a["params"][:1]}, "params is not 2 numbers"),
        (lambda a: {**a, "params": -a["params"]}, "a negative number of parameters"),
        (lambda a: {**a, "codes": a["codes"] * 0}, "0 is not the code of"),
        (lambda a: {**a, "hashes": a["hashes"][::-1]}, "in ascending order"),
        (lambda a: {**a, "hashes": a["hashes"][:, 1:]}, "32 digits each"),
        (lambda a: {**a, "hashes": a["hashes"][:0]}, "32 digits each"),
        (lambda a: {k: v for k, v in a.items() if k != "params"}, "does not hold the arrays"),
        (lambda a: {**a, "more": a["params"]}, "does not hold the arrays"),
    ],
)
def test_a_sealed_file_made_by_hand(tmp_path: Path, change: Callable[[dict[str, Any]], Any], why: str) -> None:
    table = read_nb101(write_tfrecord(tmp_path / "x.tfrecord", [good_record(), good_record(FORK)]))
    arrays = {name: np.array(table._arrays[name]) for name in array_names((108,))}
    facts = {"budgets": [108], "sources": [], "notes": []}
    path = tmp_path / "x.safetensors"
    write_tensors(path, KIND, facts, change(arrays))
    assert why in one_line(lambda: verify_modules(read_modules(path)))


@pytest.mark.parametrize("facts", [{}, {"budgets": [], "sources": [], "notes": []}, {"budgets": [7]}, {"more": 1}])
def test_facts_made_by_hand(tmp_path: Path, facts: dict[str, Any]) -> None:
    path = tmp_path / "x.safetensors"
    write_tensors(path, KIND, facts, {"params": np.zeros(1, dtype=np.int32)})
    assert "import it again" in one_line(lambda: read_modules(path))


def test_a_file_of_another_kind(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    write_tensors(path, "something", {}, {"params": np.zeros(1, dtype=np.int32)})
    assert f"is a file of 'something', not a {KIND} file" in one_line(lambda: read_modules(path))
    path.write_bytes((1 << 40).to_bytes(8, "little") + b"{" * 100)
    assert f"is not a {KIND} file" in one_line(lambda: read_modules(path))


def sealed_head(document: str) -> bytes:
    head = len(document).to_bytes(8, "little") + document.encode()
    return head + hashlib.sha256(head).digest()


@pytest.mark.parametrize(
    "entry",
    [
        '{"dtype":"F64","shape":[1],"data_offsets":[32,40]}',
        '{"dtype":"U8","shape":[8],"data_offsets":[0,8]}',
        '{"dtype":"U8","shape":[9],"data_offsets":[32,40]}',
        '{"dtype":"U8","shape":[-8],"data_offsets":[32,40]}',
        '{"dtype":"U8","shape":[4294967296,4294967296],"data_offsets":[32,18446744073709551648]}',
        '{"dtype":"U8","shape":[8],"data_offsets":[32,40],"more":1}',
        '{"dtype":"U8","shape":[8]}',
        "7",
        "[" * 5000 + "]" * 5000,
    ],
)
def test_a_sealed_head_made_by_hand(tmp_path: Path, entry: str) -> None:
    about = '{\\"kind\\":\\"k\\",\\"sha256\\":{\\"a\\":\\"' + "0" * 64 + '\\"},\\"facts\\":{}}'
    front = '{"__metadata__":{"about":"' + about + '"},"seal":{"dtype":"U8","shape":[32],"data_offsets":[0,32]},"a":'
    path = tmp_path / "x.safetensors"
    path.write_bytes(sealed_head(front + '{"dtype":"U8","shape":[8],"data_offsets":[32,40]}}') + bytes(8))
    assert tensor_file.TensorFile(path, "k").names() == ["a"]  # the same head with a good entry opens
    path.write_bytes(sealed_head(front + entry + "}") + bytes(8))
    assert "its head is not one of ours" in one_line(lambda: tensor_file.TensorFile(path, "k"))
