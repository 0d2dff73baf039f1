"""SNIP, GraSP, gradient norm and Fisher against finite differences, a full Hessian and numbers worked out by hand."""

from __future__ import annotations

import copy
from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from gpu_validation.proxies.saliency import Batch, check_batch, fisher, grad_norm, grasp, snip
from gpu_validation.proxies.score import Setting, draw
from nasbench_sim.errors import SpecError
from tests.gpu_validation.proxies.networks import Network

SETTING = Setting(classes=3, size=4, in_channels=1, channels=1, cells=1, seed=3)
CELL = [3, 4, 1, 2, 0, 2]
ALL = (snip, grasp, grad_norm, fisher)


def tiny(cell: list[int] = CELL) -> nn.Module:
    return draw(cell, SETTING, Network).double()


def batch(size: int = 5) -> Batch:
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(size, 1, 4, 4, generator=generator, dtype=torch.float64)
    return Batch(images, torch.randint(3, (size,), generator=generator))


def loss_of(network: nn.Module, x: Batch) -> tuple[Callable[[Tensor], Tensor], Tensor]:
    """The loss as a function of all weights in one vector, and the vector."""
    names = [name for name, p in network.named_parameters() if p.dim() >= 2]
    start = {name: p.detach() for name, p in network.named_parameters()}
    vector = torch.cat([start[name].flatten() for name in names])
    inside = copy.deepcopy(network).train()

    def loss(flat: Tensor) -> Tensor:
        parts, at = {}, 0
        for name in names:
            parts[name] = flat[at : at + start[name].numel()].view_as(start[name])
            at += start[name].numel()
        return F.cross_entropy(functional_call(inside, {**start, **parts}, (x.images,)), x.labels)

    return loss, vector


def slopes(loss: Callable[[Tensor], Tensor], at: Tensor, h: float = 1e-5) -> Tensor:
    """dL/dw by central differences."""
    steps = torch.eye(len(at), dtype=torch.float64) * h
    with torch.no_grad():
        return torch.stack([(loss(at + s) - loss(at - s)) / (2 * h) for s in steps])


def test_snip_is_the_slope_in_a_mask_of_ones() -> None:
    network, x = tiny(), batch()
    loss, w = loss_of(network, x)
    by_mask = slopes(lambda mask: loss(mask * w), torch.ones_like(w))
    assert snip(network, x) == pytest.approx(float(by_mask.abs().sum()), rel=1e-5)


def test_grad_norm_adds_the_norms_of_layers() -> None:
    network, x = tiny(), batch()
    g = slopes(*loss_of(network, x))
    sizes = [p.numel() for p in network.parameters() if p.dim() >= 2]
    assert len(sizes) > 5
    assert grad_norm(network, x) == pytest.approx(sum(float(part.norm()) for part in g.split(sizes)), rel=1e-5)


def test_grasp_is_a_product_with_the_whole_hessian_and_with_differences_of_gradients() -> None:
    network, x = tiny([2, 0, 1, 1, 0, 2]), batch()
    loss, w = loss_of(network, x)
    w = w.requires_grad_()
    g = torch.autograd.grad(loss(w), w)[0]
    hessian = torch.autograd.functional.hessian(loss, w.detach())
    assert grasp(network, x) == pytest.approx(-float(w.detach() @ hessian @ g), rel=1e-9)
    ends = [(w.detach() + s * 1e-5 * g).requires_grad_() for s in (1, -1)]
    ahead, behind = (torch.autograd.grad(loss(end), end)[0] for end in ends)
    assert grasp(network, x) == pytest.approx(-float(w.detach() @ (ahead - behind)) / 2e-5, rel=1e-4)


def test_fisher_by_hand() -> None:
    """One linear layer of 4 inputs: a = W x, dL/da = (softmax(a) - onehot) / B, each output times its 4 weights."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(4, 3, dtype=torch.float64))
    generator = torch.Generator().manual_seed(2)
    images = torch.randn(6, 1, 2, 2, generator=generator, dtype=torch.float64)
    labels = torch.randint(3, (6,), generator=generator)
    a = net(images).detach().numpy()
    p = np.exp(a) / np.exp(a).sum(axis=1, keepdims=True)
    delta = (p - np.eye(3)[labels.numpy()]) / 6
    expected = 4 * 0.5 * ((a * delta) ** 2).mean(axis=0).sum()
    assert fisher(net, Batch(images, labels)) == pytest.approx(expected, rel=1e-12)


def test_fisher_of_convolutions_by_hooks_on_modules() -> None:
    """As its source computes it: activations and gradients caught at each module, every weight given its channel's."""
    network, x = tiny(), batch()
    kept: list[tuple[nn.Module, Tensor]] = []

    def keep(module: nn.Module, _: object, out: Tensor) -> None:
        out.retain_grad()
        kept.append((module, out))

    other = copy.deepcopy(network).train()
    for module in other.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.register_forward_hook(keep)
    F.cross_entropy(other(x.images), x.labels).backward()
    total = 0.0
    for module, out in kept:
        assert out.grad is not None
        channel = (out.detach() * out.grad).reshape(*out.shape[:2], -1).sum(-1).pow(2).mean(0) / 2
        total += float((channel[:, None] * torch.ones_like(module.weight.detach().flatten(1))).sum())
    assert len(kept) > 5 and fisher(network, x) == pytest.approx(total, rel=1e-12)


@pytest.mark.parametrize("score", ALL)
def test_a_disconnected_cell_scores_a_number_and_nothing_is_left_behind(score: Callable[..., float]) -> None:
    network, x = tiny([0] * 6).eval(), batch()
    before = copy.deepcopy(network.state_dict())
    assert np.isfinite(score(network, x))
    full = tiny().eval()
    score(full, x)
    assert not full.training and all(p.grad is None for p in full.parameters())
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())
    assert all(float(b.sum()) == 0 for name, b in full.named_buffers() if "tracked" in name or "mean" in name)


@pytest.mark.parametrize(
    ("images", "labels", "said"),
    [
        (torch.zeros(2, 1, 4), torch.zeros(2, dtype=torch.int64), r"\[B, c, H, W\]"),
        (torch.zeros(2, 1, 4, 4, dtype=torch.uint8), torch.zeros(2, dtype=torch.int64), "floating-point"),
        (torch.zeros(2, 1, 4, 4), torch.zeros(2), "int64"),
        (torch.zeros(2, 1, 4, 4), torch.zeros(3, dtype=torch.int64), r"int64 \[2\]"),
        (torch.full((2, 1, 4, 4), torch.nan), torch.zeros(2, dtype=torch.int64), "finite"),
    ],
)
def test_batches_that_are_none_are_refused(images: Tensor, labels: Tensor, said: str) -> None:
    with pytest.raises(SpecError, match=said):
        check_batch(Batch(images, labels))


@pytest.mark.parametrize("score", ALL)
@pytest.mark.parametrize("label", [3, -1])
def test_labels_beyond_the_classes_are_refused(score: Callable[..., float], label: int) -> None:
    with pytest.raises(SpecError, match="3 classes"):
        score(tiny(), batch()._replace(labels=torch.full((5,), label)))
