"""One network that diverges does not take the others of its pool with it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from gpu_validation.data import batch
from gpu_validation.training import TrainSpec, train_pool
from gpu_validation.training.trainer import Diverged
from tests.gpu_validation.training.small import DATA, SPACE, spec

GOOD, BAD = SPACE.format(SPACE.at(9930)), SPACE.format(SPACE.at(1462))
SPOILT = 3  # the training seed whose images are not finite


@pytest.fixture
def spoilt(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.set_num_threads(1)

    def some(*args: Any, seed: int, step: int, **named: Any) -> Any:
        x, y = batch(*args, seed=seed, step=step, **named)
        return (x * float("nan") if (seed, step) == (SPOILT, 5) else x), y

    monkeypatch.setattr("gpu_validation.training.trainer.batch", some)


def specs(*members: tuple[str, int]) -> list[TrainSpec]:
    return [spec(arch=arch, seed=seed, epochs=2) for arch, seed in members]


@pytest.mark.usefixtures("spoilt")
def test_it_is_left_out_and_named(tmp_path: Path) -> None:
    asked = specs((GOOD, 0), (BAD, SPOILT), (BAD, 0))
    pool = train_pool(asked, DATA, folder=tmp_path)
    assert [m.spec for m in pool.members] == [asked[0], asked[2]]
    (line,) = pool.failed
    assert line.startswith("cell 01462-seed3: the training loss is nan at step 5 (epoch 2)")
    said = pool.predictions("test")
    assert said.seeds.tolist() == [0, 0] and said.archs.tolist() == SPACE.at([9930, 1462]).tolist()
    document = json.loads(pool.save(tmp_path)["result"].read_text())
    assert document["failed"] == [line] and len(document["members"]) == 2
    again = train_pool(asked, DATA, folder=tmp_path, resume=True)  # from its last whole epoch, to the same end
    assert again.failed == (line,) and again.predictions("test").sha256 == said.sha256


@pytest.mark.usefixtures("spoilt")
def test_a_pool_of_which_nothing_is_left_is_an_error() -> None:
    with pytest.raises(Diverged, match=r"^cell 09930-seed3: the training loss is nan at step 5"):
        train_pool(specs((GOOD, SPOILT)), DATA)
    with pytest.raises(Diverged, match=r"^none of 2 networks could be trained; cell 09930-seed3: "):
        train_pool(specs((GOOD, SPOILT), (BAD, SPOILT)), DATA)
