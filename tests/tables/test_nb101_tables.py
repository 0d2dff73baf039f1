"""The three NAS-Bench-1Shot1 tables: joined by hash, kept, opened, told about, fetched."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nasbench_sim.errors import NotMeasured, RunError, TableError
from nasbench_sim.spaces import NB1Shot1, get_space
from nasbench_sim.spaces.nb101 import prune
from nasbench_sim.spaces.nb101_batch import rows_of
from nasbench_sim.tables import catalogue, nb1shot1
from nasbench_sim.tables.evaluation import evaluation_seconds, fidelities
from nasbench_sim.tables.module_codes import modules_of
from nasbench_sim.tables.modules import ModuleTable, read_modules, verify_modules
from nasbench_sim.tables.nb101 import read_nb101
from nasbench_sim.tables.nb101_costs import parameters
from nasbench_sim.tables.nb101_sources import SAMPLE
from nasbench_sim.tables.store import read_table, write_table
from nasbench_sim.tables.table import Key
from tests.cli.helpers import call, document, good
from tests.tables.test_fetch import Server, server  # noqa: F401  (a fixture)
from tests.tables.test_nb101_fetch import published
from tests.tables.tfrecords import LINE, runs_of, write_tfrecord

VALID = Key("cifar10", "valid", 108, "mean")
SPACE = get_space("nb1shot1-1")
assert isinstance(SPACE, NB1Shot1)
CELLS = [0, 7, 4321, 14_579]  # architectures of space 1 whose modules are in the file
MODULES = [prune(*SPACE.module(SPACE.at(i))) for i in CELLS]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("NASBENCH_SIM_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(nb1shot1, "NAMES", ("nb1shot1-1",))  # space 3 has 95 MB; the real sample tests all three
    return tmp_path / "home"


def bad(*args: object) -> str:
    """Standard error of a call that is the user's mistake: one line, exit code 2."""
    result = call(*args)
    assert result.code == 2, (result.out, result.err)
    assert result.err.count("\n") == 1
    return result.err


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return write_tfrecord(tmp_path / "some.tfrecord", runs_of(MODULES, (12, 108))[0])


@pytest.fixture
def modules(file: Path) -> ModuleTable:
    return read_nb101(file)


def test_every_architecture_has_the_numbers_of_its_module(modules: ModuleTable) -> None:
    """One by one, by the module's own hash, against the join of all at once."""
    table = nb1shot1.build(modules, "nb1shot1-1")
    names = {name.decode(): row for row, name in enumerate(modules.hashes)}
    for epochs in (12, 108):
        for split in ("train", "valid", "test"):
            for run in ("run0", "run1", "run2", "mean"):
                key: Any = {"epochs": epochs, "split": split}
                column = table.values(dataset="cifar10", seed=run, missing="nan", **key)
                theirs = modules.values(run=run, when="final", **key)
                for i in range(0, SPACE.size, 97):
                    row = names.get(SPACE.hashes[i].decode())
                    assert np.array_equal(column[i], np.nan if row is None else theirs[row], equal_nan=True)
                for i in CELLS:
                    module = SPACE.module(SPACE.at(i))
                    assert table.query(i, dataset="cifar10", seed=run, **key) == modules.query(
                        *module, run=run, when="final", **key
                    )
    assert table.search_key == VALID
    assert table.report_keys == {"valid": VALID, "test": VALID._replace(split="test")}
    seconds = table.metric("train_time_s", dataset="cifar10", missing="nan")
    assert seconds[CELLS[1]] == modules.query_seconds(
        *SPACE.module(SPACE.at(CELLS[1])), epochs=108, run="mean", when="final"
    )


def test_costs_of_what_was_never_trained(modules: ModuleTable) -> None:
    table = nb1shot1.build(modules, "nb1shot1-1")
    measured = table.measured(**VALID._asdict())
    assert measured[CELLS].all() and 4 <= measured.sum() < SPACE.size / 10
    assert np.array_equal(measured, np.isin(SPACE.hashes, modules.hashes))
    params = table.metric("params_m", dataset="cifar10")
    assert params[CELLS].tolist() == [1.0, 2.0, 3.0, 4.0]  # the file's; of the others by formula
    assert 0.2 < params[~measured].min() < params[~measured].max() < 60
    for metric in ("train_time_s", "mean_runs"):
        column = table.metric(metric, dataset="cifar10", missing="nan")
        assert np.array_equal(~np.isnan(column), measured)
    assert set(table.metric("mean_runs", dataset="cifar10", missing="nan")[measured].tolist()) == {3.0}


