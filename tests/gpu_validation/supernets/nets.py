"""Small networks, inputs and comparisons for the tests of supernets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from gpu_validation.supernets.nb1shot1 import NB1Shot1Supernet
from gpu_validation.supernets.nb101_network import NB101Network
from gpu_validation.supernets.nb201 import NB201Supernet
from gpu_validation.supernets.nb201_network import NB201Network
from nasbench_sim.spaces import Space

torch.set_num_threads(1)

CHAIN = [[0, 1, 1], [0, 0, 1], [0, 0, 0]], ["input", "conv3x3-bn-relu", "output"]


def gen(seed: int = 0) -> torch.Generator:
    """A generator of its own."""
    return torch.Generator().manual_seed(seed)


def nb201(**values: Any) -> NB201Supernet:
    """A NAS-Bench-201 supernet of 3 cells of 3, 6 and 12 channels in float64."""
    return NB201Supernet(**{"channels": 3, "cells": 1, "generator": gen(), **values}).double()


def nb1shot1(number: int = 1, **values: Any) -> NB1Shot1Supernet:
    """A NAS-Bench-1Shot1 supernet of 2 channels in float64."""
    return NB1Shot1Supernet(number, **{"channels": 2, "generator": gen(), **values}).double()


#: every network of the package, drawn by a generator
DRAWN: dict[str, Callable[[torch.Generator | None], nn.Module]] = {
    "nb201": lambda g: NB201Supernet(channels=4, cells=1, batch_norm="running", generator=g),
    "nb1shot1": lambda g: NB1Shot1Supernet(3, channels=2, batch_norm="running", generator=g),
    "nb201 network": lambda g: NB201Network([3, 2, 1, 0, 4, 3], channels=4, cells=1, classes=7, generator=g),
    "nb101 network": lambda g: NB101Network(*CHAIN, stem=4, generator=g),
}


def images(batch: int = 4, channels: int = 3, size: tuple[int, int] = (8, 8), seed: int = 1) -> Tensor:
    """Standard normal images in float64."""
    return torch.randn(batch, channels, *size, generator=gen(seed), dtype=torch.float64)


def mixture(space: Space, seed: int = 2) -> Tensor:
    """Random gates `[D, K]`, 0 beyond a decision's options."""
    raw = torch.rand(space.D, space.K, generator=gen(seed), dtype=torch.float64)
    return raw * torch.from_numpy(space.mask)


def one_hot(space: Space, arch: Any) -> Tensor:
    """Gates of an architecture."""
    out = torch.zeros(space.D, space.K, dtype=torch.float64)
    out[torch.arange(space.D), torch.as_tensor(np.asarray(arch))] = 1.0
    return out


def slopes(net: nn.Module, x: Tensor, gates: Tensor, active: Any = None) -> tuple[Tensor, Tensor, Tensor]:
    """Logits, gradient in the gates of a fixed random projection of them, and its gradient in all weights."""
    gates = gates.clone().requires_grad_()
    logits = net(x, gates, active)
    weights = list(net.parameters())
    loss = (logits * torch.randn(logits.shape, generator=gen(9), dtype=logits.dtype)).sum()
    found = torch.autograd.grad(loss, [gates, *weights], allow_unused=True)
    flat = [torch.zeros_like(t) if g is None else g for g, t in zip(found, [gates, *weights], strict=True)]
    return logits.detach(), flat[0], torch.cat([g.reshape(-1) for g in flat[1:]])


def gate_differences(net: nn.Module, x: Tensor, gates: Tensor, step: float = 1e-5) -> Tensor:
    """Central differences in every gate of the projection of `slopes`."""
    with torch.no_grad():
        seed = torch.randn(net(x, gates).shape, generator=gen(9), dtype=x.dtype)
        out = torch.empty_like(gates)
        for at in np.ndindex(*gates.shape):
            shift = torch.zeros_like(gates)
            shift[at] = step
            out[at] = ((net(x, gates + shift) - net(x, gates - shift)) * seed).sum() / (2 * step)
    return out
