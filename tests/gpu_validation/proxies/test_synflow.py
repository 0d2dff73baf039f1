"""SynFlow three ways: by the published recipe written out, forward, and its mean in closed form."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn

from gpu_validation.proxies.graph import classes
from gpu_validation.proxies.score import DATASETS, Setting, draw
from gpu_validation.proxies.synflow import synflow, synflow_forward
from gpu_validation.proxies.synflow_mean import CHUNK, synflow_mean
from nasbench_sim.errors import SpecError
from nasbench_sim.spaces import NB201
from tests.gpu_validation.proxies.networks import Network

CELLS = [[3, 3, 3, 3, 3, 3], [4, 2, 1, 2, 1, 1], [0, 0, 0, 1, 0, 0], [3, 4, 2, 0, 1, 3], [0, 0, 0, 0, 0, 0]]
SMALL = {"classes": 3, "size": 8, "in_channels": 2, "channels": 3, "cells": 2}
SETTING = Setting(**SMALL, seed=5)


def recipe(network: nn.Module, shape: tuple[int, int, int], batch_norm: bool) -> float:
    """The published steps on a copy: modules of batch normalisation taken out, absolute weights, backward."""
    net = copy.deepcopy(network).double().train()
    if not batch_norm:
        for parent in list(net.modules()):
            for name, child in list(parent.named_children()):
                if isinstance(child, nn.BatchNorm2d):
                    setattr(parent, name, nn.Identity())
    with torch.no_grad():
        for tensor in net.state_dict().values():
            tensor.abs_()
    net(torch.ones(1, *shape, dtype=torch.float64)).sum().backward()
    layers = [m for m in net.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    return sum(float((m.weight.detach() * m.weight.grad).abs().sum()) for m in layers if m.weight.grad is not None)


@pytest.mark.parametrize("cell", CELLS, ids=str)
def test_three_ways_to_one_number(cell: list[int]) -> None:
    network = draw(cell, SETTING, Network)
    published = recipe(network, SETTING.shape, batch_norm=False)
    assert synflow(network, SETTING.shape) == pytest.approx(published, rel=1e-12)
    assert synflow_forward(network, SETTING.shape) == pytest.approx(published, rel=1e-12)
    assert (published > 0) == (cell != CELLS[-1])
    kept = synflow(network, SETTING.shape, batch_norm=True)
    assert kept == pytest.approx(recipe(network, SETTING.shape, batch_norm=True), rel=1e-9)


def test_a_linear_network_in_closed_form() -> None:
    """R = 1^T |C| |B| |A| 1, and each of the three layers carries all of it; biases start paths of their own."""
    generator = torch.Generator().manual_seed(0)
    layers = [nn.Linear(i, o, bias=False, dtype=torch.float64) for i, o in ((12, 5), (5, 4), (4, 3))]
    with torch.no_grad():
        for layer in layers:
            layer.weight.normal_(generator=generator)
    a, b, c = (layer.weight.detach().abs() for layer in layers)
    through = float((c @ b @ a).sum())
    net = nn.Sequential(nn.Flatten(), *layers)
    assert synflow(net, (3, 2, 2)) == pytest.approx(3 * through, rel=1e-14)
    assert synflow_forward(net, (3, 2, 2)) == pytest.approx(3 * through, rel=1e-14)
    layers[0].bias = nn.Parameter(torch.full((5,), -2.0, dtype=torch.float64))
    expected = 3 * through + 2 * float((c @ b).sum() * 2)  # two layers lie behind the bias of the first
    assert synflow(net, (3, 2, 2)) == pytest.approx(expected, rel=1e-14)
    assert synflow_forward(net, (3, 2, 2)) == pytest.approx(expected, rel=1e-14)


def test_the_network_stays_as_it_is() -> None:
    network = draw(CELLS[3], SETTING, Network).eval()
    before = copy.deepcopy(network.state_dict())
    for batch_norm in (False, True):
        synflow(network, SETTING.shape, batch_norm=batch_norm)
    synflow_forward(network, SETTING.shape)
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())
    assert not any(module.training for module in network.modules())
    assert all(p.grad is None and p.dtype == torch.float32 for p in network.parameters())


@pytest.mark.parametrize("layer", [nn.MaxPool2d(2), nn.Sigmoid(), nn.GELU()], ids=lambda m: type(m).__name__)
def test_layers_that_do_not_scale_are_refused_forward_only(layer: nn.Module) -> None:
    net = nn.Sequential(nn.Conv2d(1, 2, 1), layer, nn.Flatten(), nn.LazyLinear(2))
    net(torch.ones(1, 1, 4, 4))
    assert synflow(net, (1, 4, 4)) > 0
    with pytest.raises(SpecError, match="not linear"):
        synflow_forward(net, (1, 4, 4))


@pytest.mark.parametrize("score", [synflow, synflow_forward])
def test_impossible_input_is_refused(score: object) -> None:
    with pytest.raises(SpecError, match="shape"):
        score(nn.Conv2d(1, 1, 1), (1, 0, 4))  # type: ignore[operator]
    with pytest.raises(SpecError, match="neither"):
        score(nn.ReLU(), (1, 4, 4))  # type: ignore[operator]


# --- the mean over initialisations ----------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [4, 8, 12])
def test_the_mean_is_the_score_of_a_network_of_mean_weights(size: int) -> None:
    setting = Setting(**{**SMALL, "size": size})
    means = synflow_mean(CELLS, size=size, classes=3, channels=3, depth=2, in_channels=2)
    for cell, mean in zip(CELLS, means, strict=True):
        network = draw(cell, setting, Network).double()
        with torch.no_grad():
            for parameter in network.parameters():
                if parameter.dim() >= 2:
                    parameter.fill_(0.5 * parameter[0].numel() ** -0.5)
        assert mean == pytest.approx(synflow(network, setting.shape), rel=1e-12)


def test_scores_of_many_draws_average_to_it() -> None:
    setting = {"classes": 2, "size": 4, "in_channels": 1, "channels": 2, "cells": 1}
    cell = [3, 2, 1, 4, 3, 2]
    draws = [synflow_forward(draw(cell, Setting(**setting, seed=s), Network), (1, 4, 4)) for s in range(100)]
    mean = synflow_mean([cell], size=4, classes=2, channels=2, depth=1, in_channels=1)[0]
    assert abs(np.mean(draws) - mean) < 4 * np.std(draws) / np.sqrt(100)
    assert np.std(draws) / mean < 0.6  # so that the line before can fail


def test_the_mean_is_one_number_for_cells_of_one_class_published_or_ours() -> None:
    """Twice one convolution and two convolutions have one mean, so that even the published classes are classes here."""
    space = NB201()
    means = synflow_mean(space.all, size=4, depth=1, channels=4)
    for number in (space.classes, classes().number):
        low, high = np.full(number.max() + 1, np.inf), np.zeros(number.max() + 1)
        np.minimum.at(low, number, means)
        np.maximum.at(high, number, means)
        assert np.allclose(low, high, rtol=1e-13, atol=0)


def test_chunks_do_not_show() -> None:
    cells = NB201().all[: CHUNK + 3]
    at_once = synflow_mean(cells, size=4, depth=1)
    assert np.allclose(at_once[-4:], synflow_mean(cells[-4:], size=4, depth=1), rtol=1e-14)
    assert len(synflow_mean(np.empty((0, 6), dtype=np.int64))) == 0


def test_data_sets_differ_as_they_should() -> None:
    """CIFAR-100 has ten times the outputs of CIFAR-10, and nothing else differs."""
    ten, hundred = (
        synflow_mean(CELLS, size=DATASETS[name].size, classes=DATASETS[name].classes)
        for name in ("cifar10", "cifar100")
    )
    assert np.allclose(hundred, 10 * ten, rtol=1e-13)
