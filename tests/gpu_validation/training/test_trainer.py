"""A training is that of torch.optim.SGD, may be cut or killed anywhere, and says what went wrong."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from gpu_validation import checkpoint
from gpu_validation.data import batch, load_dataset
from gpu_validation.memory import fitting, told_what_fits
from gpu_validation.training import PROTOCOLS, Trained, TrainSpec, make_train_spec, train
from gpu_validation.training.trainer import CURVES, NAME, predict
from nasbench_sim.errors import RunError, SpecError
from tests.gpu_validation.training.small import CELL, DATA, maker, spec


class Stop(Exception):
    """A training is cut here."""


def cut_after(epoch: int) -> Any:
    def tick(done: int, total: int, last: Mapping[str, float]) -> None:
        if done == epoch:
            raise Stop

    return tick


def same(a: Trained, b: Trained) -> bool:
    x, y = a.network.state_dict(), b.network.state_dict()
    curves = all(np.array_equal(a.curves[name], b.curves[name]) for name in CURVES)
    return curves and list(x) == list(y) and all(torch.equal(x[name], y[name]) for name in x)


def test_the_protocol_of_the_tables() -> None:
    """FACTS A.4: SGD with Nesterov momentum, lr 0.1 to 0 by a cosine, momentum 0.9, 5e-4, batch 256, 200 epochs."""
    table = make_train_spec(protocol="table", arch=CELL, dataset="cifar10")
    assert (table.epochs, table.batch, table.lr, table.momentum, table.weight_decay) == (200, 256, 0.1, 0.9, 5e-4)
    assert (table.channels, table.cells, table.augment, table.precision) == (16, 5, True, "float32")
    assert set(PROTOCOLS["short"]) == set(PROTOCOLS["table"])


def test_a_training_is_that_of_torch() -> None:
    """Against nn.Module, SGD(nesterov=True) and CosineAnnealingLR, three epochs of four steps, augmented images."""
    asked = spec(lr=0.05)
    torch.set_num_threads(1)
    got = train(asked, DATA, maker(asked))
    network = maker(asked)(torch.Generator().manual_seed(asked.seed)).train()
    optimiser = torch.optim.SGD(network.parameters(), lr=0.05, momentum=0.9, nesterov=True, weight_decay=5e-4)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, asked.epochs)
    losses = []
    for step in range(12):
        x, y = batch(DATA, "train", seed=asked.seed, step=step, size=asked.batch)
        loss = F.cross_entropy(network(x), y)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
        if step % 4 == 3:
            schedule.step()
    want = network.state_dict()
    for name, tensor in got.network.state_dict().items():
        assert torch.allclose(tensor, want[name], atol=1e-5, rtol=1e-4), name
    assert np.allclose(got.curves["train_loss"], np.reshape(losses, (3, 4)).mean(1), rtol=1e-5)
    accuracy = (network.eval()(DATA.normalised(DATA.images["valid"])).argmax(1) == DATA.labels["valid"]).float().mean()
    assert got.curves["valid_accuracy"][-1] == pytest.approx(100 * float(accuracy), abs=1e-4)
    said = predict(got.network, DATA, "valid", 20)
    assert 100 * float((said.argmax(1) == DATA.labels["valid"].numpy()).mean()) == got.curves["valid_accuracy"][-1]
    truth = said[np.arange(64), DATA.labels["valid"].numpy()].astype(float)
    assert -np.log(truth).mean() == pytest.approx(got.curves["valid_loss"][-1], rel=1e-5)


@pytest.mark.parametrize(
    "values", [{}, {"precision": "bfloat16", "channels_last": True}, {"precision": "float16"}], ids=str
)
def test_cut_anywhere_it_goes_on_bit_for_bit(tmp_path: Path, values: dict[str, Any]) -> None:
    asked = spec(**values)
    whole = train(asked, DATA, maker(asked))
    for epoch in (1, 2):
        folder = tmp_path / str(epoch)
        with pytest.raises(Stop):
            train(asked, DATA, maker(asked), folder=folder, on_tick=cut_after(epoch))
        again = train(asked, DATA, maker(asked), folder=folder, resume=True)
        assert same(whole, again)
    assert same(train(asked, DATA, maker(asked), folder=folder, resume=True), whole)  # nothing is left to do
    other = spec(**{**values, "seed": 1})
    assert not same(train(other, DATA, maker(other)), whole)


KILLED = """
import os, signal, sys
from pathlib import Path
import torch
torch.set_num_threads(1)
from gpu_validation.training import train
from tests.gpu_validation.training.small import DATA, maker, spec
from nasbench_sim import files

