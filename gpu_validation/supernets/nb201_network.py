"""The stand-alone network of a NAS-Bench-201 cell, as it was trained for the tables.

Source: Dong & Yang, NAS-Bench-201 (ICLR 2020), section 2; AutoDL-Projects, xautodl/models/cell_infers.
"""

from __future__ import annotations

import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from gpu_validation.reference.nb201 import CONV1, CONV3, EDGES, POOL, SKIP
from gpu_validation.supernets.layers import check_images, check_sizes
from gpu_validation.supernets.nb201_macro import Macro, ReluConvBN
from nasbench_sim.spaces import NB201
from nasbench_sim.tables.manifest import cached_space


class InferCell(nn.Module):
    """One operation an edge: `arch[6]`. Operations that no path reaches run too, as in the tables' networks."""

    def __init__(self, arch: list[int], channels: int, *, generator: Generator | None) -> None:
        super().__init__()
        self.arch = arch
        kernels = {CONV1: 1, CONV3: 3}
        self.convs = nn.ModuleDict(
            {
                str(edge): ReluConvBN(channels, channels, kernels[op], running=True, generator=generator)
                for edge, op in enumerate(arch)
                if op in kernels
            }
        )

    def forward(self, x: Tensor) -> Tensor:
        """`[B, C, H, W]` -> `[B, C, H, W]`."""
        nodes = [x]
        for target in (1, 2, 3):
            total = torch.zeros_like(x)
            for edge, (i, j) in enumerate(EDGES):
                if j != target:
                    continue
                if str(edge) in self.convs:
                    total = total + self.convs[str(edge)](nodes[i])
                elif self.arch[edge] == SKIP:
                    total = total + nodes[i]
                elif self.arch[edge] == POOL:
                    total = total + F.avg_pool2d(nodes[i], 3, stride=1, padding=1, count_include_pad=False)
            nodes.append(total)
        return nodes[3]


class NB201Network(nn.Module):
    """The network of one cell, `arch[6]` or its string: BN with affine part and running statistics.

    Weights are drawn by `generator` alone (None: no numbers, meta device). Raises `ArchError` for what is no cell of
    NAS-Bench-201, `SpecError` for sizes below 1 and for images of the wrong shape.

    >>> net = NB201Network([0, 0, 0, 0, 0, 0], classes=10, generator=None)
    >>> sum(p.numel() for p in net.parameters())  # millions in the tables: 0.073306
    73306
    """

    def __init__(
        self,
        arch: npt.ArrayLike,
        *,
        channels: int = 16,
        cells: int = 5,
        classes: int,
        in_channels: int = 3,
        generator: Generator | None,
    ) -> None:
        super().__init__()
        check_sizes("NB201Network", channels=channels, cells=cells, classes=classes, in_channels=in_channels)
        space = cached_space("nb201")
        assert isinstance(space, NB201)
        self.arch = [int(op) for op in (space.parse(arch) if isinstance(arch, str) else space.check(arch))]
        self.in_channels = in_channels
        self.body = Macro(
            lambda c: InferCell(self.arch, c, generator=generator),
            channels=channels,
            cells=cells,
            classes=classes,
            in_channels=in_channels,
            running=True,
            generator=generator,
        )

    def forward(self, images: Tensor) -> Tensor:
        """Logits `[B, classes]` of `images[B, in_channels, H, W]`."""
        check_images("NB201Network", images, self.in_channels, by_batch=self.training)
        logits: Tensor = self.body(images)
        return logits
