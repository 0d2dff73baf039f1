"""Many networks of NAS-Bench-201 in one computation: activations `[B, G * C, H, W]`, each network its own channels.

A convolution of a few channels leaves a vector unit mostly idle, so several networks are packed into one group of a
grouped convolution (16 channels), with zeros between them; channels are innermost in memory. The zeros cost
arithmetic and save time: 8 networks of 2 channels in a group run 5 to 10 times as fast as 8 groups. BN and ReLU go
over all channels of all networks at once. What a network computes does not depend on its neighbours, except where one
of them is not finite (0 * inf): `packed=False` computes apart, for finding out whose fault it is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gpu_validation.contracts import BN_EPS, BN_MOMENTUM
from gpu_validation.reference.nb201 import EDGES, POOL, SKIP
from gpu_validation.stacks.cells import conv_edges, space
from gpu_validation.supernets.nb201_macro import Macro, ResidualBlock
from gpu_validation.supernets.nb201_network import InferCell, NB201Network
from nasbench_sim.errors import SpecError

GROUP = 16  # channels of a group of a convolution: one vector of float32


class StackedConv(nn.Module):
    """`G` convolutions of one shape: weight `[G, O, I, k, k]`; `mask` of that shape keeps 1x1 kernels in the middle."""

    mask: Tensor | None
    eye: Tensor

    def __init__(self, weights: Sequence[Tensor], stride: int, *, shared_input: bool = False) -> None:
        super().__init__()
        k = max(w.shape[-1] for w in weights)
        self.shared, self.stride, self.padding, self.networks = shared_input, stride, k // 2, len(weights)
        mixed = len({w.shape[-1] for w in weights}) > 1
        grown = [F.pad(w.detach(), [(k - w.shape[-1]) // 2] * 4) for w in weights]
        self.weight = nn.Parameter(torch.stack(grown))
        mask = torch.stack([F.pad(torch.ones_like(w), [(k - w.shape[-1]) // 2] * 4).detach() for w in weights])
        self.register_buffer("mask", mask if mixed else None)
        self.pack = math.gcd(self.networks, max(1, GROUP // self.weight.shape[2]))
        self.register_buffer("eye", torch.eye(self.pack).view(1, self.pack, 1, self.pack, 1, 1, 1))

    def dense(self, scale: Tensor | None, packed: bool) -> tuple[Tensor, int]:
        """The weight of the grouped convolution, each output channel times `scale[G * O]`, and its groups."""
        weight = self.weight if self.mask is None else self.weight * self.mask
        g, o, i, k, _ = weight.shape
        if scale is not None:
            weight = weight * scale.view(g, o, 1, 1, 1)
        if self.shared:
            return weight.reshape(g * o, i, k, k), 1
        if not packed or self.pack == 1:
            return weight.reshape(g * o, i, k, k), g
        p = self.pack
        spread = weight.view(g // p, p, o, 1, i, k, k) * self.eye
        return spread.view(g * o, p * i, k, k), g // p

    def run(self, x: Tensor, norm: StackedNorm | None, packed: bool) -> Tensor:
        """The convolutions of `x` and, with `norm`, its normalisation: folded into the weights in evaluation."""
        if norm is None or norm.training:
            weight, groups = self.dense(None, packed)
            y = F.conv2d(x, weight, stride=self.stride, padding=self.padding, groups=groups)
            return y if norm is None else norm(y)
        scale = norm.weight * (norm.var + BN_EPS).rsqrt()
        weight, groups = self.dense(scale, packed)
        bias = norm.bias - norm.mean * scale
        return F.conv2d(x, weight, bias, stride=self.stride, padding=self.padding, groups=groups)


class StackedNorm(nn.Module):
    """BN of all channels of all networks, with affine part and running statistics `[G * C]`."""

    mean: Tensor
    var: Tensor

    def __init__(self, networks: int, channels: int) -> None:
        super().__init__()
        self.networks = networks
        self.weight = nn.Parameter(torch.ones(networks * channels))
        self.bias = nn.Parameter(torch.zeros(networks * channels))
        self.register_buffer("mean", torch.zeros(networks * channels))
        self.register_buffer("var", torch.ones(networks * channels))

    def forward(self, x: Tensor) -> Tensor:
        """`x` normalised."""
        return F.batch_norm(x, self.mean, self.var, self.weight, self.bias, self.training, BN_MOMENTUM, BN_EPS)


class _ConvNorm(nn.Module):
    """Convolutions and BN."""

    def __init__(self, convs: Sequence[Any], channels: int, *, shared_input: bool = False) -> None:
        super().__init__()
        self.conv = StackedConv([c.weight for c in convs], convs[0].stride, shared_input=shared_input)
        self.norm = StackedNorm(len(convs), channels)

    def forward(self, x: Tensor, packed: bool) -> Tensor:
        return self.conv.run(x, self.norm, packed)


class _Cell(nn.Module):
    """A cell of each network: convolutions for all, the other operations as coefficients a network."""

    def __init__(self, cells: Sequence[InferCell], archs: npt.NDArray[np.int64], channels: int) -> None:
        super().__init__()
        self.convs = nn.ModuleDict()
        self.terms: dict[tuple[int, int], str] = {}  # (edge, operation): "all", or the name of its mask
        for edge in range(len(EDGES)):
            if conv_edges(archs[:, edge]).all():
                convs: list[Any] = [cell.convs[str(edge)] for cell in cells]
                self.convs[str(edge)] = _ConvNorm([c.conv for c in convs], channels)
                continue
            for op in (SKIP, POOL):
                has = archs[:, edge] == op
                if has.any():
                    self.terms[edge, op] = "all" if has.all() else f"mask_{edge}_{op}"
                if has.any() and not has.all():
                    mask = torch.from_numpy(np.repeat(has, channels)).float().view(1, -1, 1, 1)
                    self.register_buffer(f"mask_{edge}_{op}", mask)

    def forward(self, x: Tensor, packed: bool) -> Tensor:
        """`[B, G * C, H, W]` -> the same."""
        nodes, pools, relus = [x], dict[int, Tensor](), dict[int, Tensor]()
        for target in (1, 2, 3):
            total: Tensor | None = None
            for edge, (i, j) in enumerate(EDGES):
                if j != target:
                    continue
                if str(edge) in self.convs:
                    if i not in relus:
                        relus[i] = F.relu(nodes[i])
                    y = self.convs[str(edge)](relus[i], packed)
                    total = y if total is None else total + y
                for op in (SKIP, POOL):
                    how = self.terms.get((edge, op))
                    if how is None:
                        continue
                    y = nodes[i]
                    if op == POOL:
                        if i not in pools:
                            pools[i] = F.avg_pool2d(y, 3, stride=1, padding=1, count_include_pad=False)
                        y = pools[i]
                    if how == "all":
                        total = y if total is None else total + y
                    else:
                        mask = getattr(self, how)
                        total = y * mask if total is None else torch.addcmul(total, y, mask)
            nodes.append(torch.zeros_like(x) if total is None else total)
        return nodes[3]


class _Block(nn.Module):
    """The residual block between stages."""

    def __init__(self, blocks: Sequence[ResidualBlock]) -> None:
        super().__init__()
        outputs = blocks[0].conv_a.conv.weight.shape[0]
        self.conv_a = _ConvNorm([b.conv_a.conv for b in blocks], outputs)
        self.conv_b = _ConvNorm([b.conv_b.conv for b in blocks], outputs)
        self.shortcut = StackedConv([b.shortcut.weight for b in blocks], 1)

    def forward(self, x: Tensor, packed: bool) -> Tensor:
        short = self.shortcut.run(F.avg_pool2d(x, 2, 2, ceil_mode=True), None, packed)
        y: Tensor = self.conv_b(F.relu(self.conv_a(F.relu(x), packed)), packed)
        return short + y


class StackedNetworks(nn.Module):
    """Networks of `cells` (official indices, convolutions on the same edges), with the weights they have alone.

    Each starts from what `NB201Network(cell, generator=torch.Generator().manual_seed(seed))` draws. Raises `SpecError`
    for cells whose convolutions are on different edges.
    """

    def __init__(
        self, cells: npt.NDArray[np.int64], *, channels: int, per_stage: int, classes: int, in_channels: int, seed: int
    ) -> None:
        super().__init__()
        archs = space().at(cells)
        where = conv_edges(archs)
        if not (where == where[0]).all():
            raise SpecError("the cells of a stack have their convolutions on the same edges")
        self.networks = n = len(cells)
        alone = [
            NB201Network(
                arch,
                channels=channels,
                cells=per_stage,
                classes=classes,
                in_channels=in_channels,
                generator=torch.Generator().manual_seed(seed),
            )
            for arch in archs
        ]
        bodies: list[Macro] = [network.body for network in alone]
        self.stem = _ConvNorm([b.stem for b in bodies], channels, shared_input=True)
        layers: list[nn.Module] = []
        for at in range(len(bodies[0].layers)):
            same: list[Any] = [b.layers[at] for b in bodies]
            if isinstance(same[0], ResidualBlock):
                channels *= 2
                layers.append(_Block(same))
            else:
                layers.append(_Cell(same, archs, channels))
        self.layers = nn.ModuleList(layers)
        self.last_norm = StackedNorm(n, channels)
        self.head = nn.Parameter(torch.stack([b.classifier.weight.detach() for b in bodies]))  # [G, K, C]
        self.bias = nn.Parameter(torch.stack([b.classifier.bias.detach() for b in bodies]))  # [G, K]
        self.parameters_each = [sum(p.numel() for p in network.parameters()) for network in alone]

    def forward(self, images: Tensor, packed: bool = True) -> Tensor:
        """Logits `[G, B, classes]` of `images[B, c, H, W]`, which all networks see."""
        # made so after the stem: torch cannot see the layout of an image of one channel, and all layers keep the layout
        # they are given (channels outermost, they take 1.6 times as long)
        x = self.stem(images, packed).contiguous(memory_format=torch.channels_last)
        for layer in self.layers:
            x = layer(x, packed)
        x = F.relu(self.last_norm(x)).mean(dim=(2, 3))
        x = x.view(len(images), self.networks, -1).transpose(0, 1)
        return torch.baddbmm(self.bias[:, None], x, self.head.transpose(1, 2))