def tick(done, total, last):
    if done == 1:  # from here on, die in the middle of the next checkpoint: arrays there, its JSON file not
        def dying(target):
            if str(target).endswith(".json"):
                os.kill(os.getpid(), signal.SIGKILL)
            return whole(target)
        whole, module.atomic_path = module.atomic_path, dying

import gpu_validation.checkpoint as module
train(spec(), DATA, maker(spec()), folder=Path(sys.argv[1]), on_tick=tick)
"""


def test_killed_within_a_checkpoint_it_goes_on_bit_for_bit(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    root = Path(__file__).resolve().parents[3]
    died = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], cwd=root, capture_output=True, text=True)
    assert died.returncode == -signal.SIGKILL, died.stderr
    assert checkpoint.numbers(tmp_path, NAME) == [1] and (tmp_path / f"{NAME}-00000002.safetensors").exists()
    assert same(train(spec(), DATA, maker(spec()), folder=tmp_path, resume=True), train(spec(), DATA, maker(spec())))


def test_a_network_that_overflows_stops_and_keeps_the_last_whole_epoch(tmp_path: Path) -> None:
    asked = spec(lr=1.0, weight_decay=2.5, epochs=40)  # weights grow manyfold a step
    with pytest.raises(RunError, match=r"the network is not finite after step \d+ \(epoch") as e:
        train(asked, DATA, maker(asked), folder=tmp_path)
    last = checkpoint.numbers(tmp_path, NAME)[-1]
    assert f"the state after epoch {last} is kept in {tmp_path}" in str(e.value) and "\n" not in str(e.value)
    found = checkpoint.load(tmp_path, NAME, asked.model_dump())
    assert found is not None
    assert all(np.isfinite(v).all() for k, v in found.arrays.items() if not k.startswith("curves/"))
    assert int(str(e.value).split(" step ")[1].split()[0]) // 4 == last >= 1


@pytest.mark.parametrize(
    ("value", "what"),
    [(float("nan"), "the training loss is nan at step 6"), (1e20, "the network is not finite after step 7")],
)
def test_what_is_not_finite_is_told_with_its_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: float, what: str
) -> None:
    def spoilt(*args: Any, step: int, **named: Any) -> Any:
        x, y = batch(*args, step=step, **named)
        return (x * value if step == 6 else x), y

    monkeypatch.setattr("gpu_validation.training.trainer.batch", spoilt)
    with pytest.raises(RunError, match=rf"{what} \(epoch 2\): lower lr \(0.1\); the state after epoch 1 is"):
        train(spec(), DATA, maker(spec()), folder=tmp_path)
    monkeypatch.undo()
    assert same(train(spec(), DATA, maker(spec()), folder=tmp_path, resume=True), train(spec(), DATA, maker(spec())))


@pytest.mark.parametrize("kind", ["of a GPU", "of this machine"])
def test_out_of_memory_names_a_batch_that_would_fit(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: Any, **named: Any) -> Any:
        if kind == "of a GPU":
            raise torch.OutOfMemoryError("CUDA out of memory")
        return torch.empty(2**50)  # a petabyte: what torch says about it is its own

    monkeypatch.setattr("gpu_validation.training.trainer.batch", full)
    with pytest.raises(RunError, match="a batch of 16 images does not fit into the memory of cpu; try a batch of 8"):
        train(spec(), DATA, maker(spec()))


def test_an_evaluation_that_does_not_fit_names_its_own_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr("gpu_validation.training.trainer.evaluate", full)
    with pytest.raises(RunError, match="a batch of 32 images does not fit into the memory of cpu; try a batch of 16"):
        train(spec(), DATA, maker(spec()))


def test_the_memory_of_a_gpu_is_measured_at_two_small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in for a GPU: 1,000 bytes of weights, 10 bytes an image, 1,000 bytes free beside the weights."""
    peak = [0]
    for name, value in (
        ("empty_cache", None),
        ("reset_peak_memory_stats", None),
        ("mem_get_info", (1000, 9999)),
        ("memory_allocated", 1000),
    ):
        monkeypatch.setattr(torch.cuda, name, lambda *args, value=value: value)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda *args: peak[0])
    probed: list[int] = []

    def probe(n: int) -> None:
        probed.append(n)
        peak[0] = 1000 + 10 * n

    with (
        pytest.raises(RunError, match="256 images does not fit into the memory of cuda; try a batch of 80"),
        told_what_fits(256, probe, torch.device("cuda")),
    ):
        raise torch.OutOfMemoryError("CUDA out of memory")
    assert probed == [8, 16]


