"""The full nb201 table against everything it can be compared with: merged table, NATS-Bench slices, published rows."""

from __future__ import annotations

import csv
import gzip
import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nasbench_sim.errors import NotMeasured, TableError
from nasbench_sim.spaces import NB201
from nasbench_sim.tables import nb201
from nasbench_sim.tables.nb201_costs import costs
from nasbench_sim.tables.nb201_sources import CIFAR10, HARDWARE, ORIGINALS, PROXIES, SEEDS, TWELVE_EPOCHS
from nasbench_sim.tables.table import Table
from tests.tables.test_unpickle import read_slice

DATASETS = ("cifar10", "cifar100", "ImageNet16-120")
SLICES = (0, 11, 284)
OPTIONAL = (TWELVE_EPOCHS, PROXIES, HARDWARE)
# runs name their table by its content, so that what the originals alone give must stay what it is
ORIGINALS_SHA256 = "27ee8b41d0bc106e17a3a4a3819803fc553d58858c2787e9d2475a69c21ac5cb"
WITH_TWELVE_SHA256 = "b22887eed6e8626dfc0a2a425767c47830b7efd16ead3d1b8bbe4670dd002875"


def column(table: Table, dataset: str, split: str, epochs: Any = 200, seed: Any = "mean") -> Any:
    return table.values(dataset=dataset, split=split, epochs=epochs, seed=seed, missing="nan")


# --- published gates ------------------------------------------------------------------------------------------------


@pytest.mark.real
@pytest.mark.parametrize(
    ("index", "published"),
    [
        (1835, (39.77, 54.30, 15.03, 15.61, 16.43, 16.32)),  # every DARTS row: all skip
        (9930, (91.55, 94.36, 73.49, 73.51, 46.37, 46.34)),  # the DrNAS row
    ],
)
def test_published_rows(nb201_table: Table, index: int, published: tuple[float, ...]) -> None:
    found = [
        nb201_table.query(index, dataset=d, split=s, epochs=200, seed="mean")
        for d in DATASETS
        for s in ("valid", "test")
    ]
    assert found == pytest.approx(published, abs=0.005 + 1e-6)


@pytest.mark.real
@pytest.mark.parametrize(
    ("dataset", "split", "best", "index"),
    [
        ("cifar10", "valid", 91.61, 6111),
        ("cifar100", "valid", 73.49, 9930),
        ("ImageNet16-120", "valid", 46.73, 10676),
        ("cifar10", "test", 94.37, 6111),
        ("cifar100", "test", 73.51, 9930),
        ("ImageNet16-120", "test", 47.31, 857),
    ],
)
def test_published_optima(nb201_table: Table, dataset: str, split: str, best: float, index: int) -> None:
    values = column(nb201_table, dataset, split)
    assert int(np.argmax(values)) == index
    assert float(values.max()) == pytest.approx(best, abs=0.005)


# --- the merged table: every number ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def merged(shared_data: Path) -> dict[str, Any]:
    with gzip.open(shared_data / "nb201_200ep.csv.gz", "rt") as file:
        rows = list(csv.DictReader(file))
    numeric = [name for name in rows[0] if name not in ("arch", "unique_str")]
    return {n: np.array([float(r[n]) if r[n] else np.nan for r in rows]) for n in numeric}


EVERY_COLUMN = [
    *((f"c10v_valid_acc_s{s}", d, "valid", s) for s in (777, 888, 999) for d in ("cifar10", "cifar10-valid")),
    *((f"c100_valtest_acc_s{s}", "cifar100", "valtest", s) for s in (777, 888, 999)),
    *((f"in16_valtest_acc_s{s}", "ImageNet16-120", "valtest", s) for s in (777, 888, 999)),
    *((f"c10_test_acc_run{r}", "cifar10", "test", f"run{r}") for r in range(3)),
    ("c10v_valid_acc", "cifar10", "valid", "mean"),
    *((f"c10v_{s}_acc", "cifar10-valid", s, "mean") for s in ("train", "valid", "test")),
    *((f"c100_{s}_acc", "cifar100", s, "mean") for s in ("train", "valid", "test")),
    *((f"in16_{s}_acc", "ImageNet16-120", s, "mean") for s in ("train", "valid", "test")),
]


