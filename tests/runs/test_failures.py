"""Searches that diverge are kept and counted; compositions that make no sense are refused before anything runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nasbench_sim as nb
from nasbench_sim.errors import UserError
from nasbench_sim.runs import make_spec
from nasbench_sim.runs.engine import Batch
from tests.runs.test_runs import SMALL, TABLE, small


def test_a_diverging_search_is_kept_counted_and_saved(tmp_path: Path) -> None:
    run = small("darts", params={"lr": 1e39}, out=tmp_path / "r")  # infinite in float32
    n = len(run.seeds)
    assert run.failed.all() and (run.archs == -1).all() and np.isnan(run.final("test")).all()
    assert run.summary()["failed"] == n and run.summary()["test"] == {"mean": None, "sd": None}
    assert (run.failures["epoch"] == 0).all() and not np.isfinite(run.failures["alpha"]).all(axis=(1, 2)).any()
    again = nb.Run.load(tmp_path / "r")
    assert again.failed.all() and np.array_equal(again.failures["alpha"], run.failures["alpha"], equal_nan=True)


@pytest.mark.parametrize("method", ["darts", "bpnas", "parsec"])
def test_one_failure_leaves_its_neighbours_alone(method: str) -> None:
    spec = make_spec(method=method, table=TABLE.name, dataset="cifar10", seeds=4, epochs=3, steps_per_epoch=10)
    batch = Batch(spec, TABLE, np.arange(4))
    whole = batch.start()
    for _ in range(3):
        whole = batch.advance(whole)
    broken = batch.advance(batch.start())
    alpha = broken.state.alpha.copy()
    alpha[2, 1, 1] = np.nan
    broken = broken._replace(state=broken.state._replace(alpha=alpha))
    for _ in range(2):
        broken = batch.advance(broken)
    assert broken.failed.tolist() == [-1, -1, 1, -1]
    good = [0, 1, 3]
    for name, values in whole.history.items():
        assert np.array_equal(values[good], broken.history[name][good], equal_nan=True)
    assert np.isnan(broken.history["test"][2, 1:]).all() and not np.isnan(broken.history["test"][2, 0])
    assert (broken.history["archs"][2, 1:] == -1).all()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"method": "darts", "landscape": "evaluations"}, "cannot run on landscape 'evaluations'"),
        ({"method": "darts", "landscape": "tabular", "params": {"order": 2}}, "shared weights"),
        ({"method": "balenas", "landscape": "tabular", "params": {"order": 2}}, "order=1"),
        ({"method": "darts", "budget": 100.0}, "black-box"),
        ({"method": "darts", "params": {"order": 3}}, "order"),
        ({"method": "darts", "penalty": {"latency": -1.0}}, "penalty"),
        ({"method": "darts", "step_order": "weights"}, "step_order"),
        ({"method": "enas", "step_order": "weights first"}, "enas has no architecture step"),
        ({"method": "rea", "step_order": "weights first"}, "black-box methods have none"),
    ],
)
def test_impossible_compositions_are_refused_by_name(words: dict[str, Any], message: str, tmp_path: Path) -> None:
    call = {"table": TABLE, **SMALL, "seeds": 2, "out": tmp_path / "r", **words}
    with pytest.raises(UserError, match=message):
        nb.search(call.pop("method"), **call)
    assert not (tmp_path / "r").exists()
