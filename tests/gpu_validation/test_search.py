"""Every gradient and sampling method of the registry on a true supernet: one record, bit for bit, whatever is cut."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nasbench_sim as nb
from gpu_validation import checkpoint
from gpu_validation.devices import find_device
from gpu_validation.search import NAME, SupernetSearch
from nasbench_sim.errors import RunError, SpecError
from nasbench_sim.reporting import compare, write_report
from nasbench_sim.runs import HISTORY, Run
from nasbench_sim.searchers import GradientSearcher
from tests.gpu_validation.tiny import DATA, settings

NAMES = sorted(n for n, r in nb.methods().items() if r.family in ("differentiable", "sampling", "training-free"))


def searching(method: str = "darts", seeds: Any = (5, 9), **more: Any) -> SupernetSearch:
    how: dict[str, Any] = {"epochs": 2, "steps_per_epoch": 3}
    if "params" not in more and method in nb.methods():
        how["params"] = nb.methods()[method].test_params
    net = {k: more.pop(k) for k in list(more) if k not in ("epochs", "steps_per_epoch", "params", "table", "device")}
    return SupernetSearch(method, settings(**net), DATA, seeds, **{**how, **more})


def same(a: Run, b: Run) -> bool:
    return np.array_equal(a.archs, b.archs) and all(
        np.array_equal(a.history[k], b.history[k], equal_nan=True) for k in a.history
    )


class Stop(Exception):
    """Stands for a kill between two epochs."""


@pytest.mark.parametrize("method", NAMES)
def test_every_method_searches_and_resumes_bit_for_bit(method: str, tmp_path: Path) -> None:
    run = searching(method).run()
    assert run.archs.shape == (2, 6) and not run.failed.any()
    assert set(HISTORY) <= set(run.history) and {"valid", "test", "train_loss", "train_accuracy"} <= set(run.history)
    assert ((run.history["valid"] >= 0) & (run.history["valid"] <= 100)).all()
    assert np.isfinite(run.history["train_loss"]).all()

    def stop(done: int, total: int, progress: Any) -> None:
        if done == 1:
            raise Stop

    with pytest.raises(Stop):
        searching(method).run(tmp_path, on_tick=stop)
    assert checkpoint.numbers(tmp_path / "checkpoints", NAME) == [1]
    resumed = searching(method).run(tmp_path, resume=True)
    assert same(run, resumed) and same(Run.load(tmp_path), run)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["record.h5", "run.json"]


@pytest.mark.parametrize("method", ["darts", "gdas", "parsec", "rsps"])
def test_a_seed_alone_equals_its_row(method: str) -> None:
    together, alone = searching(method, (5, 9, 4)).run(), searching(method, (9,)).run()
    assert np.array_equal(together.archs[1], alone.archs[0])
    for name, values in alone.history.items():
        assert np.array_equal(values[0], together.history[name][1], equal_nan=True), name


@pytest.mark.parametrize(
    ("space", "method"), [("nb1shot1-1", "darts"), ("nb1shot1-2", "parsec"), ("nb1shot1-3", "gdas")]
)
def test_methods_search_on_1shot1_supernets(space: str, method: str) -> None:
    run = searching(method, seeds=(5,), space=space).run()
    assert not run.failed.any() and run.table["name"].startswith(space)
    assert (run.history["skip_ratio"] == 0).all() and np.isfinite(run.history["valid"]).all()


def test_the_record_is_read_by_every_report(tmp_path: Path) -> None:
    runs = [searching("darts").run(), searching("balenas").run()]
    text = str(compare(runs))
    page = write_report(runs, tmp_path / "page.html").read_text()
    assert "trained a weight-sharing network" in page and "No network was trained" not in page
    assert "gpu-validation search darts --data synthetic" in page
    assert "one-shot accuracy" in page and text
    assert runs[0].summary()["remark"].startswith("one-shot accuracy")
    assert runs[0].table["report_keys"]["test"] == ["synthetic", "test", "search", "one-shot"]


def test_a_searcher_is_the_very_recipe_of_the_simulator() -> None:
    recipe = nb.methods()["balenas"]
    made, known = searching("balenas").batch.searcher, recipe.make(**recipe.test_params)
    assert isinstance(made, GradientSearcher)
    assert repr(made).split("object at")[0] == repr(known).split("object at")[0]
    assert (made.update, made.pruning, made.order) == (known.update, known.pruning, known.order)


def test_the_order_of_steps_is_chosen_and_changes_the_search() -> None:
    runs = {
        order: searching("darts", params={"lr": 0.1}, order=order).run()
        for order in ("together", "weights first", "architecture first")
    }
    losses = {order: run.history["train_loss"].tobytes() for order, run in runs.items()}
    assert len(set(losses.values())) == 3
    with pytest.raises(SpecError, match="rsps has no architecture step whose order could be chosen"):
        searching("rsps", order="weights first")


def test_second_order_differs_from_first() -> None:
    first, second = (searching("darts", params={"order": n, "lr": 0.05}).run() for n in (1, 2))
    assert not np.array_equal(first.history["entropy"], second.history["entropy"])


def test_a_diverged_search_is_kept_and_named(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = searching("darts")
    fresh = asked.landscape.init

    def spoiled(seeds: Any, horizon: Any) -> Any:
        state = fresh(seeds, horizon)
        state.extra["weights"].tensor[0] *= float("nan")
        return state

    monkeypatch.setattr(asked.landscape, "init", spoiled)
    said: list[Any] = []
    run = asked.run(on_tick=lambda done, total, progress: said.append(progress.shared.extra["broken"].copy()))
    assert run.failed.tolist() == [True, False] and run.failures["seed"].tolist() == [5]
    assert said[-1].tolist() == [0, -1]
    assert np.isnan(run.history["valid"][0]).all() and np.isfinite(run.history["valid"][1]).all()
    assert np.array_equal(run.archs[1], searching("darts", seeds=(9,)).run().archs[0])


def test_a_table_gives_the_accuracies_of_networks_trained_alone() -> None:
    from tests.synthetic import synthetic_table

    table = synthetic_table()
    with pytest.raises(Exception, match="synthetic"):  # the table has no such data set
        searching("darts", table=table)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"method": "rea"}, "trains no shared weights"),
        ({"method": "nope"}, "unknown method 'nope'"),
        ({"method": "synflow", "space": "nb1shot1-1", "params": {}}, "has no zero-cost proxy"),
        ({"device": "cuda"}, "no CUDA device is visible"),
        ({"device": "tpu"}, "unknown device|not supported"),
        ({"seeds": ()}, "at least one seed"),
        ({"epochs": 0}, "epochs"),
        ({"steps_per_epoch": -1}, "steps_per_epoch"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(more: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message) as caught:
        searching(**more)
    assert "\n" not in str(caught.value)


def test_a_checkpoint_of_another_run_is_refused(tmp_path: Path) -> None:
    def stop(done: int, total: int, progress: Any) -> None:
        if done == 1:
            raise Stop

    with pytest.raises(Stop):
        searching("darts").run(tmp_path, on_tick=stop)
    for other in (searching("darts", seeds=(5, 8)), searching("darts", channels=3), searching("gdas")):
        with pytest.raises(RunError, match="was made for"):
            other.run(tmp_path, resume=True)
    with pytest.raises(RunError, match="holds no checkpoint to resume from"):
        searching("darts").run(tmp_path / "elsewhere", resume=True)


def test_devices() -> None:
    find_device("cpu")
    for wrong in ("cuda:99", "mps", "", "cpu:x"):
        with pytest.raises(SpecError):
            find_device(wrong)