def test_fewer_runs_behind_a_mean(tmp_path: Path) -> None:
    path = write_tfrecord(tmp_path / "x.tfrecord", runs_of(MODULES[:1], repeats=2)[0])
    table = nb1shot1.build(read_nb101(path), "nb1shot1-1")
    assert table.metric("mean_runs", dataset="cifar10", missing="nan")[0] == 2
    assert [k.seed for k in sorted(table.accuracy, key=str) if k.split == "valid"] == ["mean", "run0", "run1"]


def test_a_hole_where_something_was_measured_is_refused(modules: ModuleTable, tmp_path: Path) -> None:
    table = nb1shot1.build(modules, "nb1shot1-1")
    seconds = table.metrics["train_time_s", "cifar10"].copy()
    seconds[CELLS[0]] = np.nan
    table.metrics["train_time_s", "cifar10"] = seconds  # type: ignore[index]
    with pytest.raises(TableError, match="row 0 holds nan, but an accuracy of it was measured"):
        write_table(table, tmp_path / "x.h5")


def test_partial_tables_are_refused_in_one_line(modules: ModuleTable) -> None:
    table = nb1shot1.build(modules, "nb1shot1-1")
    measured = int(table.measured(**VALID._asdict()).sum())
    assert f"{measured} of its 14,580 architectures were measured" in table.remark
    for ask in (
        lambda: table.values(**VALID._asdict()),
        lambda: evaluation_seconds(table, "cifar10", 12),
        lambda: fidelities(table, "cifar10"),
    ):
        with pytest.raises(NotMeasured) as caught:
            ask()
        assert "\n" not in str(caught.value)
        assert "14580 architectures" in str(caught.value)
        assert str(caught.value).endswith("`nasbench-sim tables complete nb1shot1-1` makes, flagged as predicted")
    with pytest.raises(NotMeasured, match="was not measured for 1"):
        table.query(1, **VALID._asdict())


def test_a_file_without_modules_of_a_space(tmp_path: Path) -> None:
    modules = read_nb101(write_tfrecord(tmp_path / "x.tfrecord", runs_of([LINE])[0]))
    # input -> output alone is in none of the three: their output has two or three parents
    with pytest.raises(TableError, match="none of its 2685 modules is among the 1 of table nb101"):
        nb1shot1.build(modules, "nb1shot1-1")
    assert list(catalogue.install_nb101(modules)) == ["nb101"]


def test_parameters_of_small_networks() -> None:
    """Counted by hand: input -> output is nine projections; a lone conv3x3 adds nine of 9 c^2 + 2 c."""
    base = 27 * 128 + 256 + 5130
    channels = [(128, 128)] * 3 + [(128, 256)] + [(256, 256)] * 2 + [(256, 512)] + [(512, 512)] * 2
    projections = sum(a * b + 2 * b for a, b in channels)
    line = np.array([[[0, 1], [0, 0]]], dtype=np.int8), np.array([[-1, -2]], dtype=np.int8)
    assert parameters(*line).tolist() == [base + projections]
    chain = np.eye(3, k=1, dtype=np.int8)[None]
    for op, kernel in ((0, 9), (1, 1), (2, 0)):
        extra = sum(kernel * b * b + 2 * b for _, b in channels) if kernel else 0
        assert parameters(chain, np.array([[-1, op, -2]], dtype=np.int8)).tolist() == [base + projections + extra]
    # three vertices share 128 channels as 43, 43, 42 (and 86, 85, 85; 171, 171, 170)
    fan = np.zeros((1, 5, 5), dtype=np.int8)
    fan[0, 0, 1:4] = fan[0, 1:4, 4] = 1
    shares = {128: (43, 43, 42), 256: (86, 85, 85), 512: (171, 171, 170)}
    inner = sum(a * c + 2 * c for a, b in channels for c in shares[b])
    assert parameters(fan, np.array([[-1, 2, 2, 2, -2]], dtype=np.int8)).tolist() == [base + inner]


# --- kept, opened, told about ---------------------------------------------------------------------------------------


def test_what_is_installed(modules: ModuleTable, home: Path) -> None:
    files = catalogue.install_nb101(modules)
    assert set(files) >= {"nb101", "nb1shot1-1"}
    assert files["nb101"] == home / "tables" / "nb101.safetensors" == catalogue.modules_path()
    assert catalogue.open_modules().sha256 == read_modules(files["nb101"]).sha256
    table = catalogue.open_table("nb1shot1-1")
    assert table.sha256 == nb1shot1.build(modules, "nb1shot1-1").sha256
    before = {path: path.stat().st_mtime_ns for path in files.values()}
    assert catalogue.install_nb101(modules) == files  # the same again is left alone
    assert {path: path.stat().st_mtime_ns for path in files.values()} == before


