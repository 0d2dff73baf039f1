"""A stopped training goes on bit for bit; a damaged or foreign folder is told; nothing finished is done again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gpu_validation import checkpoint
from gpu_validation.data import load_dataset
from gpu_validation.train import FILE, NAME, WEIGHTS, load_network, train_arch
from gpu_validation.training import Trainer, TrainSpec, make_train_spec
from gpu_validation.training.loop import NotFinite
from nasbench_sim.ensembles import Predictions
from nasbench_sim.errors import RunError, SpecError

DATA = load_dataset("synthetic")


class Stopped(Exception):
    """What the tests stop a training with."""


def spec(**values: Any) -> TrainSpec:
    return make_train_spec(9930, "short", **{"epochs": 4, "channels": 2, "cells": 1, "batch": 16, **values})


def weights(folder: Path) -> bytes:
    (path,) = folder.glob(f"{WEIGHTS}-*.safetensors")
    return path.read_bytes()


def stop_after(epoch: int) -> Any:
    def on_epoch(done: int, total: int, row: Any) -> None:
        if done == epoch:
            raise Stopped

    return on_epoch


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    train_arch(spec(), DATA, folder)
    return folder


@pytest.mark.parametrize("epoch", [1, 3])
def test_resumed_equals_uninterrupted(epoch: int, tmp_path: Path, whole: Path) -> None:
    with pytest.raises(Stopped):
        train_arch(spec(), DATA, tmp_path, on_epoch=stop_after(epoch))
    assert not (tmp_path / FILE).exists()
    assert checkpoint.numbers(tmp_path / "checkpoints", NAME) == [epoch - 1, epoch]
    train_arch(spec(), DATA, tmp_path, resume=True)
    assert weights(tmp_path) == weights(whole)
    ours, theirs = (json.loads((f / FILE).read_text()) for f in (tmp_path, whole))
    assert ours["curves"] == theirs["curves"] and not (tmp_path / "checkpoints").exists()
    for split in ("valid", "test"):
        file = f"predictions-{split}.h5"
        assert Predictions.load(tmp_path / file).sha256 == Predictions.load(whole / file).sha256


KILLED = """
import os, signal, sys
from pathlib import Path
import torch
torch.set_num_threads(1)
from gpu_validation import checkpoint
from gpu_validation.data import load_dataset
from gpu_validation.train import train_arch
from gpu_validation.training import make_train_spec
import nasbench_sim.files

moves = 0
real = Path.replace
def replace(self, target):
    global moves
    moves += 1
    if moves == int(sys.argv[2]):  # between the arrays and their JSON file, or before the arrays
        os.kill(os.getpid(), signal.SIGKILL)
    return real(self, target)
