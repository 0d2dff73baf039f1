"""Jacobian covariance by an explicit Jacobian, NASWOT by counting units one by one, both by definition."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gpu_validation.proxies.patterns import K, jacov, nwot
from gpu_validation.proxies.saliency import Batch
from gpu_validation.proxies.score import Setting, draw
from nasbench_sim.errors import SpecError
from tests.gpu_validation.proxies.networks import Network

SETTING = Setting(classes=3, size=8, in_channels=2, channels=3, cells=1, seed=3)
CELL = [3, 4, 1, 2, 0, 2]


def tiny(cell: list[int] = CELL) -> nn.Module:
    return draw(cell, SETTING, Network).double()


def batch(size: int = 6) -> Batch:
    images = torch.randn(size, 2, 8, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return Batch(images, torch.zeros(size, dtype=torch.int64))


def test_jacov_is_its_formula_on_an_explicit_jacobian() -> None:
    network, x = tiny(), batch()
    inside = copy.deepcopy(network).train()
    whole = torch.autograd.functional.jacobian(inside, x.images)  # [B, classes, B, c, H, W]: each logit of each image
    rows = whole.sum(dim=(0, 1)).flatten(1).numpy()
    centred = rows - rows.mean(axis=1, keepdims=True)
    unit = centred / np.sqrt((centred**2).sum(axis=1, keepdims=True))
    v = np.linalg.svd(unit, compute_uv=False) ** 2  # the eigenvalues of unit @ unit.T
    assert jacov(network, x) == pytest.approx(-np.sum(np.log(v + K) + 1 / (v + K)), rel=1e-9)


def test_jacov_is_largest_for_uncorrelated_jacobians() -> None:
    """-B(log(1 + k) + 1/(1 + k)) where all eigenvalues are 1: each image has a layer of its own."""

    class Square(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return (x * x).flatten(1)

    images = torch.tensor([[1.0, -1, 0, 0], [0, 0, 1, -1], [1, 1, -1, -1]], dtype=torch.float64).reshape(3, 1, 2, 2)
    best = jacov(Square(), Batch(images, torch.zeros(3, dtype=torch.int64)))
    assert best == pytest.approx(-3 * (math.log1p(K) + 1 / (1 + K)), rel=1e-12)
    assert jacov(tiny(), batch(3)) < best


def count_agreement(network: nn.Module, x: Batch) -> np.ndarray:
    """K, pair by pair and unit by unit, from hooks on ReLU modules."""
    patterns: list[np.ndarray] = []
    inside = copy.deepcopy(network).train()
    for module in inside.modules():
        if isinstance(module, nn.ReLU):
            module.register_forward_hook(lambda _m, given, _o: patterns.append((given[0] > 0).flatten(1).numpy()))
    inside(x.images)
    on = np.concatenate(patterns, axis=1)
    size = len(x.images)
    return np.array(
        [[sum(int(p == q) for p, q in zip(on[a], on[b], strict=True)) for b in range(size)] for a in range(size)]
    )


def test_nwot_counts_units_that_agree() -> None:
    network, x = tiny(), batch()
    kernel = count_agreement(network, x)
    assert len(set(np.diag(kernel).tolist())) == 1 and kernel[0, 1] < kernel[0, 0]
    assert nwot(network, x) == pytest.approx(np.log(np.linalg.det(kernel.astype(float))), rel=1e-12)


def test_relus_count_however_they_are_called() -> None:
    class Calls(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            y = torch.relu(x) + nn.functional.relu(-x) + x.relu() + nn.ReLU(inplace=True)(-x.clone())
            return y.flatten(1)

    x = batch(2)
    units, differ = x.images[0].numel(), int(((x.images[0] > 0) != (x.images[1] > 0)).sum())
    expected = np.log((4.0 * units) ** 2 - (4.0 * (units - differ)) ** 2)
    assert nwot(Calls(), x) == pytest.approx(expected, rel=1e-12)


def test_scores_that_are_not_finite_are_nan() -> None:
    network = tiny([0] * 6)
    assert math.isnan(jacov(network, batch())) and math.isnan(nwot(network, batch()))
    twice = batch()
    twice.images[1] = twice.images[0]  # two equal images: K has two equal rows
    assert math.isnan(nwot(tiny(), twice))
    assert math.isnan(jacov(nn.Sequential(nn.Flatten(), nn.ReLU()), Batch(-torch.ones(3, 1, 2, 2), twice.labels[:3])))


def test_a_network_without_relus_has_no_patterns() -> None:
    with pytest.raises(SpecError, match="none"):
        nwot(nn.Flatten(), batch())


def test_nothing_is_left_behind() -> None:
    network = tiny().eval()
    before = copy.deepcopy(network.state_dict())
    jacov(network, batch())
    nwot(network, batch())
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())
    assert not network.training and not batch().images.requires_grad
