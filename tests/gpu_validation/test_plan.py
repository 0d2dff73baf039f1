"""Recordings of true supernets: traces that go on after a stop, and plans that several processes share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gpu_validation.evaluate import mixture_score, one_shot_accuracy
from gpu_validation.plan import SHIPPED, jobs, read_plan, run_plan, trace_path
from gpu_validation.tracing import Tracer, stratified
from nasbench_sim.errors import RunError, SpecError
from nasbench_sim.files import held
from nasbench_sim.runs.trace import EPOCH, Trace
from nasbench_sim.spaces import get_space
from tests.gpu_validation.test_cli import call, refused
from tests.gpu_validation.test_search import Stop, searching
from tests.gpu_validation.tiny import DATA

PLAN = """
name: tiny
data: synthetic
net: {channels: 2, cells: 1, batch: 8, eval_images: 32, eval_batch: 32, curvature: 2}
seeds: [4, 7]
epochs: 2
every: 1
cells: 5
runs:
  - {method: darts, params: {lr: 0.01}}
  - {method: darts, net: {channels: 3}, seeds: [4], epochs: 1}
"""


@pytest.fixture
def plan_file(tmp_path: Path) -> Path:
    path = tmp_path / "plan.yaml"
    path.write_text(PLAN)
    return path


def tracer(path: Path, method: str = "darts", **more: Any) -> Tracer:
    return Tracer(searching(method, **{"epochs": 3, "curvature": 2, **more}), path, every=2, cells=6)


def equal(a: Trace, b: Trace) -> bool:
    numbers = [(a.epoch[k], b.epoch[k]) for k in EPOCH] + [(a.archs, b.archs), (a.one_shot, b.one_shot)]
    return all(np.array_equal(x, y, equal_nan=True) for x, y in numbers) and a.looked.tolist() == b.looked.tolist()


@pytest.mark.parametrize("method", ["darts", "balenas", "gdas", "parsec", "rsps", "bpnas"])
def test_a_stopped_trace_goes_on_and_is_the_same(method: str, tmp_path: Path) -> None:
    whole = tracer(tmp_path / "whole.h5", method)
    run = whole.run(tmp_path / "whole")
    assert whole.trace.looked.tolist() == [2, 3] and np.array_equal(run.history["archs"], whole.trace.archs)
    cut = tracer(tmp_path / "cut.h5", method)

    def stop(progress: Any) -> None:
        cut.note(progress)
        if progress.epoch == 2:
            raise Stop  # the trace is ahead of the checkpoints

    with pytest.raises(Stop):
        cut.search.run(tmp_path / "cut", on_epoch=stop)
    assert Trace.load(tmp_path / "cut.h5").epochs == 2
    again = tracer(tmp_path / "cut.h5", method)
    again.run(tmp_path / "cut", resume=True)
    assert equal(again.trace, whole.trace) and equal(Trace.load(tmp_path / "cut.h5"), whole.trace)


def test_a_trace_holds_what_the_supernet_shows(tmp_path: Path) -> None:
    made = tracer(tmp_path / "a.h5")
    last: list[Any] = []
    made.run(tmp_path / "a", on_tick=lambda done, total, progress: last.append(progress))
    land, shared, trace = made.search.landscape, last[-1].shared, made.trace
    loss, accuracy = mixture_score(land, shared, trace.epoch["theta"][:, -1], "valid")
    assert np.allclose(trace.epoch["valid_loss"][:, -1], loss, rtol=1e-6)
    assert np.allclose(trace.epoch["valid_accuracy"][:, -1], accuracy)
    cells = np.repeat(land.space.at(made.index)[None], 2, axis=0)
    assert np.allclose(trace.one_shot[:, -1], one_shot_accuracy(land, shared, cells, "valid"))
    assert (trace.epoch["gradient"][..., 0] == 0).all()  # nothing comes through `none`
    assert (trace.epoch["gradient_sd"][..., 1:] > 0).all()
    # the curvature is noted where it is due: before step 2 of epochs 1, 3, ... at every = 2
    assert np.isfinite(trace.epoch["eigenvalue"]).any() and np.isnan(trace.epoch["eigenvalue"]).any()


def test_a_trace_of_another_search_is_not_gone_on_with(tmp_path: Path) -> None:
    first = tracer(tmp_path / "a.h5")

    def stop(done: int, total: int, progress: Any) -> None:
        if done == 1:
            raise Stop

    with pytest.raises(Stop):
        first.run(tmp_path / "a", on_tick=stop)
    with pytest.raises(RunError, match="another every"):
        Tracer(searching("darts", epochs=3, curvature=2), tmp_path / "a.h5", every=1, cells=6).run(
            tmp_path / "a", resume=True
        )
    Trace.load(tmp_path / "a.h5").until(0).save(tmp_path / "a.h5")
    with pytest.raises(RunError, match="does not fit the checkpoints"):
        tracer(tmp_path / "a.h5").run(tmp_path / "a", resume=True)


@pytest.mark.parametrize("wrong", [{"every": 0}, {"cells": -1}, {"cells": 20_000}, {"cells": 7_000}])
def test_impossible_looks_are_refused(tmp_path: Path, wrong: dict[str, int]) -> None:
    with pytest.raises(SpecError, match=r"cells|classes"):
        Tracer(searching("darts"), tmp_path / "a.h5", **wrong)


def test_a_stratified_sample_has_the_composition_of_the_space() -> None:
    space = get_space("nb201")
    cells = stratified(space, 500)
    _, first = np.unique(space.classes, return_index=True)
    assert np.isin(cells, first).all()
    every, some = space.at(first), space.at(cells)
    for op in range(5):
        assert abs((every == op).mean() - (some == op).mean()) < 0.01
    assert abs((every == 3).sum(axis=1).std() - (some == 3).sum(axis=1).std()) < 0.02
    other = get_space("nb1shot1-1")
    assert len(stratified(other, 50)) == 50


def test_a_plan_is_done_job_by_job_and_shared(plan_file: Path, tmp_path: Path) -> None:
    plan, out = read_plan(plan_file), tmp_path / "out"
    names = [job.name for job in jobs(plan)]
    assert names == ["darts-seed4", "darts-c3-seed4", "darts-seed7"]
    seen: list[str] = []
    (out / "work").mkdir(parents=True)
    with held(out / "work" / "darts-c3-seed4.lock") as mine:  # another process is at it
        assert mine
        made = run_plan(plan, DATA, out, on_job=lambda job, *_: seen.append(job.name))
    assert seen == ["darts-seed4", "darts-seed7"] and len(made) == 2
    made = run_plan(plan, DATA, out, on_job=lambda job, *_: seen.append(job.name))
    assert seen[2:] == ["darts-c3-seed4"] and made == [trace_path(out, job) for job in jobs(plan)]
    assert run_plan(plan, DATA, out, on_job=lambda job, *_: seen.append(job.name)) == made and len(seen) == 3
    assert Trace.load(made[0]).about["setting"]["channels"] == 2 and Trace.load(made[1]).epochs == 1


def test_a_killed_plan_goes_on(plan_file: Path, tmp_path: Path) -> None:
    plan = read_plan(plan_file)
    run_plan(plan, DATA, tmp_path / "whole", only="darts-seed4")

    def stop(number: int, done: int, total: int) -> None:
        if done == 1:
            raise Stop

    with pytest.raises(Stop):
        run_plan(plan, DATA, tmp_path / "cut", only="darts-seed4", on_tick=stop)
    (made,) = run_plan(plan, DATA, tmp_path / "cut", only="darts-seed4")
    assert equal(Trace.load(made), Trace.load(tmp_path / "whole" / "traces" / "darts-seed4.h5"))


WRONG = [
    (PLAN.replace("darts", "dart"), "unknown method 'dart'"),
    (PLAN.replace("seeds: [4, 7]", "seeds: []"), "seeds"),
    (PLAN.replace("seeds: [4, 7]", "seeds: [4, 4]"), "each once"),
    (PLAN.replace("channels: 2", "chanels: 2"), "there is no such setting"),
    (PLAN.replace("lr: 0.01", "lr: -1"), "lr"),
    (PLAN.replace("lr: 0.01", "rate: 1"), "rate"),
    (PLAN.replace(", net: {channels: 3}", ""), "two runs are called darts"),
    (PLAN.replace("name: tiny", "name: a/b"), "name"),
    (PLAN + "more: 1\n", "more"),
    ("- 1\n", "plan.yaml"),
    ("name: &a x\n", "plan.yaml"),
]


@pytest.mark.parametrize(("text", "said"), WRONG)
def test_a_bad_plan_is_told_in_one_line(
    text: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "plan.yaml"
    path.write_text(text)
    line = refused(capsys, monkeypatch, "record", path, "--out", tmp_path / "out")
    assert said in line and not (tmp_path / "out").exists()


def test_the_command_records_a_plan(
    plan_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    said = call("record", plan_file, "--out", tmp_path / "out", "--threads", "1")
    assert "3 of 3 searches are recorded" in said
    for option in (("--epochs", 3), ("--net", "channels=4"), ("--set", "lr=1"), ("--resume",)):
        line = refused(capsys, monkeypatch, "record", plan_file, "--out", tmp_path / "out", *option)
        assert f"{option[0]} goes with a method" in line
    with pytest.raises(SpecError, match="cannot be read"):
        read_plan(tmp_path / "none.yaml")


@pytest.mark.parametrize("name", SHIPPED)
def test_the_shipped_plans_can_be_read(name: str) -> None:
    plan = read_plan(name)
    assert plan.name.replace("-", "_") == name and (name not in ("breadth", "depth") or len(plan.seeds) >= 3)
    assert len(jobs(plan)) == len({job.name for job in jobs(plan)})
