"""`nasbench-sim tables ...`: what it prints for people and for machines, and how it refuses."""

from __future__ import annotations

import csv
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from nasbench_sim.cli.tables import app
from nasbench_sim.errors import RunError, SpecError, TableError, UserError
from nasbench_sim.tables import catalogue
from nasbench_sim.tables.table import Table
from tests.tables.helpers import MISSING, SEED, TEST, VALID, same, small_table

COMMANDS = ("list", "fetch", "import", "info", "verify", "export")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NASBENCH_SIM_HOME", str(tmp_path / "home"))


def run(*args: object) -> str:
    result = CliRunner().invoke(app, [str(a) for a in args])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception  # the main program turns a UserError into exit code 2
    assert result.exit_code == 0, result.output
    return result.stdout


def document(*args: object) -> Any:
    return json.loads(run(*args, "--json"))


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example(command: str) -> None:
    out = re.sub(r"\x1b\[[0-9;]*m", "", run(command, "--help"))
    assert f"nasbench-sim tables {command}" in " ".join(out.split())
    assert "Example" in out
    assert "--json" in out


def test_list() -> None:
    assert "nb201-analog (default)" in run("list")
    assert "tables fetch nb201" in run("list")
    catalogue.install(small_table("mine"))
    listed = document("list")
    assert listed["default"] == "nb201-analog"
    assert [t["name"] for t in listed["tables"]] == ["nb201-analog", "nb201-mini", "mine"]
    for table in listed["tables"][1:]:
        assert Path(table["path"]).stat().st_size == table["bytes"]


def test_info() -> None:
    catalogue.install(small_table("mine"))
    facts = document("info", "mine")
    rows = {(r["dataset"], r["split"], r["epochs"], r["seed"]): r for r in facts["accuracy"]}
    assert set(rows) == {VALID, TEST, SEED}
    assert rows[SEED]["measured"] == 15_624
    column = small_table().accuracy[VALID]
    assert rows[VALID]["best_index"] == int(np.argmax(column))
    assert np.float32(rows[VALID]["best"]) == column.max()
    assert facts["remark"] == "made up"
    assert facts["sources"][0]["licence"] == "none"
    out = run("info", "mine")
    for said in (facts["sha256"], "15,624", "made up", "made for a test", "params_m of cifar10", "never asked for"):
        assert said in out


def test_verify() -> None:
    path = catalogue.install(small_table("mine"))
    assert [t["ok"] for t in document("verify")] == [True, True, True]
    assert "mine: ok, 3 accuracy columns" in run("verify", "mine")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(TableError, match="is damaged"):
        run("verify", "mine")
    with pytest.raises(TableError, match="is damaged"):
        run("verify")


def test_export_and_import_h5(tmp_path: Path) -> None:
    catalogue.install(small_table("mine"))
    run("export", "mine", tmp_path / "out.h5")
    imported = document("import", "yours", "--h5", tmp_path / "out.h5")
    assert imported["sha256"] == catalogue.open_table("mine").sha256
    assert imported["name"] == "yours"


