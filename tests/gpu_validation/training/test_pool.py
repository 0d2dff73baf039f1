"""A pool goes on where it was stopped, trains nothing twice, and its predictions are what ensembles are made of."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from gpu_validation import checkpoint
from gpu_validation.data import load_dataset
from gpu_validation.training import Pool, TrainSpec, make_train_spec, train_pool
from gpu_validation.training.pool import CONTENT
from nasbench_sim.cli import app
from nasbench_sim.ensembles import Predictions, check_partner, score
from nasbench_sim.ensembles.selection import nes_rs
from nasbench_sim.errors import RunError, SpecError
from tests.gpu_validation.training.small import DATA, SPACE, spec

CELLS = [SPACE.format(SPACE.at(i)) for i in (9930, 1462, 13714)]


def specs(**values: Any) -> list[TrainSpec]:
    return [spec(arch=arch, **{"epochs": 2, **values}) for arch in CELLS]


def same(a: Pool, b: Pool) -> bool:
    return all(
        x.spec == y.spec
        and all(np.array_equal(x.curves[k], y.curves[k]) for k in x.curves)
        and all(np.array_equal(x.probabilities[k], y.probabilities[k]) for k in x.probabilities)
        for x, y in zip(a.members, b.members, strict=True)
    )


@pytest.fixture(scope="module")
def whole() -> Pool:
    torch.set_num_threads(1)
    return train_pool(specs(), DATA)


class Stop(Exception):
    """A pool is cut here."""


def test_cut_within_a_member_it_goes_on_and_trains_nothing_twice(tmp_path: Path, whole: Pool) -> None:
    seen: list[tuple[int, int]] = []

    def tick(member: int, done: int, last: Mapping[str, float]) -> None:
        seen.append((member, done))
        if seen == [(0, 1), (0, 2), (1, 1)]:
            raise Stop

    with pytest.raises(Stop):
        train_pool(specs(), DATA, folder=tmp_path, on_tick=tick)
    assert sorted(p.name for p in (tmp_path / "members").iterdir()) == [
        "01462-seed0",  # in training
        "09930-seed0-00000002.json",
        "09930-seed0-00000002.safetensors",
    ]
    assert same(train_pool(specs(), DATA, folder=tmp_path, resume=True, on_tick=tick), whole)
    # finished: told at once; in training: its second epoch only; the third: from the start
    assert seen[3:] == [(0, 2), (1, 2), (2, 1), (2, 2)]
    more = [*specs(), spec(arch=CELLS[0], epochs=2, seed=5)]
    seen.clear()
    grown = train_pool(more, DATA, folder=tmp_path, resume=True, on_tick=tick)
    assert seen == [(0, 2), (1, 2), (2, 2), (3, 1), (3, 2)] and same(Pool(grown.members[:3], DATA, "cpu"), whole)


def test_what_is_written_opens_and_says_the_same(tmp_path: Path, whole: Pool) -> None:
    files = whole.save(tmp_path)
    assert {p.name for p in tmp_path.iterdir()} == CONTENT - {"members"}
    document = json.loads(files["result"].read_text())
    assert [m["index"] for m in document["members"]] == [9930, 1462, 13714]
    assert document["data"]["sha256"] == DATA.sha256 and len(document["members"][0]["curves"]["train_loss"]) == 2
    for split in ("valid", "test"):
        said = Predictions.load(files[f"predictions {split}"])
        assert np.array_equal(said.archs, SPACE.at([9930, 1462, 13714])) and said.split == split
        assert np.array_equal(said.labels, DATA.labels[split].numpy()) and "trained alone" in said.source
        for m, member in enumerate(document["members"]):
            got = score(said.probabilities[[m]], said.labels).record()
            assert got["accuracy"] == pytest.approx(member[f"{split}_accuracy"])
            assert got["nll"] == pytest.approx(member[f"{split}_loss"], rel=1e-4)


def test_what_is_refused(tmp_path: Path, whole: Pool) -> None:
    with pytest.raises(SpecError, match="at least one cell"):
        train_pool([], DATA)
    with pytest.raises(SpecError, match="is asked for twice"):
        train_pool([*specs(), specs()[1]], DATA)
    train_pool(specs()[:1], DATA, folder=tmp_path)
    with pytest.raises(RunError, match="was made for batch 16, not 8"):
        train_pool(specs(batch=8), DATA, folder=tmp_path, resume=True)
    found = checkpoint.load(tmp_path / "members", "09930-seed0", {})
    assert found is not None
    checkpoint.save(tmp_path / "members", "09930-seed0", 2, {"valid": found.arrays["test"]}, found.facts)
    with pytest.raises(RunError, match="holds no member of this pool"):
        train_pool(specs(), DATA, folder=tmp_path, resume=True)
    (tmp_path / "members" / "09930-seed0-00000002.safetensors").write_bytes(b"nothing")
    with pytest.raises(RunError, match="no checkpoint of 09930-seed0 can be read"):
        train_pool(specs(), DATA, folder=tmp_path, resume=True)


def test_an_ensemble_of_cells_trained_on_digits(tmp_path: Path) -> None:
    """NES-RS from end to end: train five cells, choose three on the validation images, report on the test images."""
    torch.set_num_threads(1)
    index = [9930, 1462, 13714, 5631, 12344]
    small = {"dataset": "digits", "epochs": 4, "channels": 4, "cells": 1, "batch": 48}
    asked = [make_train_spec(arch=SPACE.format(SPACE.at(i)), **small) for i in index]
    pool = train_pool(asked, load_dataset("digits"))
    files = pool.save(tmp_path)
    valid, test = (Predictions.load(files[f"predictions {split}"]) for split in ("valid", "test"))
    check_partner(valid, test)
    members = nes_rs(valid, [0], size=3)[0]
    alone = [score(valid.probabilities[[m]], valid.labels).record()["nll"] for m in range(5)]
    together = score(valid.probabilities[members], valid.labels).record()
    # numbers of training differ by processor, so only what holds of any: the greedy choice, and Jensen's inequality
    assert members[0] == int(np.argmin(alone))
    thirds = [score(valid.probabilities[[*members[:2], m]], valid.labels).record()["nll"] for m in range(5)]
    assert together["nll"] == pytest.approx(min(n for m, n in enumerate(thirds) if m not in members[:2]))
    assert together["nll"] < np.mean([alone[m] for m in members])
    on_test = score(test.probabilities[members], test.labels).record()
    assert on_test["accuracy"] > 90
    result = CliRunner().invoke(
        app,
        [
            "ensemble",
            str(files["predictions valid"]),
            "--test",
            str(files["predictions test"]),
            "--seeds",
            "1",
            "--json",
        ],
    )
    assert result.exit_code == 0, result.output
    said = json.loads(result.output)
    assert said["members"] == [members.tolist()]
    assert said["scores"]["test"]["accuracy"]["mean"] == pytest.approx(on_test["accuracy"])
