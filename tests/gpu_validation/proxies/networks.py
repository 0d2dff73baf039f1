"""A stand-alone NAS-Bench-201 network written for these tests alone, from modules, as its benchmark paper has it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

EDGES = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))


def conv(c: int, d: int, k: int, generator: torch.Generator, stride: int = 1) -> nn.Conv2d:
    layer = nn.Conv2d(c, d, k, stride=stride, padding=k // 2, bias=False)
    bound = (c * k * k) ** -0.5
    with torch.no_grad():
        layer.weight.uniform_(-bound, bound, generator=generator)
    return layer


def relu_conv_bn(c: int, d: int, k: int, generator: torch.Generator, stride: int = 1) -> nn.Module:
    return nn.Sequential(nn.ReLU(), conv(c, d, k, generator, stride), nn.BatchNorm2d(d))


class Cell(nn.Module):
    def __init__(self, arch: Sequence[int], c: int, generator: torch.Generator) -> None:
        super().__init__()
        self.edges = nn.ModuleDict()
        for (i, j), op in zip(EDGES, arch, strict=True):
            if op == 1:
                self.edges[f"{j}<-{i}"] = nn.Identity()
            elif op in (2, 3):
                self.edges[f"{j}<-{i}"] = relu_conv_bn(c, c, 1 if op == 2 else 3, generator)
            elif op == 4:
                self.edges[f"{j}<-{i}"] = nn.AvgPool2d(3, stride=1, padding=1, count_include_pad=False)

    def forward(self, x: Tensor) -> Tensor:
        nodes = [x]
        for j in (1, 2, 3):
            total = torch.zeros_like(x)
            for i in range(j):
                if f"{j}<-{i}" in self.edges:
                    total = total + self.edges[f"{j}<-{i}"](nodes[i])
            nodes.append(total)
        return nodes[3]


class Reduction(nn.Module):
    def __init__(self, c: int, generator: torch.Generator) -> None:
        super().__init__()
        self.deep = nn.Sequential(
            relu_conv_bn(c, 2 * c, 3, generator, stride=2), relu_conv_bn(2 * c, 2 * c, 3, generator)
        )
        self.short = nn.Sequential(nn.AvgPool2d(2), conv(c, 2 * c, 1, generator))

    def forward(self, x: Tensor) -> Tensor:
        return self.deep(x) + self.short(x)


class Network(nn.Module):
    def __init__(
        self,
        arch: Sequence[int],
        *,
        channels: int = 16,
        cells: int = 5,
        classes: int = 10,
        in_channels: int = 3,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        c = channels
        self.stem = nn.Sequential(conv(in_channels, c, 3, generator), nn.BatchNorm2d(c))
        stages: list[nn.Module] = []
        for stage in range(3):
            if stage:
                stages.append(Reduction(c, generator))
                c *= 2
            stages += [Cell(arch, c, generator) for _ in range(cells)]
        self.stages = nn.Sequential(*stages)
        self.head = nn.Sequential(nn.BatchNorm2d(c), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.classifier = nn.Linear(c, classes)
        with torch.no_grad():
            self.classifier.weight.uniform_(-(c**-0.5), c**-0.5, generator=generator)
            self.classifier.bias.uniform_(-(c**-0.5), c**-0.5, generator=generator)

    def forward(self, images: Tensor) -> Tensor:
        return self.classifier(self.head(self.stages(self.stem(images))))
