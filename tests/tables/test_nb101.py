"""NAS-Bench-101 from files in the official layout and from CSV: every number, every refusal, the file it is kept in."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nasbench_sim.errors import ArchError, NotMeasured, TableError
from nasbench_sim.spaces.nb101 import format_module, module_hash, parse_module
from nasbench_sim.tables import tensor_file
from nasbench_sim.tables.modules import (
    ALL_MODULES,
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
from nasbench_sim.tables.nb101_csv import number_columns, write_csv
from nasbench_sim.tables.nb101_sources import FULL, ONLY_108
from nasbench_sim.tables.tensor_file import TensorFile, write_tensors
from tests.tables.tfrecords import CHAIN, FORK, LINE, metrics, numbers, record, runs_of, write_tfrecord

BIG = parse_module("7:110100100001100100101:i3pp31o")
MODULES = [LINE, CHAIN, FORK, BIG]
KEY: dict[str, Any] = {"epochs": 108, "run": "run0", "split": "valid", "when": "final"}
VALUES = numbers(np.random.default_rng(9))[0]


def refused(call: Callable[[], Any], kind: type[Exception] = TableError) -> str:
    with pytest.raises(kind) as caught:
        call()
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return write_tfrecord(tmp_path / "small.tfrecord", runs_of(MODULES, (4, 12, 36, 108))[0])


@pytest.fixture
def table(file: Path) -> ModuleTable:
    return read_nb101(file)


def test_every_number_of_a_file(table: ModuleTable) -> None:
    """Runs are numbered by their order in the file; percent is 100 times the stored fraction, rounded once."""
    said = runs_of(MODULES, (4, 12, 36, 108))[1]
    assert (table.size, table.budgets) == (4, (4, 12, 36, 108))
    assert len(said) == 4 * 4 * 3
    names = [module_hash(*module) for module in MODULES]
    for (name, epochs, run), values in said.items():
        module = MODULES[names.index(name)]
        for w, when in enumerate(("halfway", "final")):
            key: Any = {"epochs": epochs, "run": f"run{run}", "when": when}
            assert table.query_seconds(*module, **key) == float(str(np.float32(values[w, 0])))
            for s, split in enumerate(("train", "valid", "test")):
                row = table.row(*module)
                assert table.fractions(**key, split=split)[row] == values[w, 1 + s]
                percent = np.float32(100 * values[w, 1 + s])
                assert table.query(*module, **key, split=split) == float(str(percent))
                assert table.values(**key, split=split)[row] == percent
    assert [table.params[table.row(*module)] for module in MODULES] == [1_000_000, 2_000_000, 3_000_000, 4_000_000]


def test_the_mean_is_over_the_runs_there_are(tmp_path: Path) -> None:
    """Three runs of one module, one of another, none of the others with this budget."""
    three, said = runs_of([CHAIN], (12,))
    one, more = runs_of([FORK], (12,), repeats=1)
    none, _ = runs_of([LINE], (108,))
    table = read_nb101(write_tfrecord(tmp_path / "x.tfrecord", [*three, *one, *none]))
    key: Any = {"epochs": 12, "run": "mean", "when": "final"}
    runs = [said[module_hash(*CHAIN), 12, run][1] for run in range(3)]
    assert table.fractions(**key, split="test")[table.row(*CHAIN)] == (runs[0][3] + runs[1][3] + runs[2][3]) / 3
    assert table.query_seconds(*CHAIN, **key) == pytest.approx(np.mean([run[0] for run in runs]), rel=1e-7)
    assert table.fractions(**key, split="test")[table.row(*FORK)] == more[module_hash(*FORK), 12, 0][1][3]
    assert "run1, 12 epochs, final was not measured" in refused(
        lambda: table.query(*FORK, epochs=12, run="run1", split="test", when="final"), NotMeasured
    )
    assert np.isnan(table.values(**key, split="test")[table.row(*LINE)])


def test_any_labelling_finds_a_module(table: ModuleTable) -> None:
    matrix, ops = FORK
    swapped = matrix[np.ix_([0, 2, 1, 3], [0, 2, 1, 3])], [ops[i] for i in (0, 2, 1, 3)]
    assert table.query(*swapped, **KEY) == table.query(*FORK, **KEY)
    dead = np.zeros((5, 5), dtype=int)
    dead[np.ix_([0, 1, 2, 4], [0, 1, 2, 4])] = matrix
    dead[0, 3] = 1  # leads nowhere
    assert table.query(dead, [*ops[:3], "maxpool3x3", "output"], **KEY) == table.query(*FORK, **KEY)
    for row in range(table.size):
        assert table.row(*table.module(row)) == row
    assert table.rows(table.hashes[::-1]).tolist() == [3, 2, 1, 0]
    assert table.rows(np.array([b"x"], dtype="S32")).tolist() == [-1]


def test_no_part_of_a_key_has_a_default(table: ModuleTable) -> None:
    for part in KEY:
        with pytest.raises(TypeError):
            table.query(*FORK, **{k: v for k, v in KEY.items() if k != part})
    for part, wrong, known in (
        ("epochs", 200, "4, 12, 36, 108"),
        ("run", 0, "run0, run1, run2, mean"),
        ("run", "run3", "run0, run1, run2, mean"),
        ("split", "validation", "train, valid, test"),
        ("split", "seconds", "train, valid, test"),
        ("when", "half", "halfway, final"),
    ):
        said = refused(lambda part=part, wrong=wrong: table.query(*FORK, **{**KEY, part: wrong}), NotMeasured)
        assert f"unknown {part} '{wrong}'" in said and known in said
    said = refused(lambda: table.query(*FORK, **{**KEY, "epochs": "108"}), NotMeasured)
    assert said == "table nb101: epochs must be the number 108, got '108'"


def test_modules_that_are_not_there(table: ModuleTable) -> None:
    other = parse_module("4:111011:i31o")
    said = refused(lambda: table.query(*other, **KEY), NotMeasured)
    assert f"does not have module {module_hash(*other)}: it holds 4 of {ALL_MODULES}" in said
    said = refused(lambda: table.query([[0, 1], [0, 0]], ["input", "conv"], **KEY), ArchError)
    assert "not a module of NAS-Bench-101" in said
    assert "is an integer in 0..3, got 4" in refused(lambda: table.module(4), ArchError)


def test_arrays_cannot_be_written_to(table: ModuleTable) -> None:
    for array in (table.hashes, table.codes, table.params, table.values(**KEY), table.fractions(**KEY)):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = array[1]


# --- what a file may not say ----------------------------------------------------------------------------------------


def write(tmp_path: Path, *records: bytes) -> Path:
    return write_tfrecord(tmp_path / "bad.tfrecord", records)


def good(module: Any = CHAIN, params: int = 5, epochs: int = 108) -> bytes:
    return record(module_hash(*module), epochs, module, metrics(VALUES, params))


def test_a_fourth_run(tmp_path: Path) -> None:
    said = refused(lambda: read_nb101(write(tmp_path, *[good()] * 3, good(FORK), good())))
    assert f"bad.tfrecord: record 4 is a fourth run of module {module_hash(*CHAIN)} with 108 epochs" in said


def test_a_fourth_run_in_another_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nasbench_sim.tables.tfrecord._MAX_BATCH", 1)
    assert "record 3 is a fourth run" in refused(lambda: read_nb101(write(tmp_path, *[good()] * 4)))


def test_a_module_that_is_another_graph_than_before(tmp_path: Path) -> None:
    other = record(module_hash(*CHAIN), 108, FORK, metrics(VALUES, 5))
    said = refused(lambda: read_nb101(write(tmp_path, good(), good(), other)))
    assert f"record 2: the graph that stands under {module_hash(*CHAIN)} has the hash {module_hash(*FORK)}" in said
    matrix, ops = FORK
    same = matrix[np.ix_([0, 2, 1, 3], [0, 2, 1, 3])], [ops[i] for i in (0, 2, 1, 3)]
    table = read_nb101(write(tmp_path, good(FORK), good(same, params=6), good(FORK)))  # labelled in another way
    assert table.module(0)[1] == ops and table.params.tolist() == [5]
    assert table.query(*same, **{**KEY, "run": "run2"}) == table.query(*FORK, **KEY)
    said = refused(lambda: read_nb101(write(tmp_path, good(), good(params=6))))
    assert "record 1: module" in said and "has other parameters than before" in said


def test_a_hash_that_is_not_the_graphs(tmp_path: Path) -> None:
    said = refused(lambda: read_nb101(write(tmp_path, good(FORK), record("0" * 32, 108, CHAIN, metrics(VALUES, 5)))))
    assert f"the graph that stands under {'0' * 32} has the hash {module_hash(*CHAIN)}" in said


def test_more_modules_than_there_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nasbench_sim.tables.module_builder.ALL_MODULES", 3)
    said = refused(lambda: read_nb101(write(tmp_path, *(good(module) for module in MODULES))))
    assert "has more than the 3 modules of NAS-Bench-101" in said


def test_paths_that_are_no_file_of_it(tmp_path: Path) -> None:
    assert "does not exist" in refused(lambda: read_nb101(tmp_path / "x.tfrecord"))
    assert f"holds none of {FULL.file}, {ONLY_108.file}" in refused(lambda: read_nb101(tmp_path))
    (tmp_path / "x.pkl").write_bytes(b"x")
    assert "is not a .tfrecord, .csv, .csv.gz or .safetensors file" in refused(lambda: read_nb101(tmp_path / "x.pkl"))
    (tmp_path / "x.tfrecord").mkdir()
    assert "holds none of" in refused(lambda: read_nb101(tmp_path / "x.tfrecord"))
    (tmp_path / "empty.tfrecord").touch()
    assert "is empty" in refused(lambda: read_nb101(tmp_path / "empty.tfrecord"))


def test_the_best_file_of_a_folder(tmp_path: Path) -> None:
    write_tfrecord(tmp_path / ONLY_108.file, [good()])
    assert read_nb101(tmp_path).budgets == (108,)
    write_tfrecord(tmp_path / FULL.file, [good(), good(epochs=4)])
    table = read_nb101(tmp_path)
    assert table.budgets == (4, 108)
    assert table.sources[0].name == FULL.file  # by its sha256 it is not the published one, and says so
    assert "none of the published files" in table.sources[0].gives
    assert table.notes[0].startswith("1 of the 423,624 modules")


def test_progress_is_told(file: Path) -> None:
    seen: list[tuple[str, int, int]] = []
    read_nb101(file, progress=lambda *a: seen.append(a))
    assert seen[-1] == (file.name, file.stat().st_size, file.stat().st_size)


# --- the file of a table --------------------------------------------------------------------------------------------


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
    write_modules(read_nb101(write(tmp_path, good(), good(FORK))), path)
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    for at in [*range(0, len(whole), 3), len(whole) - 1]:
        damaged = bytearray(whole)
        damaged[at] ^= 1 << int(rng.integers(8))
        path.write_bytes(damaged)
        said = refused(lambda: verify_modules(read_modules(path)))
        assert said.startswith(str(path))
    for length in (0, 1, 7, 8, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        assert str(path) in refused(lambda: read_modules(path))
    path.write_bytes(whole + b"x")
    assert "truncated or padded" in refused(lambda: read_modules(path))
    assert "is a folder" in refused(lambda: read_modules(tmp_path))
    assert "cannot be read (No such file" in refused(lambda: read_modules(tmp_path / "none"))


def test_an_array_is_read_when_it_is_asked_for(table: ModuleTable, tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    write_modules(table, path)
    opened = read_modules(path)
    path.write_bytes(path.read_bytes()[:-1] + b"\x7f")  # the last byte of the last array
    last = TensorFile.names(opened._arrays)[-1]  # type: ignore[arg-type]
    assert last == "hashes"
    assert "hashes does not fit its sha256" in refused(lambda: opened.size)
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
    table = read_nb101(write(tmp_path, good(), good(FORK)))
    arrays = {name: np.array(table._arrays[name]) for name in array_names((108,))}
    facts = {"budgets": [108], "sources": [], "notes": []}
    path = tmp_path / "x.safetensors"
    write_tensors(path, KIND, facts, change(arrays))
    assert why in refused(lambda: verify_modules(read_modules(path)))


@pytest.mark.parametrize("facts", [{}, {"budgets": [], "sources": [], "notes": []}, {"budgets": [7]}, {"more": 1}])
def test_facts_made_by_hand(tmp_path: Path, facts: dict[str, Any]) -> None:
    path = tmp_path / "x.safetensors"
    write_tensors(path, KIND, facts, {"params": np.zeros(1, dtype=np.int32)})
    assert "import it again" in refused(lambda: read_modules(path))


def test_a_file_of_another_kind(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    write_tensors(path, "something", {}, {"params": np.zeros(1, dtype=np.int32)})
    assert f"is a file of 'something', not a {KIND} file" in refused(lambda: read_modules(path))
    path.write_bytes((1 << 40).to_bytes(8, "little") + b"{" * 100)
    assert f"is not a {KIND} file" in refused(lambda: read_modules(path))


def sealed_head(document: str) -> bytes:
    import hashlib

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
    assert "its head is not one of ours" in refused(lambda: tensor_file.TensorFile(path, "k"))


# --- CSV ------------------------------------------------------------------------------------------------------------


def cells(path: Path) -> list[list[str]]:
    with path.open(newline="") as file:
        return list(csv.reader(file))


def test_csv_there_and_back(table: ModuleTable, tmp_path: Path) -> None:
    """Every number to its last bit, for a table with four budgets; compressed too."""
    write_csv(table, tmp_path / "x.csv")
    rows = cells(tmp_path / "x.csv")
    assert len(rows) == 5 and len(rows[0]) == 3 + 4 * 3 * 8
    with gzip.open(tmp_path / "x.csv.gz", "wt", newline="") as file:
        file.write((tmp_path / "x.csv").read_text())
    for name in ("x.csv", "x.csv.gz"):
        again = read_nb101(tmp_path / name)
        for array in array_names(table.budgets):
            assert np.array_equal(again._arrays[array], table._arrays[array]), array


def test_csv_with_runs_that_are_not_there(tmp_path: Path) -> None:
    table = read_nb101(write(tmp_path, *runs_of([CHAIN])[0], *runs_of([FORK], repeats=1)[0]))
    write_csv(table, tmp_path / "x.csv")
    again = read_nb101(tmp_path / "x.csv")
    for array in array_names((108,)):
        assert np.array_equal(again._arrays[array], table._arrays[array], equal_nan=array[0] == "1")


@pytest.mark.parametrize(
    ("column", "value", "why"),
    [
        ("module_hash", "x" * 32, "row 2: module_hash 'xxxx"),
        ("module_hash", "0" * 32, "has the hash"),
        ("arch", "3:111", "row 2: bad module string at position 5"),
        ("arch", "3:111:ixo", "row 2: bad module string at position 7"),
        ("arch", "4:111:i3o", "row 2: bad module string"),
        ("arch", "", "row 2: bad module string at position 0"),
        ("params", "1.5", "row 2: params is not a whole number"),
        ("params", "", "row 2: params is not a whole number"),
        ("params", "3000000000", "row 2: params '3000000000' is not a number in 0..1e+09"),
        ("params", "-1", "row 2: params '-1' is not a number in 0..1e+09"),
        ("final_test_accuracy_r1", "", "row 2: run 1 of 108 epochs is there in part"),
        ("final_test_accuracy_r1", "94.3", "row 2: final_test_accuracy_r1 '94.3' is not a number in 0..1"),
        ("final_test_accuracy_r1", "nan", "row 2: final_test_accuracy_r1 'nan' is not a number in 0..1"),
        ("final_test_accuracy_r1", "x", "row 2: final_test_accuracy_r1 'x' is not a number in 0..1"),
        ("final_training_time_r2", "-3", "row 2: final_training_time_r2 '-3' is not a number in 0..1e+09"),
    ],
)
def test_csv_cells_that_cannot_be(tmp_path: Path, column: str, value: str, why: str) -> None:
    write_csv(read_nb101(write(tmp_path, *runs_of([CHAIN, FORK])[0])), tmp_path / "x.csv")
    rows = cells(tmp_path / "x.csv")
    rows[1][rows[0].index(column)] = value
    with (tmp_path / "x.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    assert why in refused(lambda: read_nb101(tmp_path / "x.csv"))


def test_csv_files_that_cannot_be(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    write_csv(read_nb101(write(tmp_path, *runs_of([CHAIN, FORK])[0])), path)
    rows = cells(path)

    def rewritten(change: Callable[[list[list[str]]], list[list[str]]]) -> str:
        with path.open("w", newline="") as file:
            csv.writer(file).writerows(change([list(row) for row in rows]))
        return refused(lambda: read_nb101(path))

    without = rows[0].index("final_test_accuracy_r0")
    assert "unknown column" in rewritten(lambda r: [["a", "b"], ["1", "2"]])
    assert "final_test_accuracy_r0" in rewritten(lambda r: [row[:without] + row[without + 1 :] for row in r])
    assert "holds no run" in rewritten(lambda r: r[:1])
    assert "cells under" in rewritten(lambda r: [*r, ["x"]])
    run0 = {rows[0].index(name) for name in number_columns(108, 0)}
    emptied = rewritten(lambda r: [r[0], ["" if i in run0 else c for i, c in enumerate(r[1])], r[2]])
    assert "row 2: has run 1 of 108 epochs, but not the one before it" in emptied
    assert "is a fourth run" in rewritten(lambda r: [*r, r[1]])
    path.write_bytes(b"\xff\xfe\x00")
    assert "is not a CSV file of NAS-Bench-101" in refused(lambda: read_nb101(path))
    (tmp_path / "x.csv.gz").write_bytes(b"not gzip")
    assert "is not a CSV file of NAS-Bench-101" in refused(lambda: read_nb101(tmp_path / "x.csv.gz"))


def test_the_module_column_is_the_module(table: ModuleTable, tmp_path: Path) -> None:
    write_csv(table, tmp_path / "x.csv")
    by_hash = {row[0]: row[1] for row in cells(tmp_path / "x.csv")[1:]}
    assert by_hash == {module_hash(*module): format_module(*module) for module in MODULES}