def test_another_error_of_the_runtime_is_not_called_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: Any, **named: Any) -> Any:
        raise RuntimeError("shapes differ")

    monkeypatch.setattr("gpu_validation.training.trainer.batch", broken)
    with pytest.raises(RuntimeError, match="shapes differ"):
        train(spec(), DATA, maker(spec()))


def test_the_line_through_two_peaks() -> None:
    """1,000 bytes of weights and 10 an image; 0.9 of 2,000 bytes leave room for 80 images."""
    assert fitting((2, 4), (1020, 1040), 2000, 256) == 80
    assert fitting((2, 4), (1020, 1040), 2000, 64) == 63
    assert fitting((2, 4), (1020, 1040), 500, 64) == 0


def test_checkpoints_of_others_and_broken_ones(tmp_path: Path) -> None:
    train(spec(), DATA, maker(spec()), folder=tmp_path)
    for values, message in (
        ({"epochs": 4}, "was made for epochs 3, not 4"),
        ({"lr": 0.2}, "was made for lr 0.1, not 0.2"),
        ({"seed": 7}, "was made for seed 0, not 7"),
    ):
        other = spec(**values)
        with pytest.raises(RunError, match=message):
            train(other, DATA, maker(other), folder=tmp_path, resume=True)
    moved = replace(DATA, pad=2)
    with pytest.raises(RunError, match="was made for data"):
        train(spec(), moved, maker(spec()), folder=tmp_path, resume=True)
    found = checkpoint.load(tmp_path, NAME, {})
    assert found is not None
    fewer = dict(found.arrays)
    fewer.popitem()
    checkpoint.save(tmp_path, NAME, 3, fewer, found.facts)
    with pytest.raises(RunError, match="holds another network"):
        train(spec(), DATA, maker(spec()), folder=tmp_path, resume=True)
    for path in tmp_path.glob("*.safetensors"):
        path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(RunError, match="no checkpoint of training can be read"):
        train(spec(), DATA, maker(spec()), folder=tmp_path, resume=True)


def test_impossible_specifications() -> None:
    for values in ({"lr": float("nan")}, {"epochs": 0}, {"batch": 1}, {"epochs": 2.0}, {"more": 1}, {"seed": -1}):
        with pytest.raises(SpecError, match="impossible training"):
            spec(**values)
    with pytest.raises(SpecError, match="unknown protocol 'tabel'; did you mean 'table'"):
        spec(protocol="tabel")
    large, elsewhere = spec(batch=65), spec(dataset="digits")
    with pytest.raises(SpecError, match="64 training images, fewer than a batch of 65"):
        train(large, DATA, maker(large))
    with pytest.raises(SpecError, match="a training on digits, the images are of synthetic"):
        train(elsewhere, DATA, maker(elsewhere))
    assert isinstance(spec(), TrainSpec)


@pytest.mark.gpu
def test_a_gpu_trains_as_a_cpu_does_and_goes_on(tmp_path: Path) -> None:
    """The same mini-batches and initial weights: one epoch agrees to the rounding of TF32 convolutions."""
    asked, theirs = spec(), load_dataset("synthetic", device="cuda")
    with pytest.raises(Stop):
        train(asked, theirs, maker(asked), device="cuda", folder=tmp_path, on_tick=cut_after(1))
    got = train(asked, theirs, maker(asked), device="cuda", folder=tmp_path, resume=True)
    want = train(asked, DATA, maker(asked))
    assert got.curves["train_loss"][0] == pytest.approx(want.curves["train_loss"][0], rel=1e-2)
    assert got.curves["train_loss"][-1] < got.curves["train_loss"][0]
    assert next(got.network.parameters()).is_cuda
