"""Traces: the epochs of a search in one file that opens again as it was, or tells what is wrong with it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import nasbench_sim as nb
from nasbench_sim.errors import RunError
from nasbench_sim.landscapes import Horizon
from nasbench_sim.runs import make_spec
from nasbench_sim.runs.engine import Batch
from nasbench_sim.runs.trace import EPOCH, KIND, Trace, trace_of
from nasbench_sim.sealed import write_sealed
from tests.synthetic import synthetic_table

ABOUT = {"method": "darts", "space": "nb201", "landscape": "shared"}


def traced(method: str = "darts", seeds: int = 3) -> tuple[Trace, Batch]:
    spec = make_spec(
        method=method,
        params=nb.methods()[method].test_params,
        table="synthetic",
        dataset="cifar10",
        seeds=seeds,
        epochs=4,
        steps_per_epoch=6,
    )
    batch = Batch(spec, synthetic_table(), np.arange(seeds))
    return trace_of(batch, {**ABOUT, "method": method}), batch


def test_a_trace_says_what_the_search_did() -> None:
    trace, batch = traced()
    progress = batch.start()
    for e in range(4):
        progress = batch.advance(progress)
        assert np.array_equal(trace.epoch["theta"][:, e], batch.searcher.distribution(progress.state))
    assert np.array_equal(trace.archs, progress.history["archs"])
    assert np.allclose(trace.skip_ratio, progress.history["skip_ratio"])
    assert np.allclose(trace.epoch["loss"], progress.history["loss"], rtol=1e-5)
    assert np.array_equal(trace.epoch["derived_valid"], progress.history["valid"])
    assert np.isnan(trace.epoch["train_loss"]).all()  # a table has none
    assert batch.landscape.init(np.arange(3), Horizon(1, 1)) is not None and set(trace.epoch) == set(EPOCH)


def test_the_first_weight_step_of_darts_is_at_the_start(tmp_path: Path) -> None:
    trace, _ = traced()
    assert np.allclose(trace.epoch["usage"].sum(axis=-1), 1, atol=1e-5)
    assert np.allclose(trace.epoch["usage"][:, 0], 0.2, atol=0.02)
    mixing = 1 - trace.epoch["usage_squared"].sum(axis=-1)
    assert np.allclose(mixing[:, 0], 0.8, atol=0.01)


def test_a_file_opens_as_it_was_and_is_the_same_bytes_again(tmp_path: Path) -> None:
    trace, _ = traced()
    looked = trace.extended({}, trace.archs[:, -1], np.full((3, 7), 50.0), np.arange(7))
    path = looked.save(tmp_path / "a.h5")
    again = Trace.load(path)
    assert again.about == trace.about and again.epochs == 5 and again.looked.tolist() == [5]
    assert all(np.array_equal(again.epoch[k], looked.epoch[k], equal_nan=True) for k in EPOCH)
    assert np.array_equal(again.archs, looked.archs) and np.array_equal(again.one_shot, looked.one_shot)
    assert again.save(tmp_path / "b.h5").read_bytes() == path.read_bytes()
    assert again.until(4).looked.size == 0 and again.until(4).one_shot.shape == (3, 0, 7)
    assert Trace.load(again.until(0).save(tmp_path / "c.h5")).epochs == 0


def damaged(path: Path, **arrays: np.ndarray) -> Path:
    good, _ = traced(seeds=2)
    about = np.frombuffer(b'{"method": "darts", "space": "nb201"}', dtype=np.uint8)
    whole = {"about": about, "seeds": good.seeds, "archs": good.archs, "cells": good.cells, "looked": good.looked}
    whole |= {"one_shot": good.one_shot, **{f"epoch/{k}": v for k, v in good.epoch.items()}, **arrays}
    with write_sealed(path, KIND) as file:
        for name, values in whole.items():
            file.create_dataset(name, data=values)
    return path


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"about": np.frombuffer(b"[1]", dtype=np.uint8)}, "does not say what was recorded"),
        ({"about": np.frombuffer(b"{", dtype=np.uint8)}, "not a readable"),
        ({"about": np.frombuffer(b'{"method": "darts", "space": "nb7"}', dtype=np.uint8)}, "nb7"),
        ({"archs": np.full((2, 4, 6), 5, dtype=np.int8)}, "not those of a trace"),
        ({"archs": np.zeros((2, 3, 6), dtype=np.int8)}, "not those of a trace"),
        ({"seeds": np.arange(3)}, "not those of a trace"),
        ({"epoch/theta": np.zeros((2, 4, 6, 4))}, "not those of a trace"),
        ({"cells": np.array([15_625]), "looked": np.array([1]), "one_shot": np.zeros((2, 1, 1))}, "not those of a"),
        ({"one_shot": np.zeros((2, 1, 1))}, "not those of a trace"),
        ({"seeds": np.zeros(2)}, "other numbers"),
    ],
)
def test_a_file_that_is_no_trace_is_refused_in_one_line(
    tmp_path: Path, change: dict[str, np.ndarray], said: str
) -> None:
    with pytest.raises(RunError, match=said) as caught:
        Trace.load(damaged(tmp_path / "a.h5", **change))
    assert "\n" not in str(caught.value)


def test_a_missing_or_foreign_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="cannot be read"):
        Trace.load(tmp_path / "none.h5")
    (tmp_path / "x.h5").write_bytes(b"hello")
    with pytest.raises(RunError, match="not a nasbench-sim trace"):
        Trace.load(tmp_path / "x.h5")
