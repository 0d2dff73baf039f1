"""End to end: cells trained alone on digits, their predictions, and the ensembles selected from them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from gpu_validation.data import load_dataset
from gpu_validation.predictions import joined
from gpu_validation.search import SupernetSearch
from gpu_validation.standalone import Pool, member_folder, pool_specs, train_pool
from gpu_validation.training import Trainer
from nasbench_sim.ensembles import Predictions, check_partner, ensemble_accuracy, member_archs, nes_bs, nes_rs, score
from nasbench_sim.errors import ArchError, RunError, SpecError
from tests.gpu_validation import tiny

CELLS = [1835, 2299, 11472, 1651, 857, 3928]  # 1651 is nothing but `none`: chance
SIZES = {"channels": 4, "cells": 1, "epochs": 3}
DIGITS = load_dataset("digits")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Pool]:
    folder = tmp_path_factory.mktemp("pool")
    return folder, train_pool(pool_specs(CELLS, [0], **SIZES), DIGITS, folder)


def test_the_files_hold_what_the_networks_said(trained: tuple[Path, Pool]) -> None:
    folder, pool = trained
    valid, test = (Predictions.load(folder / f"predictions-{split}.h5") for split in ("valid", "test"))
    check_partner(valid, test)
    assert (valid.labels == DIGITS.labels["valid"].numpy()).all() and len(valid) == len(CELLS)
    for predictions, column in ((valid, 3), (test, 5)):
        right = (predictions.probabilities.argmax(2) == predictions.labels).mean(axis=1) * 100
        assert right == pytest.approx([member.curves[-1, column] for member in pool.members], abs=1e-9)
    assert pool.members[CELLS.index(1651)].curves[-1, 5] < 30 < pool.members[CELLS.index(11472)].curves[-1, 5]
    assert valid.rows(CELLS[:1]).tolist() == [0] and "trained alone" in valid.source


def test_ensembles_of_real_predictions(trained: tuple[Path, Pool]) -> None:
    valid, test = trained[1].predictions["valid"], trained[1].predictions["test"]
    chosen = nes_rs(valid, [0], size=3)[0]
    assert CELLS.index(1651) not in chosen  # selection by likelihood leaves the broken network out
    best = int(np.argmin([score(p[None], valid.labels).nll for p in valid.probabilities]))
    assert best == chosen[0]
    scores = score(valid.probabilities[chosen], valid.labels)
    assert scores.nll <= scores.member_nll  # Jensen: the logarithm of a mean
    pairs = {n: score(valid.probabilities[[best, n]], valid.labels).nll for n in range(len(CELLS)) if n != best}
    assert min(pairs, key=pairs.__getitem__) == chosen[1]
    reported = score(test.probabilities[chosen], test.labels)
    assert reported.accuracy > 60 and reported.nll < np.log(10) and 0 <= reported.ece <= 1
    theta = np.full((6, 5), 0.2)
    sampled = nes_bs(valid, theta, [0, 1], size=3)
    assert sampled.shape == (2, 3) and (sampled < len(CELLS)).all()


def test_restarts_of_bpnas_are_trained_and_scored(tmp_path: Path) -> None:
    """Search on a supernet with restarts, train their cells alone, average what those say."""
    data = load_dataset("synthetic")
    params = {"delta": 0.002, "members": 2, "member_epochs": 1}
    run = SupernetSearch("bpnas", tiny.settings(batch=32), data, (1,), 3, params=params).run()
    cells = member_archs(run)[0]
    specs = pool_specs(list(cells), [0], channels=2, cells=1, epochs=2, batch=16)
    test = train_pool(specs, data, tmp_path).predictions["test"]
    assert len(test) == len(np.unique(cells, axis=0))
    average = np.mean([test.probabilities[test.rows(cell[None])[0]] for cell in cells], axis=0)
    expected = 100 * (average.argmax(1) == test.labels).mean()
    assert ensemble_accuracy(run, test) == pytest.approx([expected])


def test_the_ensemble_command_opens_the_files(trained: tuple[Path, Pool]) -> None:
    from nasbench_sim.cli import app

    folder = trained[0]
    asked = ["ensemble", str(folder / "predictions-valid.h5"), "--size", "2", "--seeds", "3", "--json"]
    out = CliRunner().invoke(app, [*asked, "--test", str(folder / "predictions-test.h5")])
    assert out.exit_code == 0, out.output
    document = json.loads(out.stdout)
    assert document["models"] == len(CELLS) and document["dataset"] == "digits"
    assert set(document["scores"]) == {"valid", "test"}


def test_finished_members_are_skipped(trained: tuple[Path, Pool], monkeypatch: pytest.MonkeyPatch) -> None:
    folder, pool = trained
    monkeypatch.setattr(Trainer, "epoch", None)
    again = train_pool(pool_specs(CELLS, [0], **SIZES), DIGITS, folder)
    assert again.predictions["test"].sha256 == pool.predictions["test"].sha256
    with pytest.raises(RunError, match="another specification"):
        train_pool(pool_specs(CELLS, [0], **{**SIZES, "epochs": 2}), DIGITS, folder)


def test_a_member_that_diverges_is_left_out_and_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data, real = load_dataset("synthetic"), Trainer.lr
    small = {"channels": 2, "cells": 1, "epochs": 1, "batch": 16}
    monkeypatch.setattr(
        Trainer, "lr", lambda self, step: 1e30 if self.spec.index == 857 and step == 1 else real(self, step)
    )
    ticks: list[Any] = []
    specs = pool_specs([1835, 857], [1, 2], **small)
    pool = train_pool(specs, data, tmp_path, on_tick=lambda *a: ticks.append(a[:2]))
    assert [m.spec.index for m in pool.members] == [1835, 1835] and len(pool.failed) == 2
    assert "index 857, seed 1" in pool.failed[0] and len(pool.predictions["valid"]) == 2
    assert ticks == [(0, 4), (1, 4)]
    assert [m["seed"] for m in pool.summary()["members"]] == [1, 2]
    with pytest.raises(RunError, match="no network of the pool could be trained"):
        train_pool(specs[2:], data, tmp_path / "none")


def test_impossible_pools(trained: tuple[Path, Pool]) -> None:
    with pytest.raises(SpecError, match="at least one cell"):
        pool_specs([], [1])
    with pytest.raises(ArchError):
        pool_specs([1, 99_999], [1])
    assert len(pool_specs([5, "5"], [1, 1, 2])) == 2
    valid, test = trained[1].predictions["valid"], trained[1].predictions["test"]
    with pytest.raises(SpecError, match="unlike split"):
        joined([valid, test])
    with pytest.raises(SpecError, match="no predictions"):
        joined([])
    with pytest.raises(SpecError):
        joined([valid, valid])


def test_the_folder_names_are_the_official_indices(tmp_path: Path) -> None:
    assert member_folder(tmp_path, pool_specs([857], [3])[0]).name == "000857-3"
