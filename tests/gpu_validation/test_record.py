"""Recordings: what a supernet says of other cells, in tables that every part of nasbench_sim opens."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nasbench_sim as nb
from gpu_validation.evaluate import one_shot_accuracy
from gpu_validation.record import REMARK, Recorder, predictions, sample
from nasbench_sim.ensembles import Predictions
from nasbench_sim.errors import NotMeasured, RunError, SpecError
from nasbench_sim.runs.engine import Progress
from nasbench_sim.tables.store import read_table
from nasbench_sim.tables.table import Key
from tests.gpu_validation.test_search import Stop, searching


def recorded(folder: Path, **more: Any) -> tuple[Recorder, Progress]:
    search = searching("rsps", **{"epochs": 3, **more})
    recorder = Recorder(search, folder / "checkpoints", every=2, cells=12)
    last: list[Progress] = []

    def on_tick(done: int, total: int, progress: Progress) -> None:
        recorder(done, total, progress)
        last[:] = [progress]

    search.run(folder, on_tick=on_tick)
    return recorder, last[0]


def test_a_recording_is_a_table_of_one_shot_accuracies(tmp_path: Path) -> None:
    recorder, last = recorded(tmp_path)
    recorder.write(tmp_path / "recording.h5", "rsps-recording")
    table = read_table(tmp_path / "recording.h5")
    assert table.remark == REMARK and nb.open_table(str(tmp_path / "recording.h5")).sha256 == table.sha256
    assert {(k.split, k.epochs, k.seed) for k in table.accuracy} == {
        (split, epoch, seed) for split in ("valid", "test") for epoch in (2, 3) for seed in (5, 9)
    }
    archs = np.repeat(table.space.at(recorder.index)[None], 2, axis=0)
    want = one_shot_accuracy(recorder.search.landscape, last.shared, archs, "valid")
    for s, seed in enumerate((5, 9)):
        column = table.accuracy[Key("synthetic", "valid", 3, seed)]
        assert np.allclose(column[recorder.index], want[s]) and np.isnan(column).sum() == table.space.size - 12
    with pytest.raises(NotMeasured):
        table.query(
            int(np.setdiff1d(np.arange(50), recorder.index)[0]), dataset="synthetic", split="valid", epochs=3, seed=5
        )
    recorder.finish()
    assert not (tmp_path / "checkpoints").exists()


def test_a_stopped_recording_goes_on_and_is_the_same(tmp_path: Path) -> None:
    whole, _ = recorded(tmp_path / "whole")
    search = searching("rsps", epochs=3)
    first = Recorder(search, tmp_path / "cut" / "checkpoints", every=2, cells=12)

    def stop(done: int, total: int, progress: Progress) -> None:
        first(done, total, progress)
        if done == 2:
            raise Stop

    with pytest.raises(Stop):
        search.run(tmp_path / "cut", on_tick=stop)
    again = searching("rsps", epochs=3)
    second = Recorder(again, tmp_path / "cut" / "checkpoints", every=2, cells=12)
    assert set(second.seen) == {"2/valid", "2/test"}
    again.run(tmp_path / "cut", resume=True, on_tick=second)
    assert set(second.seen) == set(whole.seen)
    assert all(np.array_equal(second.seen[k], whole.seen[k]) for k in whole.seen)
    for other in ({"cells": 13}, {"every": 1, "cells": 12}):
        with pytest.raises(RunError, match="was made for"):
            Recorder(again, tmp_path / "cut" / "checkpoints", **{"every": 2, **other})


def test_predictions_are_of_the_same_networks(tmp_path: Path) -> None:
    recorder, last = recorded(tmp_path, batch_norm="running")
    land = recorder.search.landscape
    archs = land.space.at(recorder.index[:3])
    accuracy = one_shot_accuracy(land, last.shared, archs[None].repeat(2, axis=0), "test")[0]
    made = predictions(recorder.search, last.shared, archs, "test")
    made.save(tmp_path / "test.h5")
    read = Predictions.load(tmp_path / "test.h5")
    right = 100 * (read.probabilities.argmax(axis=2) == read.labels).mean(axis=1)
    assert np.allclose(right, accuracy) and np.array_equal(read.archs, archs) and REMARK in read.source


def test_a_search_runs_on_a_full_recording(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Looking at 15,625 cells takes minutes even here, so what they score is made up; the path is the real one."""
    random = np.random.Generator(np.random.Philox(key=3))
    monkeypatch.setattr(
        Recorder, "look", lambda self, shared, split: random.uniform(10, 90, (2, 15_625)).astype(np.float32)
    )
    search = searching("rsps", epochs=2)
    recorder = Recorder(search, tmp_path / "checkpoints", every=1)
    search.run(tmp_path, on_tick=recorder)
    table = recorder.table("full")
    land = nb.RecordedLandscape(table, dataset="synthetic", split="valid", seed=5)
    assert land.epochs == (1, 2)
    theta = np.full((1, 6, 5), 0.2, dtype=np.float32)
    mean = float(table.accuracy[Key("synthetic", "valid", 2, 5)].mean())
    assert float(land.loss_and_grad(None, theta)[0][0]) == pytest.approx(1 - mean / 100, rel=1e-5)
    some = Recorder(searching("rsps", epochs=2), tmp_path / "other", every=1, cells=4)
    some.seen = {"1/valid": np.zeros((2, 4)), "1/test": np.zeros((2, 4))}
    with pytest.raises(NotMeasured):
        nb.RecordedLandscape(some.table("holes"), dataset="synthetic", split="valid", seed=5)


def test_impossible_recordings_are_one_line(tmp_path: Path) -> None:
    search = searching("rsps")
    for how in ({"every": 0}, {"cells": 0}, {"cells": 15_626}, {"cells": -3}):
        with pytest.raises(SpecError):
            Recorder(search, tmp_path, **how)
    with pytest.raises(SpecError, match="nothing was recorded"):
        Recorder(search, tmp_path).table("x")
    assert len(set(sample(100, 100).tolist())) == 100
