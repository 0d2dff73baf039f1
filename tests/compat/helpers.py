"""Asking two interfaces the same, and comparing what comes back: values, or the kind of error."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nasbench_sim.compat.draws import CompatWarning
from nasbench_sim.compat.trials import CLASSES
from tests.tables.nats_factory import FOLDER, architecture, write_folder

CELLS = (0, 11, 284)
RUNS = ("cifar10-valid", "cifar10", "cifar100", "ImageNet16-120")


def sample(kind: str, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Path:
    """A folder of three architectures: made up (one of them with two seeds), or the real ones."""
    if kind == "real":
        shared: Path = request.getfixturevalue("shared_data")
        return shared / "nats_tss_sample" / FOLDER
    return write_folder(tmp_path_factory.mktemp("made-up") / FOLDER, {cell: made_up(cell) for cell in CELLS})


def made_up(cell: int, seeds: Sequence[int] = ()) -> dict[str, Any]:
    """Results of an architecture whose runs are of one network, but for the 200-epoch runs of cell 11."""
    out = architecture(cell, seeds=seeds or ((777, 888) if cell == 11 else (777, 888, 999)))
    for hp, results in out.items():
        for (dataset, _), run in results["all_results"].items():
            run["arch_config"] = {
                "channel": 16,
                "num_cells": 5,
                "arch_str": results["arch_str"],
                "class_num": CLASSES[dataset],
            }
            if (cell, hp) != (11, "200"):
                run["params"], run["flop"] = 0.4 + CLASSES[dataset] / 1000, 60.0
    return out


KINDS = [pytest.param("made up"), pytest.param("real", marks=pytest.mark.real)]


def outcome(api: Any, ask: Callable[[Any], Any]) -> Any:
    """What an interface answers or raises, without what it prints."""
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", CompatWarning)
        try:
            return ask(api)
        except Exception as error:
            return error


def assert_same(ours: Any, theirs: Any, rel: float = 0.0) -> None:
    """Equal values (floats within `rel`, 0 for bit by bit), or an error that is also of their kind."""
    if isinstance(theirs, Exception):
        assert isinstance(ours, type(theirs)), f"{ours!r} where the original raises {theirs!r}"
        return
    assert not isinstance(ours, Exception), f"{ours!r} where the original answers {theirs!r}"
    if isinstance(theirs, dict):
        assert set(ours) - {"comment"} == set(theirs) - {"comment"}
        for key in set(theirs) - {"comment"}:
            assert_same(ours[key], theirs[key], rel)
    elif isinstance(theirs, (tuple, list)):
        assert len(ours) == len(theirs)
        for a, b in zip(ours, theirs, strict=True):
            assert_same(a, b, rel)
    elif isinstance(theirs, np.ndarray):
        np.testing.assert_array_equal(ours, theirs)
    elif isinstance(theirs, float):
        assert ours == pytest.approx(float(theirs), rel=rel, abs=0.0)
    else:
        assert ours == theirs


def answers(info: Any) -> dict[str, Any]:
    """Everything that an `ArchResults`, ours or theirs, says of every run, by what was asked."""
    asks: dict[str, Callable[[Any], Any]] = {
        "names": lambda i: i.get_dataset_names(),
        "epochs": lambda i: i.get_total_epoch(),
        "id": lambda i: i.arch_idx_str(),
        "no epochs": lambda i: i.get_total_epoch("mnist"),
        "no costs": lambda i: i.get_compute_costs("mnist"),
    }
    for run in RUNS:
        asks[f"{run} seeds"] = lambda i, run=run: i.get_dataset_seeds(run)
        asks[f"{run} costs"] = lambda i, run=run: i.get_compute_costs(run)
        asks[f"{run} latency"] = lambda i, run=run: i.get_latency(run)
        for split in ("train", "x-valid", "x-test", "ori-test", "valid", "mine"):
            for iepoch in (None, 0, 11, 12, 199, 200):
                asks[f"{run} {split} {iepoch}"] = lambda i, run=run, split=split, iepoch=iepoch: i.get_metrics(
                    run, split, iepoch
                )
        for seed in (777, 999, 111):
            asks[f"{run} {seed} config"] = lambda i, run=run, seed=seed: i.query(run, seed).get_config(None)
            asks[f"{run} {seed} times"] = lambda i, run=run, seed=seed: i.query(run, seed).get_times()
            asks[f"{run} {seed} train"] = lambda i, run=run, seed=seed: i.query(run, seed).get_train(3)
            asks[f"{run} {seed} eval"] = lambda i, run=run, seed=seed: i.query(run, seed).get_eval("ori-test")
            asks[f"{run} {seed} sets"] = lambda i, run=run, seed=seed: sorted(i.query(run, seed).get_eval_set())
    return {name: outcome(info, ask) for name, ask in asks.items()}