@pytest.mark.real
@pytest.mark.parametrize(("theirs", "dataset", "split", "seed"), EVERY_COLUMN)
def test_every_accuracy_equals_the_merged_table(
    nb201_table: Table, merged: dict[str, Any], theirs: str, dataset: str, split: str, seed: Any
) -> None:
    ours = column(nb201_table, dataset, split, seed=seed)
    np.testing.assert_array_equal(np.isnan(ours), np.isnan(merged[theirs]))
    np.testing.assert_allclose(ours, merged[theirs], rtol=2**-23)  # equal but for the last bit of float32


@pytest.mark.real
def test_cifar10_test_mean_is_that_of_its_runs(nb201_table: Table, merged: dict[str, Any]) -> None:
    ours = column(nb201_table, "cifar10", "test")
    runs = np.array([merged[f"c10_test_acc_run{r}"] for r in range(3)])
    np.testing.assert_allclose(ours, np.nanmean(runs, axis=0), rtol=2**-23)
    # the merged table's own mean is that of NATS-Bench v1.0: the same where both releases have the same runs
    alike = merged["n_seeds_c10_v11"] == merged["n_seeds_nats"]
    assert int((~alike).sum()) == 2_433
    np.testing.assert_allclose(ours[alike], merged["c10_test_acc"][alike], rtol=2**-23)


@pytest.mark.real
def test_every_key_was_compared_above_or_is_twelve_epochs(nb201_table: Table) -> None:
    compared = {(d, s, 200, seed) for _, d, s, seed in EVERY_COLUMN} | {("cifar10", "test", 200, "mean")}
    assert {k for k in nb201_table.accuracy if k.epochs == 200} == compared
    assert {k.epochs for k in nb201_table.accuracy if k not in compared} == {12}


@pytest.mark.real
@pytest.mark.parametrize(
    ("ours", "theirs"),
    [("cifar10", "c10v"), ("cifar10-valid", "c10v"), ("cifar100", "c100"), ("ImageNet16-120", "in16")],
)
def test_every_cost_equals_the_merged_table(nb201_table: Table, merged: dict[str, Any], ours: str, theirs: str) -> None:
    params = nb201_table.metric("params_m", dataset=ours)
    np.testing.assert_allclose(params, merged[f"{theirs}_params_m"], rtol=2**-23)
    seconds = nb201_table.metric("train_time_s", dataset=ours)
    np.testing.assert_allclose(seconds, merged[f"{theirs}_train_time_s"], rtol=2**-23)
    runs = np.array([~np.isnan(merged[f"c10_test_acc_run{r}"]) for r in range(3)]).sum(axis=0)
    np.testing.assert_array_equal(nb201_table.metric("mean_runs", dataset=ours), runs)


@pytest.mark.real
def test_twelve_epochs_equal_their_file(nb201_table: Table, shared_data: Path) -> None:
    with gzip.open(shared_data / TWELVE_EPOCHS.file, "rt") as file:
        rows = list(csv.DictReader(file))
    for theirs, dataset, split in (
        ("c10v_valid_acc", "cifar10", "valid"),
        ("c10v_valid_acc", "cifar10-valid", "valid"),
        ("c10_test_acc", "cifar10", "test"),
        ("c100_valid_acc", "cifar100", "valid"),
        ("c100_test_acc", "cifar100", "test"),
        ("in16_valid_acc", "ImageNet16-120", "valid"),
        ("in16_test_acc", "ImageNet16-120", "test"),
    ):
        ours = column(nb201_table, dataset, split, epochs=12)
        np.testing.assert_array_equal(ours, np.array([float(r[theirs]) for r in rows], dtype=np.float32))


