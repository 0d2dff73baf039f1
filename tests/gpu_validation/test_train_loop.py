"""The loop of stand-alone training: the optimiser's formula, the schedule, precisions, what is learnt."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from gpu_validation.data import batch, load_dataset
from gpu_validation.training import PROTOCOLS, Trainer, TrainSpec, make_network, make_train_spec
from nasbench_sim.errors import ArchError, SpecError

DATA = load_dataset("synthetic")
MIXED = "|nor_conv_3x3~0|+|avg_pool_3x3~0|skip_connect~1|+|nor_conv_1x1~0|none~1|nor_conv_3x3~2|"


def spec(arch: Any = MIXED, **values: Any) -> TrainSpec:
    return make_train_spec(arch, "short", **{"epochs": 3, "channels": 2, "cells": 1, "batch": 16, **values})


def test_three_steps_are_the_formula() -> None:
    """w, v by hand in float64, from the gradients of a network that is not stepped by the optimiser."""
    chosen = spec(precision="float64", weight_decay=0.01, lr=0.3)
    trainer = Trainer(chosen, DATA)
    trainer.net.train()
    by_hand = Trainer(chosen, DATA).net.train()
    velocity = [torch.zeros_like(p) for p in by_hand.parameters()]
    for step in range(3):
        x, y = batch(DATA, "train", seed=chosen.seed, step=step, size=16)
        lr = 0.15 * (1 + math.cos(math.pi * step / 12))  # 64 images in batches of 16, 3 epochs
        assert trainer.lr(step) == pytest.approx(lr, rel=1e-12)
        trainer.step(x, y, trainer.lr(step))
        gradients = torch.autograd.grad(F.cross_entropy(by_hand(x.double()), y), list(by_hand.parameters()))
        with torch.no_grad():
            for p, g, v in zip(by_hand.parameters(), gradients, velocity, strict=True):
                g = g + 0.01 * p
                v.mul_(0.9).add_(g)
                p -= lr * (g + 0.9 * v)
    for ours, theirs in zip(trainer.net.parameters(), by_hand.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-14)


def test_the_published_protocol() -> None:
    table = make_train_spec(9930)
    assert (table.epochs, table.batch, table.lr, table.momentum, table.weight_decay) == (200, 256, 0.1, 0.9, 5e-4)
    assert (table.channels, table.cells, table.augment, table.precision) == (16, 5, True, "float32")
    assert make_train_spec(9930, "table-12").epochs == 12 and set(PROTOCOLS) == {"table", "table-12", "short"}
    trainer = Trainer(spec(), DATA)
    assert (trainer.lr(0), trainer.lr(6)) == (0.1, 0.05) and trainer.lr(12) == pytest.approx(0, abs=1e-15)


def test_curves_are_what_they_say() -> None:
    trainer = Trainer(spec(), DATA)
    trainer.epoch()
    logits, labels = trainer.outputs("test")
    loss, accuracy = trainer.curves[-1][4:]
    assert (labels == DATA.labels["test"]).all() and logits.shape == (64, 10)
    probabilities = torch.softmax(logits.double(), 1).numpy()[np.arange(64), labels.numpy()]
    assert loss == pytest.approx(-np.log(probabilities).mean(), rel=1e-9)
    assert accuracy == pytest.approx(100 * float((logits.argmax(1) == labels).float().mean()))


def test_evaluation_does_not_depend_on_its_batch() -> None:
    first, second = (Trainer(spec(precision="float64", eval_batch=size), DATA) for size in (7, 64))
    for trainer in (first, second):
        trainer.epoch()
    assert first.curves == [pytest.approx(row, rel=1e-12) for row in second.curves]


def test_seeds_differ_and_the_same_seed_does_not() -> None:
    def weights(seed: int) -> np.ndarray:
        trainer = Trainer(spec(seed=seed), DATA)
        trainer.epoch()
        return np.concatenate([p.detach().numpy().ravel() for p in trainer.net.parameters()])

    torch.rand(3)
    state = torch.random.get_rng_state()
    assert (weights(1) == weights(1)).all() and (weights(1) != weights(2)).any()
    assert torch.equal(state, torch.random.get_rng_state())  # nothing was drawn from the global generator


@pytest.mark.parametrize(
    ("values", "tolerance"),
    [
        ({"precision": "float64", "channels_last": True}, 1e-10),
        ({"precision": "float32"}, 1e-3),
        ({"channels_last": True}, 1e-3),
        ({"precision": "bfloat16"}, 0.15),
        ({"precision": "float16"}, 0.02),
    ],
)
def test_every_way_to_compute_gives_the_same_losses(values: dict[str, Any], tolerance: float) -> None:
    exact, other = Trainer(spec(precision="float64", lr=0.01), DATA), Trainer(spec(lr=0.01, **values), DATA)
    for trainer in (exact, other):
        trainer.epoch()
    difference = np.abs(np.array(exact.curves)[:, ::2] - np.array(other.curves)[:, ::2]).max()
    assert difference < tolerance
    assert all(p.dtype == other.number for p in other.net.parameters())


def test_a_compiled_network_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """The graph is captured and run without code generation, which needs a C++ compiler and a minute."""
    real, asked = torch.compile, []

    def compiled(net: Any) -> Any:
        asked.append(net)
        return real(net, backend="eager")

    monkeypatch.setattr(torch, "compile", compiled)
    plain, fast = Trainer(spec(), DATA), Trainer(spec(compiled=True), DATA)
    for trainer in (plain, fast):
        trainer.epoch()
    assert len(asked) == 1 and plain.curves == fast.curves


def test_digits_are_learnt() -> None:
    data = load_dataset("digits")
    trainer = Trainer(make_train_spec(1835, "short", epochs=4, channels=4, cells=1), data)
    for _ in range(4):
        trainer.epoch()
    curves = np.array(trainer.curves)
    assert (np.diff(curves[:, 0]) < 0).all() and curves[-1, 3] > 80 and curves[-1, 5] > 80


def test_a_cell_of_nas_bench_1shot1_is_its_module() -> None:
    from nasbench_sim.tables.manifest import cached_space

    space = cached_space("nb1shot1-1")
    chosen = spec(0, space="nb1shot1-1", channels=8)
    assert chosen.name == space.format(chosen.arch) and chosen.index == 0
    net = make_network(chosen, classes=10, in_channels=3, generator=torch.Generator().manual_seed(0))
    assert net(torch.zeros(2, 3, 8, 8)).shape == (2, 10)


@pytest.mark.parametrize(
    ("arch", "values", "kind", "message"),
    [
        ("15625", {}, ArchError, "an integer in 0..15624, got 15625"),
        (15625, {}, ArchError, "0..15624"),
        (-1, {}, ArchError, "0..15624"),
        ("9" * 400, {}, ArchError, "0..15624"),
        ("|conv~0|+|none~0|none~1|+|none~0|none~1|none~2|", {}, ArchError, "unknown operation 'conv'"),
        ("", {}, ArchError, "expected"),
        ([0, 0, 0, 0, 0, 5], {}, ArchError, "5"),
        ([0, 0, 0], {}, ArchError, "6"),
        (MIXED, {"space": "nb1shot1-1"}, ArchError, "expected 4 nodes"),
        (9930, {"space": "nb202"}, SpecError, "did you mean 'nb201'"),
        (9930, {"epochs": 0}, SpecError, "epochs: Input should be greater"),
        (9930, {"batch": 1}, SpecError, "batch"),
        (9930, {"lr": float("nan")}, SpecError, "lr"),
        (9930, {"lr": float("inf")}, SpecError, "lr"),
        (9930, {"momentum": 1.0}, SpecError, "momentum"),
        (9930, {"seed": -1}, SpecError, "seed"),
        (9930, {"seed": 2**63}, SpecError, "seed"),
        (9930, {"epochs": "20"}, SpecError, "epochs"),
        (9930, {"precision": "int8"}, SpecError, "precision"),
        (9930, {"chanels": 4}, SpecError, "there is no such setting; there are"),
    ],
)
def test_impossible_specifications(arch: Any, values: dict[str, Any], kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message) as told:
        spec(arch, **values)
    assert "\n" not in str(told.value)


def test_an_unknown_protocol() -> None:
    with pytest.raises(SpecError, match="did you mean 'table'"):
        make_train_spec(0, "tabel")
