"""Networks trained side by side are those trained alone, and all of them make a table and a file of predictions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import nasbench_sim as nb
from gpu_validation.data import batch, load_dataset
from gpu_validation.stacks import run as runs
from gpu_validation.stacks.cells import conv_edges, make_stacks, representatives, space
from gpu_validation.stacks.run import make_predictions, make_table, members, probabilities, quantised, train_all
from gpu_validation.stacks.trainer import StackTraining, train_stack
from gpu_validation.supernets.nb201_network import NB201Network
from gpu_validation.training import make_train_spec, train_pool
from gpu_validation.training.trainer import CURVES
from nasbench_sim.ensembles.coverage import coverage
from nasbench_sim.errors import NotMeasured, RunError, SpecError
from nasbench_sim.files import held
from nasbench_sim.tables.store import read_table, write_table

DATA = load_dataset("synthetic")
CELLS = representatives()[[0, 5, 700, 701, 702, 2000, 3001, 3002, 5000, 6465]]


def spec(**more: Any) -> Any:
    return make_train_spec(
        **{"arch": "all", "dataset": "synthetic", "epochs": 2, "channels": 2, "batch": 16, "eval_batch": 32, **more}
    )


def alone(cell: int, steps: int, channels: int, cells: int) -> tuple[NB201Network, list[float]]:
    """The network of a cell after `steps` steps in float64, written out anew, and its losses."""
    sizes = {"channels": channels, "cells": cells, "classes": 10, "in_channels": 3}
    network = NB201Network(space().at(cell), **sizes, generator=torch.Generator().manual_seed(3)).double()
    parameters = list(network.parameters())
    optimiser = torch.optim.SGD(parameters, lr=0.1, momentum=0.9, nesterov=True, weight_decay=5e-4)
    losses = []
    for step in range(steps):
        x, y = batch(DATA, "train", seed=3, step=step, size=16, augment=True)
        loss = F.cross_entropy(network(x.double()), y)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    return network.eval(), losses


@pytest.mark.parametrize(("channels", "cells"), [(2, 1), (3, 2), (16, 1)])
def test_each_network_of_a_stack_is_the_one_trained_alone(channels: int, cells: int) -> None:
    for stack in make_stacks(CELLS):
        training = StackTraining(stack.cells, spec(seed=3, channels=channels, cells=cells), DATA, torch.float64)
        training.net.train()
        seen = [training.step(0, i) for i in range(4)]
        logs = training.log_probabilities("test")
        for place, cell in enumerate(stack.cells):
            network, losses = alone(int(cell), 4, channels, cells)
            assert np.allclose([step[0][place] for step in seen if step], losses, rtol=1e-9, atol=1e-10)
            said = network(DATA.normalised(DATA.images["test"]).double()).log_softmax(1)
            assert torch.allclose(logs[place], said, rtol=1e-6, atol=1e-8)


def test_a_cell_through_which_nothing_flows_is_trained_too() -> None:
    dead = space().format(np.zeros(6, dtype=np.int64))
    pool = train_pool([spec(arch=dead)], DATA)
    curves = train_stack(space().resolve(dead) * np.ones(1, dtype=np.int64), spec(), DATA).curves
    for name in CURVES:
        assert np.allclose(pool.members[0].curves[name], curves[name], rtol=1e-4)
    assert (curves["valid_accuracy"] <= 25).all()  # the classifier's bias is all that is left


def test_a_network_that_diverges_is_alone_in_it() -> None:
    cells = make_stacks(CELLS[2:5])[0].cells
    good = train_stack(cells, spec(), DATA)

    class Poisoned(StackTraining):
        def step(self, epoch: int, number: int, packed: bool = True) -> Any:
            if epoch == 1 and number == 1:
                with torch.no_grad():
                    self.net.head[0] = float("nan")
            return super().step(epoch, number, packed)

    training = Poisoned(cells, spec(), DATA)
    first, _ = training.epoch(0)
    last, _ = training.epoch(1)
    assert np.isfinite(first["valid_loss"]).all() and training.failed.tolist() == [2, *[0] * (len(cells) - 1)]
    assert np.isnan(last["valid_loss"][0]) and np.isfinite(last["valid_loss"][1:]).all()
    for name in ("train_loss", "valid_loss"):  # computed apart: equal to rounding
        assert np.allclose(last[name][1:], good.curves[name][1:, 1], rtol=1e-3)


def test_one_cell_of_each_class_is_trained_and_stacks_share_their_convolutions() -> None:
    listed = members()
    first = np.concatenate([m.stack.cells for m in listed if m.seed == 0])
    again = np.concatenate([m.stack.cells for m in listed if m.seed == 1])
    assert len(first) == 6466 == len(set(space().classes[first].tolist()))
    assert len(again) == 647 and np.isin(again, first).all()
    for member in listed:
        where = conv_edges(space().at(member.stack.cells))
        assert (where == where[0]).all() and len(member.stack.cells) <= 32
    assert len({m.name for m in listed}) == len(listed)


def test_a_killed_run_goes_on_and_two_processes_share_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert train_all(spec(), DATA, tmp_path / "whole", cells=CELLS)
    calls: list[int] = []
    plain = runs.train_stack

    def dies(cells: Any, *rest: Any, **more: Any) -> Any:
        calls.append(len(cells))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return plain(cells, *rest, **more)

    monkeypatch.setattr(runs, "train_stack", dies)
    with pytest.raises(KeyboardInterrupt):
        train_all(spec(), DATA, tmp_path / "cut", cells=CELLS)
    name = members(CELLS)[-1].name
    with held(tmp_path / "cut" / "stacks" / f"{name}.lock"):
        assert not train_all(spec(), DATA, tmp_path / "cut", cells=CELLS)
    assert train_all(spec(), DATA, tmp_path / "cut", cells=CELLS)
    with held(tmp_path / "cut" / "stacks" / f"{members(CELLS)[0].name}.lock"):  # finished: nobody is needed for it
        assert train_all(spec(), DATA, tmp_path / "cut", cells=CELLS)
    assert len(calls) == len(members(CELLS)) + 1  # what was finished was not trained again
    one, other = (make_table(spec(), DATA, tmp_path / f, "mini", CELLS) for f in ("whole", "cut"))
    assert all(np.array_equal(one.accuracy[k], other.accuracy[k], equal_nan=True) for k in one.accuracy)
    with pytest.raises(RunError, match="made for epochs"):
        train_all(spec(epochs=1), DATA, tmp_path / "cut", cells=CELLS)


def test_what_was_trained_is_a_table_and_predictions(tmp_path: Path) -> None:
    train_all(spec(), DATA, tmp_path, cells=CELLS)
    path = tmp_path / "table.h5"
    write_table(make_table(spec(), DATA, tmp_path, "mini", CELLS), path)
    table = read_table(path)
    cell = int(CELLS[3])
    same = np.flatnonzero(space().classes == space().classes[cell])
    ask = {"dataset": "synthetic", "split": "valid", "epochs": 2, "seed": 0}
    assert len({table.query(int(i), **ask) for i in same}) == 1
    stack = next(m.stack for m in members(CELLS) if m.seed == 0 and cell in m.stack.cells)
    curves = train_stack(stack.cells, spec(seed=0), DATA).curves
    place = stack.cells.tolist().index(cell)
    assert table.query(cell, **ask) == pytest.approx(curves["valid_accuracy"][place, 1])
    loss = table.metrics["loss_nats/valid/1/0", "synthetic"][cell]
    assert loss == pytest.approx(curves["valid_loss"][place, 0], rel=1e-6)
    with pytest.raises(NotMeasured):
        table.query(int(np.flatnonzero(~np.isin(space().classes, space().classes[CELLS]))[0]), **ask)
    said = make_predictions(spec(), DATA, tmp_path, "valid", CELLS)
    row = next(i for i, a in enumerate(said.archs) if (a == space().at(cell)).all() and said.seeds[i] == 0)
    right = 100 * (said.probabilities[row].argmax(axis=1) == said.labels).mean()
    assert abs(right - curves["valid_accuracy"][place, 1]) <= 5  # bytes tie classes of a network that is sure of none
    assert (said.seeds == 1).sum() == 1 and nb.open_table(str(path)).sha256 == table.sha256
    with pytest.raises(RunError, match="not finished"):
        make_table(spec(), DATA, tmp_path / "none", "mini", CELLS)
    with pytest.raises(SpecError, match="valid and test"):
        make_predictions(spec(), DATA, tmp_path, "train", CELLS)


def test_the_best_classes_are_trained_ten_times_for_deep_ensembles(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="not finished"):
        make_predictions(spec(), DATA, tmp_path, "valid", CELLS, deep=3)
    assert train_all(spec(), DATA, tmp_path, cells=CELLS)
    table = make_table(spec(), DATA, tmp_path, "mini", CELLS)
    loss = table.metrics["loss_nats/valid/2/0", "synthetic"][CELLS]
    best = {space().at(cell).tobytes() for cell in CELLS[np.argsort(loss, kind="stable")[:3]]}
    ticks: list[tuple[int, int]] = []
    assert train_all(spec(), DATA, tmp_path, cells=CELLS, deep=3, on_stack=lambda *t: ticks.append(t[:2]))
    assert ticks[-1] == (11 + 27, 11 + 27)
    said = make_predictions(spec(), DATA, tmp_path, "valid", CELLS, deep=3)
    known = coverage(said)
    often = [k for k, rows in enumerate(known.seeds) if len(rows) >= 10]
    assert {said.archs[known.base[k]].tobytes() for k in often} == best
    assert all({0, *range(2, 11)} <= set(said.seeds[known.seeds[k]].tolist()) for k in often)
    seeds = said.probabilities[known.seeds[often[0]]]
    assert len(np.unique(seeds, axis=0)) == len(seeds)  # other weights, other answers
    # the table is that of seeds 0 and 1: seeds of cells that were picked would say too little of the noise
    again = make_table(spec(), DATA, tmp_path, "mini", CELLS)
    assert set(again.accuracy) == set(table.accuracy) and {k.seed for k in again.accuracy} == {0, 1}
    for wrong in (-1, len(CELLS) + 1):
        with pytest.raises(SpecError, match=f"0 to {len(CELLS)} classes"):
            train_all(spec(), DATA, tmp_path, cells=CELLS, deep=wrong)


def test_bytes_keep_what_an_ensemble_is_scored_by() -> None:
    random = np.random.default_rng(0)
    logits = 3 * random.standard_normal((2000, 10)).astype(np.float32)
    logs = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    labels = logits.argmax(axis=1)
    labels[::5] = random.integers(0, 10, 400)
    back = probabilities(quantised(logs))
    rows = np.arange(2000)
    nll, again = -logs[rows, labels].mean(), -np.log(back[rows, labels]).mean()
    assert abs(again - nll) < 0.002 and abs(back - np.exp(logs)).max() < 0.01
    assert (back.argmax(axis=1) == logs.argmax(axis=1)).mean() > 0.99


@pytest.mark.parametrize("wrong", [{"precision": "bfloat16"}, {"compiled": True}, {"dataset": "digits"}, {"batch": 99}])
def test_what_stacks_do_not_do_is_refused(wrong: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(SpecError) as caught:
        train_all(spec(**wrong), DATA, tmp_path / "x", cells=CELLS)
    assert "\n" not in str(caught.value)


def test_the_command_trains_all_and_leaves_a_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from tests.gpu_validation.test_cli import call, refused

    few = {0: CELLS[:4], 1: CELLS[:1]}
    some = [runs.Member(seed, stack) for seed, cells in few.items() for stack in make_stacks(cells)]
    monkeypatch.setattr(runs, "members", lambda cells: some)
    words = ["train", "--all", "--data", "synthetic", "--set", "channels=2", "--set", "batch=16", "--epochs", "1"]
    assert "--all needs --out" in refused(capsys, monkeypatch, *words)
    assert "leave cells" in refused(capsys, monkeypatch, *words, "1462", "--out", tmp_path / "a")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "x").touch()
    assert "not empty" in refused(capsys, monkeypatch, *words, "--out", tmp_path / "b")
    assert "table" in call(*words, "--threads", "1", "--out", tmp_path / "mini")
    table = nb.open_table(str(tmp_path / "mini" / "table.h5"))
    assert table.name == "mini" and {k.seed for k in table.accuracy} == {0, 1}
    call(*words, "--threads", "1", "--deep", "2", "--out", tmp_path / "mini", "--resume")
    assert len(nb.ensembles.Predictions.load(tmp_path / "mini" / "predictions-test.h5")) == 5 + 2 * 9
    wrong = [word for word in words if word != "--all"]
    assert "needs --all" in refused(capsys, monkeypatch, *wrong, "1462", "--deep", "2", "--out", tmp_path / "c")