# --- the official NATS-Bench files ----------------------------------------------------------------------------------


@pytest.mark.real
@pytest.mark.parametrize("index", SLICES)
def test_the_real_slices_agree(nb201_table: Table, shared_data: Path, index: int) -> None:
    results = read_slice(shared_data, index)["200"]["all_results"]

    def real(run: str, seed: int, split: str) -> float:
        return float(results[run, seed]["eval_acc1es"][f"{split}@199"])

    seeds = (777, 888, 999)
    for seed in seeds:
        for dataset in ("cifar10", "cifar10-valid"):
            got = nb201_table.query(index, dataset=dataset, split="valid", epochs=200, seed=seed)
            assert got == pytest.approx(real("cifar10-valid", seed, "x-valid"), abs=1e-5)
        for dataset in ("cifar100", "ImageNet16-120"):
            got = nb201_table.query(index, dataset=dataset, split="valtest", epochs=200, seed=seed)
            assert got == pytest.approx(real(dataset, seed, "ori-test"), abs=1e-5)
    for run, dataset, split, theirs in (
        ("cifar10-valid", "cifar10", "valid", "x-valid"),
        ("cifar10-valid", "cifar10-valid", "valid", "x-valid"),
        ("cifar10-valid", "cifar10-valid", "test", "ori-test"),
        ("cifar10", "cifar10", "test", "ori-test"),
        *((d, d, s, f"x-{s}") for d in ("cifar100", "ImageNet16-120") for s in ("valid", "test")),
    ):
        mean = float(np.mean([real(run, seed, theirs) for seed in seeds]))
        got = nb201_table.query(index, dataset=dataset, split=split, epochs=200, seed="mean")
        assert got == pytest.approx(mean, abs=1e-4)
    # these three cells are all the evidence there is for the order of the runs, so the keys do not name seeds
    for name, seed in zip(("run0", "run1", "run2"), seeds, strict=True):
        got = nb201_table.query(index, dataset="cifar10", split="test", epochs=200, seed=name)  # type: ignore[arg-type]
        assert got == pytest.approx(real("cifar10", seed, "ori-test"), abs=1e-5)


@pytest.mark.real
@pytest.mark.parametrize("index", SLICES)
def test_costs_agree_with_the_real_slices(nb201_table: Table, shared_data: Path, index: int) -> None:
    results = read_slice(shared_data, index)["200"]["all_results"]
    for dataset in ("cifar10-valid", "cifar100", "ImageNet16-120"):
        one = results[dataset, 777]
        assert nb201_table.metric("flops_m", dataset=dataset)[index] == pytest.approx(one["flop"], rel=1e-6)
        assert nb201_table.metric("params_m", dataset=dataset)[index] == pytest.approx(one["params"], rel=1e-6)
        seconds = sum(one["train_times"].values())
        assert nb201_table.metric("train_time_s", dataset=dataset)[index] == pytest.approx(seconds, rel=1e-6)


@pytest.mark.parametrize(
    ("dataset", "flops"),
    [
        ("cifar10", (15.64737, 113.95137, 11.71521)),
        ("cifar100", (15.65322, 113.95722, 11.72106)),
        ("ImageNet16-120", (3.91948, 28.49548, 2.93644)),
    ],
)
def test_flops_formula(dataset: str, flops: tuple[float, ...]) -> None:
    assert costs(NB201(), dataset)["flops_m"][list(SLICES)] == pytest.approx(flops, rel=1e-6)


def test_costs_of_an_unknown_data_set() -> None:
    with pytest.raises(NotMeasured, match="did you mean 'cifar10'"):
        costs(NB201(), "cifar1")


# --- seeds and means ------------------------------------------------------------------------------------------------


