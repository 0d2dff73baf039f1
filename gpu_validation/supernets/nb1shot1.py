"""The weight-sharing supernets of NAS-Bench-1Shot1, search spaces 1, 2 and 3.

Stem conv3x3-BN-ReLU; nine cells; a max pool of stride 2 and twice the channels before cells 3 and 6; ReLU, 1x1
convolution and BN; global average pooling; a linear classifier.

Source: Zela, Siems & Hutter, NAS-Bench-1Shot1 (ICLR 2020), section 3; optimizers/darts/model_search.py. Deviations,
beside those of the cell: the max pool pads odd sizes only (there it pads by 1 always: 32, 17, 9 pixels, where the
networks of the tables have 32, 16, 8), and running statistics move by 0.1 a batch (there by 0.997, TensorFlow's
meaning of the number in PyTorch's place).
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Generator, Tensor, nn

from gpu_validation.contracts import Active, Backend, BatchNorm
from gpu_validation.ops import choice_block
from gpu_validation.supernets.layers import BatchNorm as Norm
from gpu_validation.supernets.layers import (
    Conv,
    ConvBNRelu,
    Linear,
    check_gates,
    check_images,
    check_settings,
)
from gpu_validation.supernets.nb1shot1_cell import ChoiceCell, wire
from nasbench_sim.errors import SpecError, unknown
from nasbench_sim.spaces import NB1Shot1
from nasbench_sim.spaces.nb1shot1 import PARENTS
from nasbench_sim.tables.manifest import cached_space

CELLS = 9


class NB1Shot1Supernet(nn.Module):
    """Supernet of search space `number` (1, 2, 3): nine cells of C, 2C and 4C channels a node.

    Arguments as `NB201Supernet`, but for `cells`. Gates are in the decision layout of `nasbench_sim.spaces.NB1Shot1`;
    those beyond a decision's options are not looked at. Nodes that no active option needs are not run, and their
    running statistics do not move.

    >>> import torch
    >>> net = NB1Shot1Supernet(1, channels=2, generator=torch.Generator().manual_seed(0))
    >>> net(torch.ones(2, 3, 8, 8), torch.full((7, 10), 0.2)).shape
    torch.Size([2, 10])
    """

    def __init__(
        self,
        number: int,
        *,
        channels: int = 16,
        classes: int = 10,
        in_channels: int = 3,
        batch_norm: BatchNorm = "batch",
        backend: Backend = "reference",
        generator: Generator | None,
    ) -> None:
        super().__init__()
        if number not in PARENTS:
            raise SpecError(unknown("NAS-Bench-1Shot1 space", number, PARENTS))
        check_settings("NB1Shot1Supernet", batch_norm, channels=channels, classes=classes, in_channels=in_channels)
        running, run = batch_norm == "running", choice_block(backend)
        space = cached_space(f"nb1shot1-{number}")
        assert isinstance(space, NB1Shot1)
        self.space, self.in_channels, self.running = space, in_channels, running
        nodes = space.nodes
        self.stem = ConvBNRelu(in_channels, channels, 3, running=running, generator=generator)
        cells, inputs, width = [], channels, channels
        for i in range(CELLS):
            width *= 2 if i in (CELLS // 3, 2 * CELLS // 3) else 1
            cells.append(ChoiceCell(inputs, width, nodes, run, running=running, generator=generator))
            inputs = nodes * width
        self.cells = nn.ModuleList(cells)
        self.last = Conv(inputs, width, 1, generator=generator)
        self.last_norm = Norm(width, affine=False, running=running, generator=generator)
        self.classifier = Linear(width, classes, generator=generator)

    def forward(self, images: Tensor, gates: Tensor, active: Active | None = None) -> Tensor:
        """Logits `[B, classes]` of `images[B, in_channels, H, W]` at `gates[D, K]`; see `contracts.Supernet`."""
        check_images("NB1Shot1Supernet", images, self.in_channels, by_batch=self.training or not self.running)
        check_gates("NB1Shot1Supernet", gates, active, (self.space.D, self.space.K))
        wiring = wire(self.space, gates, active)
        x: Tensor = self.stem(images)
        for i, cell in enumerate(self.cells):
            if i in (CELLS // 3, 2 * CELLS // 3):
                x = F.max_pool2d(x, 2, 2, ceil_mode=True)
            x = cell(x, wiring)
        logits: Tensor = self.classifier(self.last_norm(self.last(F.relu(x))).mean(dim=(2, 3)))
        return logits
