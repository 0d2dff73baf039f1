"""From official files to a table with learning curves: what it says, what it refuses, and the commands for it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from nasbench_sim.cli.tables import app
from nasbench_sim.errors import NotMeasured, SpecError, TableError
from nasbench_sim.tables import Key, Table, catalogue, open_table
from nasbench_sim.tables.curves import curves_path, open_curves
from nasbench_sim.tables.nats import LATENCY, import_official
from nasbench_sim.tables.nb201_costs import costs
from tests.tables.nats_factory import FOLDER, SPACE, architecture, nb201_object, packed, write_folder, write_tar
from tests.tables.test_nats_pth import old


def only(results: dict[str, Any], datasets: tuple[str, ...], seed: int) -> dict[str, Any]:
    """Results with fewer runs."""
    kept = {(d, seed): results["all_results"][d, seed] for d in datasets}
    return {**results, "dataset_seed": {d: [seed] for d in datasets}, "all_results": kept}


CELLS = {cell: architecture(cell, seeds=(777, 888) if cell == 5 else (777, 888, 999)) for cell in (0, 5, 15_624)}


# curves take 12.5 MB a series whatever the number of cells, so most tests use one seed and two data sets: 100 MB
SMALL = {cell: {"200": only(CELLS[cell]["200"], ("cifar10-valid", "cifar10"), 777)} for cell in CELLS}


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("NASBENCH_SIM_HOME", str(tmp_path / "home"))
    yield tmp_path / "home"
    shutil.rmtree(tmp_path / "home", ignore_errors=True)


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Table]:
    """All runs of three cells."""
    home = tmp_path_factory.mktemp("imported")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NASBENCH_SIM_HOME", str(home))
        yield open_table(import_official(write_folder(home / FOLDER, CELLS), "nats-tss", allow_missing=True))
    shutil.rmtree(home)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(tmp_path_factory.mktemp("official") / FOLDER, SMALL)


def run(*args: object) -> str:
    result = CliRunner().invoke(app, [str(a) for a in args])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.stdout


def finals(cell: int, hp: str, dataset: str, field: str, key: Any) -> list[float]:
    runs = CELLS[cell][hp]["all_results"]
    return [run[field][key] for (d, _), run in runs.items() if d == dataset]


def test_the_table_holds_what_runs_reached_at_their_end(imported: Table) -> None:
    table = imported
    for cell in CELLS:
        for key, hp, dataset, field, name in (
            (Key("cifar10", "valid", 200, "mean"), "200", "cifar10-valid", "eval_acc1es", "x-valid@199"),
            (Key("cifar10", "test", 200, "mean"), "200", "cifar10", "eval_acc1es", "ori-test@199"),
            (Key("cifar10", "train", 200, "mean"), "200", "cifar10", "train_acc1es", 199),
            (Key("cifar10-valid", "test", 200, "mean"), "200", "cifar10-valid", "eval_acc1es", "ori-test@199"),
            (Key("cifar10-valid", "valid", 12, "mean"), "12", "cifar10-valid", "eval_acc1es", "x-valid@11"),
            (Key("cifar100", "valtest", 200, "mean"), "200", "cifar100", "eval_acc1es", "ori-test@199"),
            (Key("cifar100", "test", 12, 111), "12", "cifar100", "eval_acc1es", "x-test@11"),
            (Key("ImageNet16-120", "valid", 200, "mean"), "200", "ImageNet16-120", "eval_acc1es", "x-valid@199"),
        ):
            runs = np.array(finals(cell, hp, dataset, field, name)).astype(np.float32)
            expected = runs.astype(np.float64).mean().astype(np.float32)
            assert table.accuracy[key][cell] == expected, key
        assert table.metrics["mean_runs", "cifar100"][cell] == (2 if cell == 5 else 3)
        seconds = np.mean([r[0] for r in finals_of(cell, "cifar10-valid", "train_times")]) * 200
        for dataset in ("cifar10", "cifar10-valid"):
            assert table.metrics["train_time_s", dataset][cell] == np.float32(seconds)
        latency = np.mean([r[0] for r in finals_of(cell, "cifar100", "latency")]) * 1e3
        assert table.metrics[LATENCY, "cifar100"][cell] == pytest.approx(latency, rel=1e-7)
    assert table.search_key == Key("cifar10", "valid", 200, "mean")
    assert dict(table.report_keys) == {s: Key("cifar10", s, 200, "mean") for s in ("valid", "test")}
    for name, values in costs(SPACE, "cifar100").items():  # not what the files state: see D-X-Y/NATS-Bench#36
        np.testing.assert_array_equal(table.metrics[name, "cifar100"], values)
    assert np.isnan(table.accuracy[Key("cifar10", "valid", 200, 999)][5])
    assert not np.isnan(table.accuracy[Key("cifar10", "valid", 200, 888)][5])
    for absent in (
        ("cifar10", "valtest", 200, "mean"),
        ("cifar100", "test", 12, 777),
        ("cifar10", "valid", 100, "mean"),
    ):
        with pytest.raises(NotMeasured):
            table.values(**Key(*absent)._asdict(), missing="nan")  # type: ignore[arg-type]


def as_nb201(cells: dict[int, Any]) -> dict[str, Any]:
    """A .pth file may lack the runs of 12 epochs."""
    whole = {
        cell: {"200": a["200"], "12": {**a["200"], "dataset_seed": {}, "all_results": {}}} for cell, a in cells.items()
    }
    return nb201_object(whole)


def finals_of(cell: int, dataset: str, field: str) -> list[Any]:
    runs = CELLS[cell]["200"]["all_results"]
    return [run[field] for (d, _), run in runs.items() if d == dataset]


def test_what_was_not_imported_is_a_hole_and_the_table_says_so(imported: Table) -> None:
    table = imported
    measured = [0, 5, 15_624]
    for key, column in table.accuracy.items():
        assert set(np.flatnonzero(~np.isnan(column))) <= set(measured), key
    for name in ("train_time_s", "mean_runs", LATENCY):
        assert np.flatnonzero(~np.isnan(table.metrics[name, "cifar10"])).tolist() == measured
    assert table.remark == "only 3 of 15625 architectures were imported"


def test_folder_archive_and_pth_say_the_same(folder: Path, tmp_path: Path) -> None:
    members = [(f"{FOLDER}/{p.name}", p.read_bytes()) for p in sorted(folder.iterdir(), reverse=True)]
    (tmp_path / "x.pth").write_bytes(old(as_nb201(SMALL)))
    sources = {"a": folder, "b": write_tar(tmp_path / "x.tar", members), "c": tmp_path / "x.pth"}
    planes = []
    for name, source in sources.items():
        import_official(source, name, allow_missing=True, workers=2)
        planes.append(open_curves(open_table(name))._file.manifest.planes)
        assert open_table(name).sources[0].name == source.name
    assert planes[0] == planes[1] == planes[2]


def test_proxies_and_hardware_costs_beside_the_source_are_added(
    folder: Path, shared_data: Path, tmp_path: Path
) -> None:
    target = write_folder(tmp_path / "with" / FOLDER, SMALL)
    for file, place in (("nb201_zero_cost_proxies", target), ("nb201_hw_metrics", target.parent)):
        (place / f"{file}.csv.gz").write_bytes((shared_data / f"{file}.csv.gz").read_bytes())
    import_official(target, "nats-tss", allow_missing=True)
    table = open_table("nats-tss")
    assert "synflow" in table.proxies("cifar10")
    assert table.metric("latency_ms/edgegpu", dataset="cifar100").min() > 0
    assert len(table.sources) == 3
    assert any("zero-cost proxies exist for the 9,445 cells" in note for note in table.extra["notes"])
    with pytest.raises(NotMeasured, match="never on cifar100"):
        table.proxy("synflow", dataset="cifar100")


def test_an_incomplete_source_needs_a_word(folder: Path, home: Path) -> None:
    with pytest.raises(
        TableError, match=r"holds 3 of 15625 architectures, the first one missing is 1; .*--allow-missing"
    ):
        import_official(folder, "nats-tss")
    assert list(home.rglob("*nats*")) == []


def test_names_are_checked_before_anything_is_read(tmp_path: Path) -> None:
    nothing = tmp_path / "nothing"
    with pytest.raises(TableError, match="cannot name a table"):
        import_official(nothing, "NATS")
    with pytest.raises(TableError, match="the name nb201 is reserved"):
        import_official(nothing, "nb201")


def test_what_was_there_stays_where_an_import_fails(folder: Path, tmp_path: Path) -> None:
    import_official(folder, "nats-tss", allow_missing=True)
    before = [catalogue.table_path("nats-tss").read_bytes(), curves_path("nats-tss").read_bytes()]
    with pytest.raises(TableError, match=r"a table nats-tss exists .*--force"):
        import_official(folder, "nats-tss", allow_missing=True)
    bad = write_folder(tmp_path / "bad", {**SMALL, 7: packed({"200": 1})})
    with pytest.raises(TableError, match="results is int"):
        import_official(bad, "nats-tss", allow_missing=True, force=True)
    assert before == [catalogue.table_path("nats-tss").read_bytes(), curves_path("nats-tss").read_bytes()]
    assert sorted(p.suffix for p in curves_path("nats-tss").parent.iterdir()) == [".h5", ".safetensors"]
    import_official(write_folder(tmp_path / "one", {0: SMALL[0]}), "nats-tss", allow_missing=True, force=True)
    assert open_curves(open_table("nats-tss")).sha256 == open_table("nats-tss").extra["curves"]


def test_a_source_without_the_runs_of_a_search_is_refused(tmp_path: Path) -> None:
    short = {0: {"12": CELLS[0]["12"]}}
    with pytest.raises(TableError, match="its source has no cifar10/valid/200 epochs/seed mean"):
        import_official(write_folder(tmp_path / "x", short), "nats-tss", allow_missing=True)


# --- commands -------------------------------------------------------------------------------------------------------


def test_import_info_and_verify(folder: Path) -> None:
    with pytest.raises(TableError, match="--allow-missing"):
        run("import", "nats-tss", "--from", folder)
    said = json.loads(run("import", "nats-tss", "--from", folder, "--allow-missing", "--json"))
    assert said["name"] == "nats-tss"
    assert str(curves_path("nats-tss")) in run("info", "nats-tss")
    checked = json.loads(run("verify", "nats-tss", "--json"))[0]
    assert checked["curve_arrays"] == len(open_curves("nats-tss")._file.planes) == 29
    assert "29 arrays of learning curves" in run("verify", "nats-tss")
    with curves_path("nats-tss").open("r+b") as file:
        file.seek(-100, 2)
        file.write(b"x")
    open_curves("nats-tss")
    with pytest.raises(TableError, match="is damaged"):
        run("verify", "nats-tss")
    run("export", "nats-tss", folder.parent / "copy.h5", "--force")
    run("import", "alone", "--h5", folder.parent / "copy.h5")
    assert json.loads(run("verify", "alone", "--json"))[0]["curve_arrays"] == 0


def test_join_puts_columns_beside_those_of_a_table(tmp_path: Path) -> None:
    file = tmp_path / "more.csv"
    lines = [f"{SPACE.strings[i]},{i % 90},{i / 7}" for i in range(0, 15_625, 2)]
    file.write_text("\n".join(["arch,super,score", *lines]))
    common = ("--csv", file, "--join", "nb201-analog", "--allow-missing")
    run("import", "mine", *common, "--unit", "percent", "--map", "super=cifar10/one-shot/600/single",
        "--metric", "score=proxy/mine/cifar10")  # fmt: skip
    table, base = open_table("mine"), open_table("nb201-analog")
    column = table.values(dataset="cifar10", split="one-shot", epochs=600, seed="single", missing="nan")
    np.testing.assert_array_equal(column[::2], np.arange(0, 15_625, 2) % 90)
    assert np.isnan(column[1::2]).all()
    assert table.proxies("cifar10") == sorted([*base.proxies("cifar10"), "mine"])
    assert (table.search_key, table.report_keys, table.remark) == (base.search_key, base.report_keys, base.remark)
    for key, values in base.accuracy.items():
        np.testing.assert_array_equal(table.accuracy[key], values)
    assert [s.name for s in table.sources] == [*(s.name for s in base.sources), "more.csv"]
    run("import", "scores", *common, "--metric", "score=proxy/mine/cifar10")  # metrics have no unit
    assert open_table("scores").accuracy.keys() == base.accuracy.keys()


@pytest.mark.parametrize(
    ("said", "args"),
    [
        ("--join is about the columns of a --csv or --parquet file", ["--from", "."]),
        ("no column is mapped", ["--csv", "x.csv"]),
        ("--unit is missing", ["--csv", "x.csv", "--map", "a=cifar10/b/1/1"]),
        ("--search does not go with --join", ["--csv", "x.csv", "--metric", "a=proxy/a/cifar10", "--search", "a"]),
        ("cannot be read", ["--csv", "x.csv", "--metric", "a=proxy/a/cifar10"]),
    ],
)
def test_join_refuses_in_one_line(said: str, args: list[str]) -> None:
    with pytest.raises((SpecError, TableError)) as caught:
        run("import", "mine", "--join", "nb201-analog", *args)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_join_refuses_a_column_that_is_there(tmp_path: Path) -> None:
    key = open_table("nb201-analog").search_key
    file = tmp_path / "x.csv"
    file.write_text("\n".join(["arch,a", *(f"{s},50" for s in SPACE.strings)]))
    where = "/".join(map(str, key))
    with pytest.raises(TableError, match=f"nb201-analog has {key} already"):
        run("import", "mine", "--join", "nb201-analog", "--csv", file, "--unit", "percent", "--map", f"a={where}")


@pytest.mark.real
def test_the_one_shot_supernet_joins_by_architecture(nb201_table: Any, shared_data: Path, home: Path) -> None:
    """Kendall .485 and Spearman .677 with the stand-alone accuracy, and the supernet's choice is no good cell."""
    from scipy.stats import kendalltau, spearmanr

    catalogue._keep(nb201_table, force=True)
    file = shared_data / "nb201_oneshot_supernet_c10.csv.gz"
    run("import", "super", "--join", "nb201", "--csv", file, "--unit", "percent",
        "--map", "oneshot_acc=cifar10/one-shot/600/single")  # fmt: skip
    table = open_table("super")
    one_shot = table.values(dataset="cifar10", split="one-shot", epochs=600, seed="single")
    test = table.values(dataset="cifar10", split="test", epochs=200, seed="mean")
    assert kendalltau(one_shot, test).statistic == pytest.approx(0.485, abs=0.003)
    assert spearmanr(one_shot, test).statistic == pytest.approx(0.677, abs=0.003)
    assert one_shot.max() == pytest.approx(81.82, abs=0.01)
    assert test[one_shot.argmax()] == pytest.approx(91.01, abs=0.1)