@pytest.mark.real
def test_missing_seeds_stay_missing(nb201_table: Table) -> None:
    counts = {
        seed: int((~np.isnan(column(nb201_table, "cifar10", "valid", seed=seed))).sum()) for seed in (777, 888, 999)
    }
    assert counts == {777: 15_625, 888: 15_625, 999: 8_169}
    runs = {r: int((~np.isnan(column(nb201_table, "cifar10", "test", seed=r))).sum()) for r in ("run0", "run1", "run2")}
    assert runs == {"run0": 15_625, "run1": 13_400, "run2": 7_961}
    with pytest.raises(NotMeasured, match="8169 of 15625"):
        nb201_table.values(dataset="cifar10", split="valid", epochs=200, seed=999)
    for key in nb201_table.accuracy:
        if key.seed == "mean":
            assert not np.isnan(nb201_table.accuracy[key]).any(), key


@pytest.mark.real
def test_means_are_of_the_older_release(nb201_table: Table) -> None:
    """Where v1.1 had one run it was seed 888, and so on: the published mean is not always that of the seed columns."""
    seeds = np.array([column(nb201_table, "cifar10", "valid", seed=s) for s in (777, 888, 999)])
    mean = column(nb201_table, "cifar10", "valid")
    runs = nb201_table.metric("mean_runs", dataset="cifar10")
    for count, held, cells in ((1, [1], 2_225), (2, [0, 1], 5_439), (3, [0, 1, 2], 7_961)):
        those = runs == count
        assert int(those.sum()) == cells
        np.testing.assert_allclose(mean[those], seeds[held][:, those].mean(axis=0), atol=2e-5)
    assert (np.abs(np.nanmean(seeds, axis=0) - mean) > 1e-3).sum() > 2_000


@pytest.mark.real
def test_valtest_is_never_offered_as_valid_or_test(nb201_table: Table) -> None:
    for dataset in ("cifar100", "ImageNet16-120"):
        for split in ("valid", "test"):
            with pytest.raises(NotMeasured, match="unknown seed '777'"):
                nb201_table.values(dataset=dataset, split=split, epochs=200, seed=777)


@pytest.mark.real
def test_search_and_report_keys(nb201_table: Table) -> None:
    for dataset in DATASETS:
        assert nb201_table.search_key_for(dataset) == (dataset, "valid", 200, "mean")
        assert {r: k.split for r, k in nb201_table.report_keys_for(dataset).items()} == {
            "valid": "valid",
            "test": "test",
        }
    assert all(s.licence in ("Apache-2.0", "MIT") and "ICLR 2020" in s.citation for s in nb201_table.sources)
    assert all("TPAMI" in s.citation for s in nb201_table.sources)


# --- the build refuses ----------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path, shared_data: Path) -> Path:
    """A copy of the originals that may be damaged, without the optional files."""
    raw = tmp_path / "raw"
    raw.mkdir()
    for original in ORIGINALS:
        shutil.copyfile(shared_data / "raw" / original.file, raw / original.file)
    return raw


@pytest.mark.real
def test_without_the_optional_files_the_table_says_so(folder: Path, shared_data: Path, nb201_table: Table) -> None:
    table = nb201.build(folder)
    assert table.sha256 == ORIGINALS_SHA256
    with pytest.raises(NotMeasured, match=r"Known: 200 .*; 12-epoch numbers were not imported.*--from DIR"):
        table.values(dataset="cifar10", split="valid", epochs=12, seed="mean")
    with pytest.raises(NotMeasured, match=r"Known: synflow-mean .*; .*--from DIR.* nb201_zero_cost_proxies\.csv\.gz"):
        table.proxy("synflow", dataset="cifar10")
    assert table.proxies("cifar10") == ["synflow-mean"]
    shutil.copyfile(shared_data / TWELVE_EPOCHS.file, folder / TWELVE_EPOCHS.file)
    assert nb201.build(folder).sha256 == WITH_TWELVE_SHA256
    for original in (PROXIES, HARDWARE):  # one level up will do
        shutil.copyfile(shared_data / original.file, folder.parent / original.file)
    assert nb201.build(folder).sha256 == nb201_table.sha256


