"""The macro skeleton of NAS-Bench-201 around any cell function: stem, three stages of N cells, residual blocks between.

Only what a timing needs: random weights of unit scale, batch statistics, no training recipe.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

CellFunction = Callable[..., Tensor]


class Skeleton(nn.Module):
    """`forward(images[B, 3, H, W], gates[6, 5]) -> logits[B, 10]`, with the cell computed by `cell`."""

    def __init__(self, cell: CellFunction, *, channels: int, cells: int, generator: torch.Generator) -> None:
        super().__init__()
        self.cell = cell
        self.generator = generator
        self.stem = self._weight(channels, 3, 3, 3)
        self.w1, self.w3 = nn.ParameterList(), nn.ParameterList()
        self.first, self.second, self.short = nn.ParameterList(), nn.ParameterList(), nn.ParameterList()
        self.cells = cells
        for stage in range(3):
            c = channels << stage
            for _ in range(cells):
                self.w1.append(self._weight(6, c, c, 1, 1))
                self.w3.append(self._weight(6, c, c, 3, 3))
            if stage < 2:
                self.first.append(self._weight(2 * c, c, 3, 3))
                self.second.append(self._weight(2 * c, 2 * c, 3, 3))
                self.short.append(self._weight(2 * c, c, 1, 1))
        self.head = self._weight(10, 4 * channels, 1, 1)

    def _weight(self, *shape: int) -> nn.Parameter:
        scale = 1.0 / math.sqrt(math.prod(shape[-3:]))
        return nn.Parameter(scale * torch.randn(*shape, generator=self.generator))

    def forward(self, images: Tensor, gates: Tensor) -> Tensor:
        """Logits."""
        x = _normalise(F.conv2d(images, self.stem, padding=1))
        for stage in range(3):
            for number in range(stage * self.cells, (stage + 1) * self.cells):
                x = self.cell(x, self.w1[number], self.w3[number], gates)
            if stage < 2:
                h = _normalise(F.conv2d(F.relu(x), self.first[stage], stride=2, padding=1))
                h = _normalise(F.conv2d(F.relu(h), self.second[stage], padding=1))
                x = h + F.conv2d(F.avg_pool2d(x, 2), self.short[stage])
        pooled = F.relu(_normalise(x)).mean((2, 3), keepdim=True)
        return F.conv2d(pooled, self.head).flatten(1)


def _normalise(z: Tensor) -> Tensor:
    return F.batch_norm(z, None, None, training=True)