Path.replace = replace
spec = make_train_spec(9930, "short", epochs=4, channels=2, cells=1, batch=16)
train_arch(spec, load_dataset("synthetic"), Path(sys.argv[1]))
"""


@pytest.mark.parametrize("move", [5, 6])
def test_killed_while_it_writes_a_checkpoint(move: int, tmp_path: Path, whole: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    out = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path), str(move)], env=environment, timeout=120)
    assert out.returncode == -signal.SIGKILL
    assert checkpoint.numbers(tmp_path / "checkpoints", NAME) == [0, 1]
    torch.set_num_threads(1)
    train_arch(spec(), DATA, tmp_path, resume=True)
    assert weights(tmp_path) == weights(whole) and not (tmp_path / "checkpoints").exists()


def stopped(folder: Path, **values: Any) -> None:
    with pytest.raises(Stopped):
        train_arch(spec(**values), DATA, folder, on_epoch=stop_after(3))


def test_a_corrupt_checkpoint_falls_back_to_the_one_before(tmp_path: Path, whole: Path) -> None:
    stopped(tmp_path)
    newest = sorted((tmp_path / "checkpoints").glob("*.safetensors"))[-1]
    content = bytearray(newest.read_bytes())
    content[len(content) // 2] ^= 1
    newest.write_bytes(bytes(content))
    train_arch(spec(), DATA, tmp_path, resume=True)
    assert weights(tmp_path) == weights(whole)
    again = tmp_path / "again"
    stopped(again)
    for path in (again / "checkpoints").glob("*.safetensors"):
        path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(RunError, match=r"no checkpoint of training can be read.*another sha256"):
        train_arch(spec(), DATA, again, resume=True)


def test_a_checkpoint_of_another_training(tmp_path: Path) -> None:
    stopped(tmp_path)
    with pytest.raises(RunError, match="was made for specification"):
        train_arch(spec(lr=0.2), DATA, tmp_path, resume=True)
    with pytest.raises(RunError, match="was made for data"):
        train_arch(spec(), load_dataset("digits"), tmp_path, resume=True)
    with pytest.raises(RunError, match="unfinished training; continue it with --resume"):
        train_arch(spec(), DATA, tmp_path)
    arrays = Trainer(spec(channels=3), DATA).arrays()
    with pytest.raises(RunError, match="arrays of another network"):
        Trainer(spec(), DATA).restore(arrays, 0)


def test_what_is_finished_is_not_done_again(whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = weights(whole)
    monkeypatch.setattr(Trainer, "epoch", None)
    found = train_arch(spec(), DATA, whole)
    assert found.curves.shape == (4, 6) and weights(whole) == before
    assert found.summary()["index"] == 9930 and found.summary()["parameters"] == Trainer(spec(), DATA).parameters
    with pytest.raises(RunError, match="training of another specification"):
        train_arch(spec(seed=1), DATA, whole)
    with pytest.raises(RunError, match="training of another data"):
        train_arch(spec(), load_dataset("digits"), whole)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"format": "gpu-validation training 1"}', "[" * 100_000])
def test_a_damaged_result(text: str, tmp_path: Path) -> None:
    (tmp_path / FILE).write_text(text)
    with pytest.raises(RunError, match="is damaged") as told:
        train_arch(spec(), DATA, tmp_path)
    assert "\n" not in str(told.value)


def test_the_trained_network_comes_back(whole: Path, tmp_path: Path) -> None:
    trainer = load_network(whole, spec(), DATA)
    logits, _ = trainer.outputs("valid")
    kept = Predictions.load(whole / "predictions-valid.h5")
    assert np.allclose(torch.softmax(logits.double(), 1).numpy(), kept.probabilities[0], atol=1e-6)
    with pytest.raises(RunError, match="no trained weights"):
        load_network(tmp_path, spec(), DATA)


def test_a_loss_that_is_not_finite_stops_and_keeps_the_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Trainer.lr
    monkeypatch.setattr(Trainer, "lr", lambda self, step: 1e30 if step == 9 else real(self, step))
    with pytest.raises(
        NotFinite, match=r"not finite at step 10 \(epoch 3 of 4\); lower lr.*epoch 2 is kept in"
    ) as told:
        train_arch(spec(), DATA, tmp_path)
    assert told.value.step == 10
    kept = checkpoint.load(tmp_path / "checkpoints", NAME, {})
    assert kept is not None and kept.number == 2 and all(np.isfinite(a).all() for a in kept.arrays.values())
    monkeypatch.setattr(Trainer, "lr", lambda self, step: 1e30 if step == 11 else real(self, step))
    with pytest.raises(NotFinite, match=r"the weights are not finite at step 11|the loss is not finite at step 12"):
        train_arch(spec(), DATA, tmp_path, resume=True)


def test_out_of_memory_says_what_would_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    real = Trainer.logits

    def small(limit: int, error: type[Exception], text: str) -> Any:
        def logits(self: Trainer, x: torch.Tensor) -> torch.Tensor:
            if len(x) > limit:
                raise error(text)
            return real(self, x)

        return logits

    for error, text in (
        (torch.OutOfMemoryError, "CUDA out of memory."),
        (RuntimeError, "DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes"),
        (MemoryError, ""),
    ):
        monkeypatch.setattr(Trainer, "logits", small(5, error, text))
        with pytest.raises(RunError, match="out of memory on the CPU with batch 16; a batch of 4 fits: set batch=4"):
            train_arch(spec(), DATA)
    monkeypatch.setattr(Trainer, "logits", small(1, MemoryError, ""))
    with pytest.raises(RunError, match="not even 2 images fit"):
        train_arch(spec(), DATA)
    monkeypatch.setattr(Trainer, "logits", small(16, MemoryError, ""))
    with pytest.raises(RunError, match="it is the evaluation: set eval_batch below 512"):
        train_arch(spec(), DATA)
    monkeypatch.setattr(Trainer, "logits", small(1, RuntimeError, "something else"))
    with pytest.raises(RuntimeError, match="something else"):
        train_arch(spec(), DATA)


def test_a_batch_larger_than_the_data_set() -> None:
    with pytest.raises(SpecError, match="has 1 to 64 images, got 256"):
        train_arch(spec(batch=256), DATA)