def test_other_content_is_not_replaced_unasked(modules: ModuleTable, tmp_path: Path) -> None:
    files = catalogue.install_nb101(modules)
    other = read_nb101(write_tfrecord(tmp_path / "y.tfrecord", runs_of(MODULES[1:2])[0]))
    content = {path: path.read_bytes() for path in files.values()}
    with pytest.raises(TableError, match="a table nb1shot1-1 with other content exists"):
        catalogue.install_nb101(other)
    assert {path: path.read_bytes() for path in files.values()} == content
    for name in set(files) - {"nb101"}:
        files[name].unlink()
    with pytest.raises(TableError, match="a table nb101 with other content exists"):
        catalogue.install_nb101(other)
    assert catalogue.install_nb101(other, force=True)
    assert catalogue.open_modules().size == 1


def test_where_nb101_is_its_tables_are(modules: ModuleTable, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`tables fetch nb101` believes that all is there where nb101 is, so an import that ends early leaves no nb101."""

    def full(*args: Any) -> Any:
        raise RunError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(catalogue, "_keep", full)
        with pytest.raises(RunError):
            catalogue.install_nb101(modules)
    assert not catalogue.modules_path().exists()
    assert set(catalogue.install_nb101(modules)) >= {"nb101", "nb1shot1-1"}


def test_names_that_are_reserved() -> None:
    for name in ("nb101", "nb1shot1-1", "nb1shot1-2", "nb1shot1-3"):
        with pytest.raises(TableError, match="is reserved"):
            catalogue.check_name(name)
    with pytest.raises(TableError, match=r"names that end in \+regressor"):
        catalogue.check_name("mine+regressor")
    for name in ("nb101", "nb1shot1-1"):
        with pytest.raises(TableError, match="nb101"):
            catalogue.open_table(name)
    with pytest.raises(TableError, match="`nasbench-sim tables fetch nb101` downloads"):
        catalogue.open_modules()


def test_the_commands(file: Path, tmp_path: Path) -> None:
    said = good("tables", "import", "nb101", "--from", file)
    assert "nb101: 4 of 423,624 modules, imported and checked" in said
    assert "nb1shot1-1: made from it" in said and "is partial" in said
    assert "nb101" in good("tables", "list") and "nb1shot1-1" in good("tables", "list")
    listed = {t["name"]: t for t in document("tables", "list")["tables"]}
    assert listed["nb101"]["bytes"] == catalogue.modules_path().stat().st_size
    info = document("tables", "info", "nb101")
    assert (info["modules"], len(info["accuracy"])) == (4, 12)
    assert {row["measured"] for row in info["accuracy"]} == {4}
    assert "4 of 423,624 modules" in good("tables", "info", "nb101")
    assert "is partial" in good("tables", "info", "nb1shot1-1")
    assert {t["name"] for t in document("tables", "verify")} >= {"nb101", "nb1shot1-1"}
    assert "nb101: ok, 4 modules" in good("tables", "verify", "nb101")
    assert "is here already, with 12, 108 epochs" in good("tables", "fetch", "nb101")
    for name in ("x.csv", "x.safetensors"):
        good("tables", "export", "nb101", tmp_path / name)
        assert "exists" in bad("tables", "export", "nb101", tmp_path / name)
        again = read_nb101(tmp_path / name)
        verify_modules(again)
        assert np.array_equal(again.hashes, catalogue.open_modules().hashes)
    assert "end the file name in .csv or .safetensors" in bad("tables", "export", "nb101", tmp_path / "x.h5")


def test_a_damaged_table_of_modules_is_told(file: Path) -> None:
    good("tables", "import", "nb101", "--from", file)
    path = catalogue.modules_path()
    path.write_bytes(path.read_bytes()[:-1] + b"\x00")
    assert "hashes does not fit its sha256" in bad("tables", "verify", "nb101")
    good("tables", "import", "nb101", "--from", file)  # the same content, so it is mended
    good("tables", "verify", "nb101")


def test_a_partial_table_as_csv(file: Path, tmp_path: Path) -> None:
    good("tables", "import", "nb101", "--from", file)
    good("tables", "export", "nb1shot1-1", tmp_path / "x.csv")
    table = catalogue.open_table("nb1shot1-1")
    with (tmp_path / "x.csv").open(newline="") as text:
        rows = list(csv.DictReader(text))
    assert len(rows) == SPACE.size
    for i in (0, 1, 7, 14_579):
        cell = rows[i]["cifar10/valid/108/mean"]
        assert rows[i]["arch"] == SPACE.format(SPACE.at(i))
        assert cell == ("" if i == 1 else str(table.accuracy[VALID][i]))


def test_a_large_space_is_queried_without_a_list_of_its_strings(
    modules: ModuleTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As nb1shot1-3 is, whose 1.3 million strings would take 20 s: one arch string, index or vector at a time."""
    monkeypatch.setattr("nasbench_sim.tables.table._PREPARED", 100)
    table = nb1shot1.build(modules, "nb1shot1-1")
    arch = SPACE.at(4321)
    key = VALID._asdict()
    assert table.query(4321, **key) == table.query(arch, **key) == table.query(SPACE.format(arch), **key)
    assert table.query(4321, **key) == float(str(table.accuracy[VALID][4321]))
    assert "index_of" not in vars(table)
    with pytest.raises(NotMeasured):
        table.query(1, **key)


def test_fetch_makes_the_tables(
    server: Server,  # noqa: F811
    file: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server.content = file.read_bytes()
    for full, original in ((False, "ONLY_108"), (True, "FULL")):
        one = published(1000, server.content)._replace(file=f"{original}.tfrecord", size=len(server.content))
        monkeypatch.setattr(f"nasbench_sim.cli.module_tables.{original}", one)
        options = ["--full"] if full else []
        said = document("tables", "fetch", "nb101", "--host", f"{server.url}/owner/repo", "--force", *options)
        assert said["modules"] == 4 and "nb1shot1-1" in said["files"]
        assert server.requests[-1][0] == f"/owner/repo/nasbench/{original}.tfrecord"
    assert "--full is for nb101" in bad("tables", "fetch", "nb201", "--full")
    assert "cannot fetch 'x'" in bad("tables", "fetch", "x")


# --- the sample of the real benchmark -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def sample(shared_data: Path) -> ModuleTable:
    """151,644 real modules; 15 s, nearly half of it their hashes."""
    return read_nb101(shared_data / "nb101_sample_108ep.csv.gz")


@pytest.mark.real
@pytest.mark.slow
def test_the_sample(sample: ModuleTable, tmp_path: Path) -> None:
    assert sample.sources == (SAMPLE,)
    assert (sample.size, sample.budgets) == (151_644, (108,))
    assert np.array_equal(parameters(*modules_of(sample.codes)), sample.params)
    key: Any = {"epochs": 108, "when": "final"}
    mean = sample.fractions(run="mean", split="valid", **key)
    assert (round(float(mean.mean()), 4), round(float(np.median(mean)), 4)) == (0.9037, 0.9132)
    assert round(float(mean.max()), 4) == 0.9506
    assert round(float(sample.fractions(run="mean", split="test", **key)[np.argmax(mean)]), 4) == 0.9423
    for split in ("train", "valid", "test"):  # 39 batches of 256 images
        images = sample.fractions(run="run0", split=split, **key).astype(np.float64) * 9984
        assert np.abs(images - np.round(images)).max() < 1e-3


@pytest.mark.real
@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "modules", "architectures", "valid", "test", "mean"),
    [
        ("nb1shot1-1", 802, 5_786, 0.049780, 0.056090, 0.0600),
        ("nb1shot1-2", 3_212, 12_400, 0.051583, 0.057592, 0.0609),
        ("nb1shot1-3", 16_452, 472_115, 0.050581, 0.055689, 0.0582),
    ],
)
def test_the_tables_of_the_sample(
    sample: ModuleTable,
    tmp_path: Path,
    name: str,
    modules: int,
    architectures: int,
    valid: float,
    test: float,
    mean: float,
) -> None:
    """Coverage, and the least error of a single run: for space 2 the published optimum, which the sample has."""
    table = nb1shot1.build(sample, name)
    assert table.extra["notes"][0].startswith(f"{modules:,} of the ")
    assert int(table.measured(**VALID._asdict()).sum()) == architectures
    space = table.space
    assert isinstance(space, NB1Shot1)
    rows = rows_of(space.unique_hashes, sample.hashes)
    said, ours = sample.params[rows[rows >= 0]], parameters(*modules_of(nb1shot1.class_modules(space)[rows >= 0]))
    assert int((said != ours).sum()) == (396 if name == "nb1shot1-2" else 0)  # the order of the vertices, by 0.9 %
    assert np.abs(ours / said - 1).max() < (0.0095 if name == "nb1shot1-2" else 1e-9)
    for split, least in (("valid", valid), ("test", test)):
        runs = [table.accuracy[VALID._replace(split=split, seed=f"run{r}")] for r in range(3)]  # type: ignore[arg-type]
        # in images, of 9,984: the published errors have six digits
        assert round(9984 * (1 - float(np.nanmax(runs)) / 100)) == round(9984 * least)
    assert round(1 - float(np.nanmax(table.accuracy[VALID._replace(split="test")])) / 100, 4) == mean
    write_table(table, tmp_path / "x.h5")
    assert read_table(tmp_path / "x.h5").sha256 == table.sha256
    shutil.rmtree(tmp_path)


def test_json_of_the_import(file: Path) -> None:
    said = document("tables", "import", "nb101", "--from", file)
    assert said["epochs"] == [12, 108] and json.dumps(said)
    assert "holds none of" in bad("tables", "import", "nb101", "--from", file.parent / "home")