def test_export_and_import_csv_keep_every_bit(tmp_path: Path) -> None:
    table = small_table("mine")
    catalogue.install(table)
    run("export", "mine", tmp_path / "out.csv")
    with (tmp_path / "out.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 15_625
    assert rows[MISSING]["cifar10/valid/200/999"] == ""
    names = ["/".join(map(str, key)) for key in (VALID, TEST, SEED)]
    maps = [argument for name in names for argument in ("--map", f"{name}={name}")]
    others = ["--metric", "params_m/cifar10=params_m/cifar10", "--search", names[0], "--allow-missing"]
    run("import", "yours", "--csv", tmp_path / "out.csv", "--unit", "percent", *maps, *others)
    back = catalogue.open_table("yours")
    for key, column in table.accuracy.items():
        np.testing.assert_array_equal(back.accuracy[key], column)
    np.testing.assert_array_equal(back.metrics["params_m", "cifar10"], table.metrics["params_m", "cifar10"])


def with_proxies() -> Table:
    """Two proxies of other coverage, and a latency with holes."""
    table = small_table("mine")
    rng = np.random.default_rng(2)
    proxies = rng.lognormal(0, 5, (3, 15_625)).astype(np.float32)
    proxies[0, ::2] = proxies[1, ::5] = proxies[2, ::3] = np.nan
    names = ("proxy/synflow", "proxy/nwot", "latency_ms/edgetpu")
    return replace(table, metrics={**table.metrics, **{(n, "cifar10"): p for n, p in zip(names, proxies, strict=True)}})


def test_info_tells_the_tables_proxies_from_the_shipped_ones() -> None:
    catalogue.install(with_proxies())
    out = run("info", "mine").splitlines()
    assert [line for line in out if "synflow" in line] == [
        "proxies of cifar10: nwot (12,500 computed); synflow (7,812 computed)",
        "proxies of cifar10 that come with nasbench-sim, for every cell: synflow-mean",
    ]
    assert "costs: latency_ms/edgetpu, params_m of cifar10" in out
    counts = {m["metric"]: m["measured"] for m in document("info", "mine")["metrics"]}
    assert counts == {"params_m": 15_625, "proxy/nwot": 12_500, "proxy/synflow": 7_812, "latency_ms/edgetpu": 10_416}


def test_proxies_survive_csv(tmp_path: Path) -> None:
    table = with_proxies()
    catalogue.install(table)
    run("export", "mine", tmp_path / "out.csv")
    with (tmp_path / "out.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [rows[i]["proxy/synflow/cifar10"] == "" for i in range(3)] == [True, False, True]
    maps = [f"--map={'/'.join(map(str, k))}={'/'.join(map(str, k))}" for k in (VALID, TEST)]
    metrics = [f"--metric={m}/{d}={m}/{d}" for m, d in table.metrics]
    search = ["--search", "/".join(map(str, VALID))]
    run("import", "yours", "--csv", tmp_path / "out.csv", "--unit", "percent", *maps, *metrics, *search)
    back = catalogue.open_table("yours")
    assert set(back.metrics) == set(table.metrics)
    for key, column in table.metrics.items():
        np.testing.assert_array_equal(back.metrics[key], column)


def test_export_does_not_overwrite(tmp_path: Path) -> None:
    path = tmp_path / "out.h5"
    path.write_text("mine")
    with pytest.raises(RunError, match="exists; choose another file, or use --force"):
        run("export", "nb201-analog", path)
    assert path.read_text() == "mine"
    run("export", "nb201-analog", path, "--force")
    assert same(catalogue.open_table(path), catalogue.open_table("nb201-analog"))


@pytest.mark.parametrize(
    ("args", "error", "said"),
    [
        (["import", "mine"], SpecError, "one of --from DIR"),
        (["import", "mine", "--csv", "a.csv", "--from", "."], SpecError, "one of --from DIR"),
        (["import", "mine", "--from", "."], TableError, "holds no NATS-Bench files"),
        (["import", "mine", "--csv", "a.csv"], SpecError, "--unit is missing; say percent"),
        (["import", "mine", "--csv", "a.csv", "--unit", "per mille"], SpecError, "--unit is 'per mille'"),
        (["import", "mine", "--csv", "a.csv", "--unit", "percent", "--map", "x"], SpecError, "--map 'x'"),
        (["import", "mine", "--csv", "a.csv", "--unit", "percent", "--metric", "x"], SpecError, "--metric 'x'"),
        (
            ["import", "mine", "--csv", "a.csv", "--unit", "percent", "--map", "x=a/b/1/1", "--map", "x=a/b/1/2"],
            SpecError,
            "column 'x' is mapped twice",
        ),
        (["import", "Mine", "--csv", "a.csv", "--unit", "percent", "--map", "x=a/b/1/1"], TableError, "cannot name"),
        (
            ["import", "nb201", "--csv", "none.csv", "--unit", "percent", "--map", "x=a/b/1/1"],
            TableError,
            "the name nb201 is reserved",
        ),
        (["import", "nb201", "--from", "none"], TableError, "nasbench201_cifar10.csv"),
        (
            ["import", "mine", "--csv", "a.csv", "--unit", "percent", "--map", "x=a/b/1/1", "--space", "nb20"],
            UserError,
            "unknown search space 'nb20'",
        ),
        (["import", "mine", "--from", ".", "--map", "x=a/b/1/1"], SpecError, "--map is about the columns"),
        (["import", "nb201", "--from", ".", "--unit", "percent"], SpecError, "--unit is about the columns"),
        (["import", "mine", "--h5", "x.h5", "--search", "a"], SpecError, "--search is about the columns"),
        (["import", "mine", "--h5", "x.h5", "--space", "nb1shot1-1"], SpecError, "--space is about the columns"),
        (["import", "mine", "--from", ".", "--arch-column", "a"], SpecError, "--arch-column is about the columns"),
        (["import", "mine", "--h5", "x.h5", "--allow-missing"], SpecError, "--allow-missing is for --csv"),
        (["import", "nb101", "--from", ".", "--allow-missing"], SpecError, "--allow-missing is for --csv"),
        (
            ["import", "x", "--join", "nb201-analog", "--csv", "x.csv", "--unit", "ten", "--metric", "a=params_m/c"],
            SpecError,
            "--unit is 'ten'",
        ),
        (
            [
                "import",
                "x",
                "--join",
                "nb201-analog",
                "--csv",
                "x",
                "--space",
                "nb1shot1-1",
                "--metric",
                "a=params_m/c",
            ],
            SpecError,
            "--space nb1shot1-1 does not go with --join: table nb201-analog is of nb201",
        ),
        (["fetch", "nb201", "--host", "mirror.org"], SpecError, "--host 'mirror.org' is no web address"),
        (["fetch", "mine"], SpecError, "only nb201 and nb101 have public originals"),
        (["info", "none"], TableError, "unknown table 'none'"),
        (["export", "nb201-analog", "x.txt"], SpecError, "end the file name in .csv or .h5"),
    ],
)
def test_mistakes_are_one_line(args: list[str], error: type[UserError], said: str) -> None:
    with pytest.raises(error) as caught:
        run(*args)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.real
def test_fetch_builds_the_table(shared_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import nasbench_sim.cli.tables as module

    asked: list[dict[str, Any]] = []

    def from_disk(**options: Any) -> Path:
        asked.append(options)
        return shared_data / "raw"

    monkeypatch.setattr(module, "fetch_originals", from_disk)
    assert document("fetch", "nb201", "--host", "http://mirror")["name"] == "nb201"
    assert asked == [{"host": "http://mirror", "progress": None}]  # no progress bar in a pipe
    assert "is here already" in run("fetch", "nb201")
    assert len(asked) == 1
    assert "nb201 (default)" in run("list")
