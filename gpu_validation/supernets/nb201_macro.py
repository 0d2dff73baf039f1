"""The network around the cells of NAS-Bench-201, the same in search and stand-alone.

Stem conv3x3 + BN; three stages of N cells with C, 2C and 4C channels; a residual block of stride 2 between stages;
BN + ReLU, global average pooling, a linear classifier.

Source: Dong & Yang, NAS-Bench-201 (ICLR 2020), section 2; AutoDL-Projects, xautodl/models/cell_infers/tiny_network.py
and cell_operations.py (ResNetBasicblock). Deviation: the shortcut's average pooling rounds up, so that images of odd
size work; at even sizes nothing changes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch.nn.functional as F
from torch import Generator, Tensor, nn

from gpu_validation.supernets.layers import BatchNorm, Conv, Linear


class ReluConvBN(nn.Module):
    """ReLU, convolution without bias, BN with affine part."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, *, stride: int = 1, running: bool, generator: Generator | None
    ) -> None:
        super().__init__()
        self.conv = Conv(inputs, outputs, kernel, stride=stride, generator=generator)
        self.norm = BatchNorm(outputs, running=running, generator=generator)

    def forward(self, x: Tensor) -> Tensor:
        """`[B, inputs, H, W]` -> `[B, outputs, ceil(H / stride), ceil(W / stride)]`."""
        y: Tensor = self.norm(self.conv(F.relu(x)))
        return y


class ResidualBlock(nn.Module):
    """Halves the image and doubles the channels: conv_b(conv_a(x)) + conv1x1(avgpool2(x))."""

    def __init__(self, inputs: int, *, running: bool, generator: Generator | None) -> None:
        super().__init__()
        outputs = 2 * inputs
        self.conv_a = ReluConvBN(inputs, outputs, 3, stride=2, running=running, generator=generator)
        self.conv_b = ReluConvBN(outputs, outputs, 3, running=running, generator=generator)
        self.shortcut = Conv(inputs, outputs, 1, generator=generator)

    def forward(self, x: Tensor) -> Tensor:
        """`[B, C, H, W]` -> `[B, 2 C, ceil(H / 2), ceil(W / 2)]`."""
        y: Tensor = self.shortcut(F.avg_pool2d(x, 2, 2, ceil_mode=True)) + self.conv_b(self.conv_a(x))
        return y


class Macro(nn.Module):
    """Stem, stages and classifier around cells made by `make(channels)`; `forward(images, *rest)` gives each `rest`."""

    def __init__(
        self,
        make: Callable[[int], nn.Module],
        *,
        channels: int,
        cells: int,
        classes: int,
        in_channels: int,
        running: bool,
        generator: Generator | None,
    ) -> None:
        super().__init__()
        self.stem = Conv(in_channels, channels, 3, generator=generator)
        self.stem_norm = BatchNorm(channels, running=running, generator=generator)
        layers: list[nn.Module] = []
        for stage in range(3):
            if stage:
                layers.append(ResidualBlock(channels, running=running, generator=generator))
                channels *= 2
            layers += [make(channels) for _ in range(cells)]
        self.layers = nn.ModuleList(layers)
        self.last_norm = BatchNorm(channels, running=running, generator=generator)
        self.classifier = Linear(channels, classes, generator=generator)

    def forward(self, images: Tensor, *rest: Any) -> Tensor:
        """Logits `[B, classes]`."""
        x: Tensor = self.stem_norm(self.stem(images))
        for layer in self.layers:
            x = layer(x) if isinstance(layer, ResidualBlock) else layer(x, *rest)
        logits: Tensor = self.classifier(F.relu(self.last_norm(x)).mean(dim=(2, 3)))
        return logits