@pytest.mark.real
@pytest.mark.parametrize("original", [*ORIGINALS, *OPTIONAL], ids=lambda o: o.file)
def test_a_wrong_file_is_named_with_expected_and_found(folder: Path, shared_data: Path, original: Any) -> None:
    path = folder / original.file
    source = shared_data / ("raw" if original in ORIGINALS else "") / original.file
    good = source.read_bytes()
    path.write_bytes(good[:-10])
    with pytest.raises(TableError, match=f"{original.file}: expected {len(good)} bytes, found {len(good) - 10};"):
        nb201.build(folder)
    path.write_bytes(good[:500] + bytes([good[500] ^ 1]) + good[501:])
    with pytest.raises(TableError, match=f"{original.file}: expected sha256 {original.sha256}, found [0-9a-f]{{64}}"):
        nb201.build(folder)
    if original in ORIGINALS:
        path.unlink()
        with pytest.raises(TableError, match=f"{original.file}: cannot be read .*tables fetch nb201"):
            nb201.build(folder)


@pytest.mark.real
def test_originals_that_disagree_are_refused(shared_data: Path) -> None:
    """Behind the pinned hashes the content is checked too, so that a new original could not slip in unseen."""
    space = NB201()
    seeds = nb201._read_seeds((shared_data / "raw" / SEEDS.file).read_bytes(), space.size)
    means = nb201._read_csv(CIFAR10, (shared_data / "raw" / CIFAR10.file).read_bytes(), space)["valid"]
    runs = (~np.isnan(nb201._read_runs((shared_data / "raw" / "nb2_test_acc_cf10.p").read_bytes(), space))).sum(axis=0)
    nb201._check_means(means, seeds["cifar10-valid"], runs, tolerance=1e-6, what="x")
    for change in (means + 1e-3 * (np.arange(15_625) == 77), np.roll(means, 1)):
        with pytest.raises(TableError, match="of cell"):
            nb201._check_means(change, seeds["cifar10-valid"], runs, tolerance=1e-6, what="x")
    missing = np.where(np.arange(15_625) == 77, np.nan, seeds["cifar10-valid"])
    with pytest.raises(TableError, match="of cell 77"):
        nb201._check_means(means, missing, runs, tolerance=1e-6, what="x")


def test_segments_must_be_cells_of_two_or_three() -> None:
    starts, counts = nb201._segments(np.array([[1.0, 1, 2, 2, 2, 1, 1]]), 3)
    assert (starts.tolist(), counts.tolist()) == ([0, 2, 5], [2, 3, 2])
    for wrong in ([1.0, 1, 2], [1.0, 1, 1, 1, 2, 2], [1.0, 1]):
        with pytest.raises(TableError, match="expected 2 cells of 2 or 3 seeds"):
            nb201._segments(np.array([wrong]), 2)


def test_runs_must_cover_every_cell_once() -> None:
    space = NB201()
    rows: dict[Any, Any] = {tuple(a): [50.0] for a in space.all.tolist()}
    assert nb201._read_runs(pickle.dumps(rows, 3), space).shape == (3, 15_625)
    rows[tuple(space.at(5).tolist())] = [1.0] * 4
    with pytest.raises(TableError, match="has 4 runs"):
        nb201._read_runs(pickle.dumps(rows, 3), space)
    del rows[tuple(space.at(5).tolist())]
    with pytest.raises(TableError, match="cell 5 is missing"):
        nb201._read_runs(pickle.dumps(rows, 3), space)
    with pytest.raises(TableError, match="not a dictionary of run accuracies"):
        nb201._read_runs(pickle.dumps({(9,) * 6: [1.0]}, 3), space)
    with pytest.raises(TableError, match="not a dictionary of run accuracies"):
        nb201._read_runs(pickle.dumps([1], 3), space)
