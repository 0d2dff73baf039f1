"""The curve store: what goes in comes out, what is missing says so, and no damaged byte is believed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nasbench_sim.errors import ArchError, NotMeasured, RunError, SpecError, TableError, UserError
from nasbench_sim.tables.curves import Curves, curves_path, open_curves
from nasbench_sim.tables.curves_file import PlaneFile
from nasbench_sim.tables.curves_writer import CurveWriter, Run
from nasbench_sim.tables.table import Source
from tests.tables.helpers import SPACE, small_table

EPOCHS = 4
CELLS = (0, 7, 15_624)
KEY: dict[str, Any] = {"dataset": "cifar10", "split": "test", "epochs": EPOCHS, "metric": "accuracy"}


def a_run(rng: np.random.Generator, seed: int, *, dataset: str = "cifar10", every: bool = True) -> Run:
    curves = {(s, m): rng.uniform(0, 90, EPOCHS) for s in ("train", "test") for m in ("accuracy", "loss")}
    if not every:
        curves["test", "accuracy"] = curves["test", "accuracy"][-1:]
    facts = {("train", "seconds"): rng.uniform(1, 9), ("network", "params_m"): 1.5, ("network", "latency_s"): 0.01}
    return Run(dataset, EPOCHS, seed, curves, facts)


@pytest.fixture(scope="module")
def runs() -> dict[int, list[Run]]:
    """Cell 0 has seeds 777 and 888, cell 7 only 888, the last one both; all were trained on cifar100, with no curve."""
    rng = np.random.default_rng(0)
    out = {cell: [a_run(rng, s) for s in (777, 888) if (cell, s) != (7, 777)] for cell in CELLS}
    for cell, some in out.items():
        some.append(a_run(rng, 777, dataset="cifar100", every=False))
        if cell == 7:
            uneven = {**some[0].curves, ("train", "seconds"): np.array([1.0, 2.0, 3.0, 4.5])}
            some[0] = some[0]._replace(curves=uneven, facts={**some[0].facts, ("train", "seconds"): 10.5 / 4})
    return out


@pytest.fixture(scope="module")
def path(runs: dict[int, list[Run]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("curves") / "tiny.curves.safetensors"
    write(target, runs)
    return target


def write(target: Path, runs: dict[int, list[Run]]) -> None:
    with CurveWriter("nb201", target.parent) as writer:
        for cell, some in runs.items():
            writer.add(cell, some)
        writer.finish(target, sources=(Source("made up"),), notes=("a note",))


def test_what_goes_in_comes_out(path: Path, runs: dict[int, list[Run]]) -> None:
    curves = Curves(path)
    assert (curves.name, curves.space.name, curves.notes) == ("tiny", "nb201", ("a note",))
    assert curves.seeds(dataset="cifar10", epochs=EPOCHS) == (777, 888)
    for cell, some in runs.items():
        for run in some[: len(some) - 1]:
            for (split, metric), official in run.curves.items():
                if metric == "seconds":
                    continue
                series = curves.series(dataset="cifar10", split=split, epochs=EPOCHS, seed=run.seed, metric=metric)
                expected = official.astype(np.float32)
                np.testing.assert_array_equal(series.curve(cell), expected)
                np.testing.assert_array_equal(series.curves()[cell], expected)
                for epoch in range(1, EPOCHS + 1):
                    assert np.float32(series.query(cell, epoch=epoch)) == expected[epoch - 1]
                    assert series.values(epoch=epoch, missing="nan")[cell] == expected[epoch - 1]
                assert series.query(SPACE.strings[cell], epoch=2) == series.query(SPACE.at(cell), epoch=2)


def test_everything_else_is_a_hole(path: Path) -> None:
    series = Curves(path).series(**KEY, seed=777)
    values = series.values(epoch=2, missing="nan")
    assert np.flatnonzero(~np.isnan(values)).tolist() == [0, 15_624]
    assert np.isnan(np.delete(series.curves(), [0, 15_624], axis=0)).all()
    with pytest.raises(NotMeasured, match="was measured for 2 of 15625 architectures; pass missing='nan'"):
        series.values(epoch=2)
    for ask in (lambda: series.query(7, epoch=2), lambda: series.curve(7), lambda: series.query(5, epoch=EPOCHS)):
        with pytest.raises(NotMeasured, match="seed 777 accuracy was not measured for"):
            ask()


def test_the_mean_is_over_the_runs_that_an_architecture_has(path: Path, runs: dict[int, list[Run]]) -> None:
    series = Curves(path).series(**KEY, seed="mean")
    for cell in CELLS:
        official = [r.curves["test", "accuracy"].astype(np.float32) for r in runs[cell] if r.dataset == "cifar10"]
        assert len(official) == (1 if cell == 7 else 2)
        expected = np.mean([c.astype(np.float64) for c in official], axis=0).astype(np.float32)
        np.testing.assert_array_equal(series.curve(cell), expected)
        np.testing.assert_array_equal(series.curves()[cell], expected)
        assert np.float32(series.query(cell, epoch=3)) == expected[2]
        assert series.values(epoch=EPOCHS, missing="nan")[cell] == expected[-1]
    assert np.isnan(series.values(epoch=1, missing="nan")).sum() == SPACE.size - len(CELLS)
    with pytest.raises(NotMeasured, match="not measured for 5"):
        series.query(5, epoch=1)
    stacked = series.stack()
    assert stacked.shape == (2, SPACE.size, EPOCHS)
    np.testing.assert_array_equal(stacked[1, 7], series.curve(7))


def test_the_mean_has_a_hole_where_one_run_lacks_the_number(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    one, two = a_run(rng, 777), a_run(rng, 888)
    two.curves["train", "loss"][1] = np.nan  # a diverged epoch
    write(tmp_path / "x.safetensors", {3: [one, two], 4: [one, a_run(rng, 888, every=False)]})
    curves = Curves(tmp_path / "x.safetensors")
    losses = curves.series(**{**KEY, "split": "train", "metric": "loss"}, seed="mean")
    assert losses.query(3, epoch=1) > 0
    with pytest.raises(NotMeasured, match="not measured"):
        losses.query(3, epoch=2)
    accuracies = curves.series(**KEY, seed="mean")  # of cell 4, one run kept its last epoch alone
    assert np.isnan(accuracies.values(epoch=1, missing="nan")[4])
    assert accuracies.query(4, epoch=EPOCHS) > 0
    with pytest.raises(NotMeasured):
        accuracies.query(4, epoch=1)


def test_times_add_up(path: Path, runs: dict[int, list[Run]]) -> None:
    curves = Curves(path)
    about: dict[str, Any] = {"dataset": "cifar10", "split": "train", "epochs": EPOCHS}
    once = curves.seconds(**about, seed=777, epoch=1)
    assert once[0] == runs[0][0].facts["train", "seconds"]
    np.testing.assert_array_equal(curves.seconds(**about, seed=777, epoch=3), 3 * once)
    uneven = [curves.seconds(**about, seed=888, epoch=e)[7] for e in range(1, 5)]
    assert uneven == [1.0, 3.0, 6.0, 10.5]
    mean = curves.seconds(**about, seed="mean", epoch=2)
    both = [2 * r.facts["train", "seconds"] for r in runs[0][:2]]
    assert mean[0] == pytest.approx(sum(both) / 2, rel=1e-15)
    assert np.isnan(mean[5])
    assert curves.fact("params_m", dataset="cifar10", epochs=EPOCHS, seed="mean")[7] == 1.5
    with pytest.raises(NotMeasured, match="has no times"):
        curves.seconds(**{**about, "split": "test"}, seed=777, epoch=1)
    with pytest.raises(NotMeasured, match="has no flops_m"):
        curves.fact("flops_m", dataset="cifar10", epochs=EPOCHS, seed=777)
    with pytest.raises(SpecError, match="unknown fact 'params'; did you mean 'params_m'"):
        curves.fact("params", dataset="cifar10", epochs=EPOCHS, seed=777)


@pytest.mark.parametrize(
    ("said", "part"),
    [
        ("unknown dataset 'cifar11'; did you mean 'cifar10'", {"dataset": "cifar11"}),
        ("unknown epochs '12'. Known: 4", {"epochs": 12}),
        ("epochs must be of type int, got '4'", {"epochs": "4"}),
        ("unknown split 'valid'. Known: test, train (for dataset cifar10, epochs 4); its", {"split": "valid"}),
        ("unknown metric 'top1'", {"metric": "top1"}),
        ("unknown seed '999'. Known: 777, 888", {"seed": 999}),
        ("unknown seed 'True'", {"seed": True}),
        ("unknown seed 'run0'", {"seed": "run0"}),
    ],
)
def test_what_was_not_measured_is_refused_by_name(path: Path, said: str, part: dict[str, Any]) -> None:
    with pytest.raises(NotMeasured) as caught:
        Curves(path).series(**{**KEY, "seed": 777, **part})
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_epochs_and_architectures_are_checked(path: Path) -> None:
    curves = Curves(path)
    series = curves.series(**KEY, seed=777)
    for epoch in (0, EPOCHS + 1, -1, 1.0, True):
        for ask in (series.values, lambda epoch: series.query(0, epoch=epoch)):
            with pytest.raises(SpecError, match=r"is not a whole number in 1\.\.4"):
                ask(epoch=epoch)  # type: ignore[arg-type]
        with pytest.raises(SpecError, match="is not a whole number"):
            curves.seconds(dataset="cifar10", split="train", epochs=EPOCHS, seed=777, epoch=epoch)  # type: ignore[arg-type]
    for arch in (-1, 15_625, "|none~0|", [1, 2]):
        with pytest.raises(ArchError):
            series.query(arch, epoch=1)  # type: ignore[arg-type]
    last = curves.series(dataset="cifar100", split="test", epochs=EPOCHS, seed=777, metric="accuracy")
    assert last.query(7, epoch=EPOCHS) > 0
    for ask in (last.curves, last.stack, lambda: last.curve(7), lambda: last.query(7, epoch=1)):
        with pytest.raises(NotMeasured, match="was measured after epoch 4 only; after every epoch: train"):
            ask()


def test_views_are_read_only(path: Path) -> None:
    series = Curves(path).series(**KEY, seed=777)
    for array in (series.curves(), series.values(epoch=EPOCHS, missing="nan"), series.curve(0)):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0


def test_other_tools_read_the_file(path: Path, runs: dict[int, list[Run]]) -> None:
    safetensors = pytest.importorskip("safetensors")
    with safetensors.safe_open(str(path), "np") as file:
        assert {p.tensor for p in PlaneFile(path).planes} == set(file.keys())
        curve = file.get_tensor("cifar10/4/777/test/accuracy/curve")
    np.testing.assert_array_equal(curve[0], runs[0][0].curves["test", "accuracy"].astype(np.float32))


def test_equal_content_gives_equal_files(tmp_path: Path, path: Path, runs: dict[int, list[Run]]) -> None:
    write(tmp_path / "again.safetensors", dict(reversed(runs.items())))
    assert (tmp_path / "again.safetensors").read_bytes() == path.read_bytes()
    assert list(tmp_path.iterdir()) == [tmp_path / "again.safetensors"]


# --- writing, and finding by name -----------------------------------------------------------------------------------


def test_the_writer_refuses_what_cannot_be(tmp_path: Path, runs: dict[int, list[Run]]) -> None:
    with CurveWriter("nb201", tmp_path) as writer:
        writer.add(0, runs[0])
        with pytest.raises(TableError, match="architecture 0 stands twice"):
            writer.add(0, runs[0])
        with pytest.raises(TableError, match="architecture 1 has no training runs"):
            writer.add(1, [])
        with pytest.raises(TableError, match="5000 epochs is outside"):
            writer.add(2, [runs[0][0]._replace(epochs=5000)])
        many = [runs[0][0]._replace(seed=s) for s in range(200)]
        with pytest.raises(TableError, match="more kinds of runs than a benchmark has"):
            writer.add(3, many)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="cannot write in"), CurveWriter("nb201", tmp_path / "file" / "x"):
        pass


def test_curves_are_found_by_the_name_of_their_table(runs: dict[int, list[Run]]) -> None:
    with pytest.raises(TableError, match=r"unknown table with learning curves 'tiny'.*tables import nats-tss"):
        open_curves("tiny")
    target = curves_path("tiny")
    target.parent.mkdir(parents=True, exist_ok=True)
    write(target, runs)
    curves = open_curves("tiny")
    assert open_curves(target).sha256 == open_curves(str(target)).sha256 == curves.sha256
    table = replace(small_table("tiny"), extra={"curves": curves.sha256})
    assert open_curves(table).path == target
    with pytest.raises(TableError, match="is not what table tiny was made of"):
        open_curves(replace(table, extra={"curves": "0" * 64}))
    with pytest.raises(TableError, match="table tiny has no learning curves"):
        open_curves(replace(table, extra={}))
    with pytest.raises(UserError, match="cannot name a table"):
        open_curves("Tiny!")
    target.unlink()
