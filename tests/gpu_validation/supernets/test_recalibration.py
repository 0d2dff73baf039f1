"""Statistics made anew: by hand, against PyTorch's cumulative mean, for what runs only, and leaving the net alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from gpu_validation.evaluate import recalibrated
from gpu_validation.supernets.nb201 import NB201Supernet
from nasbench_sim.errors import SpecError
from tests.gpu_validation.supernets.oracle import recalibrate
from tests.gpu_validation.tiny import HORIZON, SEEDS, landscape
from tests.gpu_validation.tiny import mixture as points

from .nets import gen, images, mixture, nb1shot1, nb201, one_hot

#: batches of unequal sizes: each counts the same
BATCHES = [images(4, seed=11), images(2, seed=12), images(7, seed=13)]


def trained(**values: object) -> NB201Supernet:
    """A net whose statistics and weights are not the initial ones."""
    net = nb201(batch_norm="running", **values)
    net(images(seed=3) * 2 + 1, mixture(net.space))
    return net


@pytest.mark.parametrize("backend", ["reference", "fused"])
def test_statistics_are_means_over_batches_by_hand(backend: str) -> None:
    net = trained(backend=backend)
    gates = mixture(net.space)
    new = recalibrate(net, BATCHES, gates)
    inputs: list[Tensor] = []
    hook = net.body.layers[0].register_forward_pre_hook(lambda _, args: inputs.append(args[0].detach()))
    for x in BATCHES:
        functional_call(net, {k: b.clone() for k, b in net.named_buffers()}, (x, gates))
    hook.remove()
    stem, plain = nn.BatchNorm2d(3, momentum=None).double(), net.body.stem
    z3 = [F.conv2d(F.relu(h), net.body.layers[0].w3[3], padding=1).detach() for h in inputs]  # edge 3: from node 0
    z1 = [F.conv2d(F.relu(h), net.body.layers[0].w1[0]).detach() for h in inputs]
    for x in BATCHES:
        stem(plain(x))
    torch.testing.assert_close(new["body.stem_norm.mean"], stem.running_mean)
    torch.testing.assert_close(new["body.stem_norm.var"], stem.running_var)
    for edge, which, z in ((3, 1, z3), (0, 0, z1)):
        means = [a.transpose(0, 1).flatten(1).mean(dim=1) for a in z]
        variances = [a.transpose(0, 1).flatten(1).var(dim=1, correction=1) for a in z]
        torch.testing.assert_close(new["body.layers.0.mean"][edge, which], torch.stack(means).mean(dim=0))
        torch.testing.assert_close(new["body.layers.0.var"][edge, which], torch.stack(variances).mean(dim=0))


def test_nothing_of_the_net_changes() -> None:
    net = trained()
    net.eval()
    net.body.last_norm.train()  # modes may be mixed
    state = {k: t.clone() for k, t in net.state_dict().items()}
    modes = [m.training for m in net.modules()]
    new = recalibrate(net, BATCHES, mixture(net.space))
    assert all(torch.equal(t, state[k]) for k, t in net.state_dict().items())
    assert [m.training for m in net.modules()] == modes
    assert all(p.grad is None for p in net.parameters()) and not any(b.requires_grad for b in new.values())
    assert set(new) == {k for k, _ in net.named_buffers()}
    with pytest.raises(SpecError, match="gates have shape"):
        recalibrate(net, BATCHES, torch.zeros(5, 6))
    assert [m.training for m in net.modules()] == modes  # after a refusal too


def test_one_batch_makes_evaluation_that_of_the_batch() -> None:
    """But for PyTorch's variances, n - 1 in what is kept and n in what a batch is normalised by."""
    net, x = trained(), images(64, size=(16, 16), seed=5)
    gates = mixture(net.space)
    new = recalibrate(net, [x], gates)
    by_batch = functional_call(net.train(), {k: b.clone() for k, b in net.named_buffers()}, (x, gates))
    stale, fresh = (functional_call(net.eval(), b, (x, gates)) for b in (dict(net.named_buffers()), new))
    assert (fresh - by_batch).detach().abs().max() < 0.01 * (stale - by_batch).detach().abs().max()


@pytest.mark.parametrize("space", ["nb201", "nb1shot1"])
def test_what_does_not_run_keeps_its_statistics(space: str) -> None:
    net = trained() if space == "nb201" else nb1shot1(1, batch_norm="running")
    if space == "nb201":
        gates, cell = one_hot(net.space, [3, 2, 1, 0, 4, 3]), "body.layers.0"
        ran = {(0, 1), (1, 0), (5, 1)}
    else:  # node 3 is a loose end; node 4 is a conv1x1
        arch = net.space.parse(
            "conv3x3-bn-relu~0|conv3x3-bn-relu~0+1|conv3x3-bn-relu~0+2|conv1x1-bn-relu~1+2|output~2+4"
        )
        gates, cell = one_hot(net.space, arch), "cells.0"
        ran = {(0, 1), (1, 1), (3, 0)}
    new = recalibrate(net, BATCHES, gates, gates.numpy() > 0)
    for kind in ("mean", "var"):
        before, after = dict(net.named_buffers())[f"{cell}.{kind}"], new[f"{cell}.{kind}"]
        moved = {(int(i), int(j)) for i, j in (before != after).any(dim=2).nonzero()}
        assert moved == ran, kind


def test_a_channel_without_variance_has_run() -> None:
    net = trained()
    with torch.no_grad():
        net.body.stem.weight[1] = 0
    new = recalibrate(net, BATCHES, mixture(net.space))
    assert float(new["body.stem_norm.var"][1]) == 0 and float(net.body.stem_norm.var[1]) > 0


def test_small_variances_keep_their_digits() -> None:
    net = NB201Supernet(channels=3, cells=1, batch_norm="running", generator=gen())
    x = images(8).float() * 1e-5
    var = recalibrate(net, [x], mixture(net.space).float())["body.stem_norm.var"]
    exact = net.body.stem(x).detach().double().transpose(0, 1).flatten(1).var(dim=1, correction=1)
    torch.testing.assert_close(var.double(), exact, rtol=1e-5, atol=0)


def test_batches_that_are_not_there() -> None:
    net = trained()
    with pytest.raises(SpecError, match="no batches"):
        recalibrate(net, iter(()), mixture(net.space))
    assert recalibrate(nb201(), iter(()), mixture(net.space)) == {}  # nothing to make anew


def test_the_landscape_recalibrates_alike() -> None:
    """`evaluate.recalibrated` works on rows of numbers and on the landscape's own batches: the same means."""
    land = landscape(batch_norm="running", backend="reference", precision="float64")
    state = land.init(SEEDS[:1], HORIZON)
    state = land.train_weights(state, points(0, 1, land), 2)
    row = land.row(state, 0)
    gates = land.one_hot(np.array([3, 2, 1, 3, 4, 3]))
    flat = recalibrated(land, row.seed, land.net.views(row.weights), row.buffers, gates)
    net = land.net.module
    weights = dict(zip(dict(net.named_parameters()), land.net.views(row.weights), strict=True))
    net.load_state_dict(weights, strict=False)
    batches = [land.images("train", row.seed, step)[0] for step in range(land.settings.recalibration)]
    new = recalibrate(net, batches, land.gates(gates), land.active(gates))
    joined = torch.cat([new[name].reshape(-1) for name, _ in net.named_buffers()])
    ran = flat != 0
    assert 0.2 < float(ran.double().mean()) < 1
    torch.testing.assert_close(joined[ran], flat[ran], rtol=1e-12, atol=1e-12)
