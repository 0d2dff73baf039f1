"""`nasbench-sim pareto`: the numbers are the table's, files only where asked for, every slip one line."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nasbench_sim as nb
from nasbench_sim.reporting.pareto import trade_off
from nasbench_sim.runs import Run
from nasbench_sim.runs.spec import make_spec
from tests.cli.helpers import REMARK, call, document, good, refused

TABLE = nb.open_table("nb201-analog")
PLANE = trade_off(TABLE, "cifar10", ["params_m"])


def trained(folder: Path, cells: list[list[int]], **fields: Any) -> Path:
    """The record of a black-box search that trained these official indices, saved."""
    at = np.array(cells)
    archs = TABLE.space.at(at)
    spec = make_spec(
        method="nsga2", table=TABLE.name, dataset="cifar10", landscape="evaluations", seeds=len(cells), epochs=1
    )
    valid = TABLE.accuracy[PLANE.key][at]
    about: dict[str, Any] = {"name": TABLE.name, "sha256": TABLE.sha256, "report_keys": {}, "remark": "", "best": {}}
    run = Run(
        spec=spec,
        table={**about, **fields},
        seeds=np.arange(len(cells)),
        archs=archs[:, -1],
        history={"loss": np.zeros((len(cells), 1)), "skip_ratio": np.zeros((len(cells), 1)), "archs": archs[:, -1:]},
        final_state={
            "evaluated_archs": archs.astype(np.int8),
            "evaluated_epochs": np.full(at.shape, -1),
            "evaluated_valid": valid.astype(np.float32),
        },
    )
    return run.save(folder)


def test_shares_of_the_tables_front(finished: Path, tmp_path: Path) -> None:
    cells = [[1, 9930, 1462, 77], [5, 5, 6, 1835]]
    search = trained(tmp_path / "nsga2", cells)
    told = document("pareto", finished / "darts", search, "--metric", "params_m")
    assert told["front"]["indices"] == PLANE.front.tolist() and told["front"]["cells"] == len(PLANE.front)
    assert told["front"]["hypervolume"] == pytest.approx(PLANE.whole)
    assert told["reference"] == [10.0, pytest.approx(1.531546, abs=1e-6)]
    assert told["remark"] == TABLE.remark and told["out"] is None and told["role"] == "accuracy"
    darts, nsga2 = told["runs"]
    final = TABLE.space.index(Run.load(finished / "darts").archs)
    shares = [PLANE.share(np.array([cell])) for cell in final]
    assert darts["share"]["mean"] == pytest.approx(np.mean(shares), abs=1e-6)
    assert darts["share"]["n"] == darts["seeds"] == 3 and darts["cells"] == 1
    shares = [PLANE.share(np.array(row)) for row in cells]  # search and report see one column: nothing else is chosen
    assert nsga2["share"]["mean"] == pytest.approx(np.mean(shares), abs=1e-6)


def test_the_same_in_words(finished: Path, tmp_path: Path) -> None:
    said = good(
        "pareto", finished, trained(tmp_path / "nsga2", [[int(i) for i in PLANE.front]]), "--metric", "params_m"
    )
    assert f"{len(PLANE.front)} of 15625 cells on the front of nb201-analog; reference point 10, 1.53155" in said
    assert "Cells are chosen on baseline accuracy" in said and REMARK in said
    lines = {line.split(",")[0].strip(): line for line in said.splitlines()}
    assert "darts" in lines and "bpnas" in lines
    assert f"{len(PLANE.front)} ({len(PLANE.front)} on front)" in lines["nsga2"] and "100.00" in lines["nsga2"]


def test_several_costs_one_figure(finished: Path) -> None:
    said = good("pareto", finished / "darts", "--metric", "params_m", "--metric", "flops_m", "--out", "front.svg")
    assert "Figure: front.svg" in said and Path("front.svg").read_bytes().startswith(b"<?xml")
    assert [p.name for p in Path.cwd().iterdir()] == ["front.svg"]


def test_other_references(finished: Path) -> None:
    for text, point in (("front", None), ("80,1.0", [80.0, 1.0])):
        told = document("pareto", finished / "darts", "--metric", "params_m", "--reference", text)
        plane = trade_off(TABLE, "cifar10", ["params_m"], reference=point or text)
        assert told["reference"] == pytest.approx([100 - plane.reference[0], plane.reference[1]])
        assert told["front"]["hypervolume"] == pytest.approx(plane.whole)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--metric", "latency_ms/edgegpu"), "unknown cost metric 'latency_ms/edgegpu'"),
        (("--metric", "params"), "did you mean 'params_m'"),
        (("--metric", "params_m", "--metric", "params_m"), "one or more different costs"),
        (("--metric", "params_m", "--role", "test"), "unknown accuracy role 'test'"),
        (("--metric", "params_m", "--reference", "worst"), "unknown reference 'worst'"),
        (("--metric", "params_m", "--reference", "80,worst"), "give table, front, or numbers as in 80,5"),
        (("--metric", "params_m", "--reference", "80,nan"), "give finite numbers"),
        (("--metric", "params_m", "--reference", "80"), "a reference is 2 finite numbers"),
        (("--metric", "params_m", "--reference", "99,0.01"), "no cell of nb201-analog is better than the reference"),
        (("--metric", "params_m", "--table", "nb301"), "nb301"),
        (("--metric", "params_m", "--out", "front.bmp"), "figure format"),
        ((), "--metric"),
    ],
)
def test_slips_are_told_in_one_line(finished: Path, options: tuple[str, ...], said: str) -> None:
    refused("pareto", finished / "darts", *options, said=said)


def test_no_run_and_runs_of_another_table(finished: Path, tmp_path: Path) -> None:
    refused("pareto", "nowhere", "--metric", "params_m", said="holds no finished run")
    refused("pareto", "--metric", "params_m", said="Missing argument")
    other = trained(tmp_path / "other", [[1, 2]], sha256="cd" * 32)
    refused("pareto", finished / "darts", other, "--metric", "params_m", said="made on nb201-analog with sha256 cdcdcd")
    run = Run.load(finished / "darts")
    elsewhere = replace(run, spec=run.spec.model_copy(update={"dataset": "cifar100"})).save(tmp_path / "elsewhere")
    refused("pareto", finished / "darts", elsewhere, "--metric", "params_m", said="these runs are on cifar10, cifar100")


def test_help_names_what_there_is() -> None:
    assert all(word in call("pareto", "--help").out for word in ("--metric", "--reference", "--role", "--table"))
