"""NAS-Bench-101 from files in the official layout and from CSV: every number, every refusal, the file it is kept in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nasbench_sim.errors import ArchError, NotMeasured
from nasbench_sim.spaces.nb101 import module_hash, parse_module
from nasbench_sim.tables.modules import (
    ALL_MODULES,
    ModuleTable,
)
from nasbench_sim.tables.nb101 import read_nb101
from nasbench_sim.tables.nb101_sources import FULL, ONLY_108
from tests.tables.tfrecords import (
    CHAIN,
    FORK,
    KEY,
    LINE,
    MODULES,
    good_record,
    metrics,
    numbers,
    one_line,
    record,
    runs_of,
    small_file,
    write_tfrecord,
)

VALUES = numbers(np.random.default_rng(9))[0]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return small_file(tmp_path)


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
    assert "run1, 12 epochs, final was not measured" in one_line(
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
        said = one_line(lambda part=part, wrong=wrong: table.query(*FORK, **{**KEY, part: wrong}), NotMeasured)
        assert f"unknown {part} '{wrong}'" in said and known in said
    said = one_line(lambda: table.query(*FORK, **{**KEY, "epochs": "108"}), NotMeasured)
    assert said == "table nb101: epochs must be the number 108, got '108'"


def test_modules_that_are_not_there(table: ModuleTable) -> None:
    other = parse_module("4:111011:i31o")
    said = one_line(lambda: table.query(*other, **KEY), NotMeasured)
    assert f"does not have module {module_hash(*other)}: it holds 4 of {ALL_MODULES}" in said
    said = one_line(lambda: table.query([[0, 1], [0, 0]], ["input", "conv"], **KEY), ArchError)
    assert "not a module of NAS-Bench-101" in said
    assert "is an integer in 0..3, got 4" in one_line(lambda: table.module(4), ArchError)


def test_arrays_cannot_be_written_to(table: ModuleTable) -> None:
    for array in (table.hashes, table.codes, table.params, table.values(**KEY), table.fractions(**KEY)):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = array[1]


# --- what a file may not say ----------------------------------------------------------------------------------------


def write(tmp_path: Path, *records: bytes) -> Path:
    return write_tfrecord(tmp_path / "bad.tfrecord", records)


def test_a_fourth_run(tmp_path: Path) -> None:
    said = one_line(lambda: read_nb101(write(tmp_path, *[good_record()] * 3, good_record(FORK), good_record())))
    assert f"bad.tfrecord: record 4 is a fourth run of module {module_hash(*CHAIN)} with 108 epochs" in said


def test_a_fourth_run_in_another_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nasbench_sim.tables.tfrecord._MAX_BATCH", 1)
    assert "record 3 is a fourth run" in one_line(lambda: read_nb101(write(tmp_path, *[good_record()] * 4)))


def test_a_module_that_is_another_graph_than_before(tmp_path: Path) -> None:
    other = record(module_hash(*CHAIN), 108, FORK, metrics(VALUES, 5))
    said = one_line(lambda: read_nb101(write(tmp_path, good_record(), good_record(), other)))
    assert f"record 2: the graph that stands under {module_hash(*CHAIN)} has the hash {module_hash(*FORK)}" in said
    matrix, ops = FORK
    same = matrix[np.ix_([0, 2, 1, 3], [0, 2, 1, 3])], [ops[i] for i in (0, 2, 1, 3)]
    table = read_nb101(
        write(tmp_path, good_record(FORK), good_record(same, params=6), good_record(FORK))
    )  # labelled in another way
    assert table.module(0)[1] == ops and table.params.tolist() == [5]
    assert table.query(*same, **{**KEY, "run": "run2"}) == table.query(*FORK, **KEY)
    said = one_line(lambda: read_nb101(write(tmp_path, good_record(), good_record(params=6))))
    assert "record 1: module" in said and "has other parameters than before" in said


def test_a_hash_that_is_not_the_graphs(tmp_path: Path) -> None:
    said = one_line(
        lambda: read_nb101(write(tmp_path, good_record(FORK), record("0" * 32, 108, CHAIN, metrics(VALUES, 5))))
    )
    assert f"the graph that stands under {'0' * 32} has the hash {module_hash(*CHAIN)}" in said


def test_more_modules_than_there_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nasbench_sim.tables.module_builder.ALL_MODULES", 3)
    said = one_line(lambda: read_nb101(write(tmp_path, *(good_record(module) for module in MODULES))))
    assert "has more than the 3 modules of NAS-Bench-101" in said


def test_paths_that_are_no_file_of_it(tmp_path: Path) -> None:
    assert "does not exist" in one_line(lambda: read_nb101(tmp_path / "x.tfrecord"))
    assert f"holds none of {FULL.file}, {ONLY_108.file}" in one_line(lambda: read_nb101(tmp_path))
    (tmp_path / "x.pkl").write_bytes(b"x")
    assert "is not a .tfrecord, .csv, .csv.gz or .safetensors file" in one_line(lambda: read_nb101(tmp_path / "x.pkl"))
    (tmp_path / "x.tfrecord").mkdir()
    assert "holds none of" in one_line(lambda: read_nb101(tmp_path / "x.tfrecord"))
    (tmp_path / "empty.tfrecord").touch()
    assert "is empty" in one_line(lambda: read_nb101(tmp_path / "empty.tfrecord"))


def test_the_best_file_of_a_folder(tmp_path: Path) -> None:
    write_tfrecord(tmp_path / ONLY_108.file, [good_record()])
    assert read_nb101(tmp_path).budgets == (108,)
    write_tfrecord(tmp_path / FULL.file, [good_record(), good_record(epochs=4)])
    table = read_nb101(tmp_path)
    assert table.budgets == (4, 108)
    assert table.sources[0].name == FULL.file  # by its sha256 it is not the published one, and says so
    assert "none of the published files" in table.sources[0].gives
    assert table.notes[0].startswith("1 of the 423,624 modules")


def test_progress_is_told(file: Path) -> None:
    seen: list[tuple[str, int, int]] = []
    read_nb101(file, progress=lambda *a: seen.append(a))
    assert seen[-1] == (file.name, file.stat().st_size, file.stat().st_size)
