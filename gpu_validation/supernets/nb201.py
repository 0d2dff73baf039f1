"""The weight-sharing supernet of NAS-Bench-201.

The network of the tables, each cell of which runs all operations of all edges, weighed by gates that all cells share.

Source: Dong & Yang, NAS-Bench-201 (ICLR 2020), sections 2 and 5; AutoDL-Projects, xautodl/models/cell_searchs.
Deviations: cells' convolutions have no bias there either where it matters (a bias before a BN without affine part
changes nothing; the published code has one); with `batch_norm="batch"` also the stem, the residual blocks and the last
BN go by the mini-batch, where the published code keeps running statistics for those in both modes.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Generator, Tensor, nn

from gpu_validation.contracts import Active, Backend, BatchNorm
from gpu_validation.ops import nb201_cell
from gpu_validation.reference.nb201 import RunningStats
from gpu_validation.supernets.layers import check_gates, check_images, check_settings, filled, uniform
from gpu_validation.supernets.nb201_macro import Macro
from nasbench_sim.tables.manifest import cached_space


class SearchCell(nn.Module):
    """Weights of one cell: `w1[6, C, C, 1, 1]`, `w3[6, C, C, 3, 3]`; `running`: buffers `mean`, `var` `[6, 2, C]`.

    `compute` is the cell of a backend, `run` of the constructor.
    """

    mean: Tensor | None
    var: Tensor | None

    def __init__(
        self, channels: int, run: Callable[..., Tensor], *, running: bool, generator: Generator | None
    ) -> None:
        super().__init__()
        self.compute = run
        c = channels
        self.w1 = uniform((6, c, c, 1, 1), c, generator)
        self.w3 = uniform((6, c, c, 3, 3), 9 * c, generator)
        self.register_buffer("mean", filled((6, 2, c), 0.0, generator) if running else None)
        self.register_buffer("var", filled((6, 2, c), 1.0, generator) if running else None)

    def forward(self, x: Tensor, gates: Tensor, active: Active | None) -> Tensor:
        """`[B, C, H, W]` -> `[B, C, H, W]` at `gates[6, 5]`."""
        stats = None if self.mean is None or self.var is None else RunningStats(self.mean, self.var)
        return self.compute(x, self.w1, self.w3, gates, stats, training=self.training, active=active)


class NB201Supernet(nn.Module):
    """Supernet of `cells` cells a stage (3 stages of C, 2C, 4C channels) for images of any size from 4x4.

    `batch_norm` "batch": statistics of the mini-batch in training and evaluation, no buffers; "running": also running
    statistics, used in evaluation. `backend`: who computes a cell. Weights are drawn by `generator` alone (None: no
    numbers, meta device). Raises `SpecError` for sizes below 1, an unknown backend or batch_norm and, in `forward`, for
    gates, active or images of the wrong shape.

    >>> import torch
    >>> net = NB201Supernet(channels=2, cells=1, generator=torch.Generator().manual_seed(0))
    >>> net(torch.ones(2, 3, 8, 8), torch.full((6, 5), 0.2)).shape
    torch.Size([2, 10])
    """

    def __init__(
        self,
        *,
        channels: int = 16,
        cells: int = 5,
        classes: int = 10,
        in_channels: int = 3,
        batch_norm: BatchNorm = "batch",
        backend: Backend = "reference",
        generator: Generator | None,
    ) -> None:
        super().__init__()
        sizes = {"channels": channels, "cells": cells, "classes": classes, "in_channels": in_channels}
        check_settings("NB201Supernet", batch_norm, **sizes)
        running, run = batch_norm == "running", nb201_cell(backend)
        self.space, self.in_channels, self.running = cached_space("nb201"), in_channels, running
        self.body = Macro(
            lambda c: SearchCell(c, run, running=running, generator=generator),
            channels=channels,
            cells=cells,
            classes=classes,
            in_channels=in_channels,
            running=running,
            generator=generator,
        )

    def forward(self, images: Tensor, gates: Tensor, active: Active | None = None) -> Tensor:
        """Logits `[B, classes]` of `images[B, in_channels, H, W]` at `gates[6, 5]`; see `contracts.Supernet`."""
        check_images("NB201Supernet", images, self.in_channels, by_batch=self.training or not self.running)
        check_gates("NB201Supernet", gates, active, (6, 5))
        logits: Tensor = self.body(images, gates, active)
        return logits
