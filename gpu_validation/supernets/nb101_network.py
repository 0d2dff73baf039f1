"""The network of a NAS-Bench-101 module; also the stand-alone network of a NAS-Bench-1Shot1 cell.

Stem conv3x3 of 128 channels; three stacks of three modules of 128, 256 and 512 channels, with a max pool of stride 2
between stacks; global average pooling; a linear classifier. Every convolution is followed by BN and ReLU.

Inside a module the inner vertices that feed the output share its channels and are concatenated there; the others are as
wide as the widest vertex that they feed. Edges from the input are 1x1 convolutions (to the output too, where the
result is added); tensors that meet in an inner vertex are added, their surplus channels dropped.

Source: Ying et al., NAS-Bench-101 (ICML 2019); google-research/nasbench, nasbench/lib/model_builder.py, base_ops.py.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from gpu_validation.supernets.layers import ConvBNRelu, Linear, check_images, check_sizes, truncated_normal
from nasbench_sim.errors import ArchError, SpecError
from nasbench_sim.spaces import nb101
from nasbench_sim.tables.nb101_costs import vertex_channels

STACKS, MODULES = 3, 3
MOMENTUM = 0.003  # TensorFlow's 0.997
_KERNELS = {"conv3x3-bn-relu": 3, "conv1x1-bn-relu": 1}


def _unit(inputs: int, outputs: int, kernel: int, generator: Generator | None) -> ConvBNRelu:
    return ConvBNRelu(
        inputs, outputs, kernel, running=True, draw=truncated_normal, momentum=MOMENTUM, generator=generator
    )


class Module101(nn.Module):
    """A pruned module `(matrix[V, V], ops[V])` from `inputs` to `outputs` channels.

    `projections` and `vertices` are named by vertex, the output being vertex V - 1.
    """

    def __init__(self, module: nb101.Module, inputs: int, outputs: int, *, generator: Generator | None) -> None:
        super().__init__()
        self.matrix, ops = module[0].tolist(), module[1]
        self.last = len(ops) - 1
        self.widths = [int(c) for c in vertex_channels(module[0][None] != 0, outputs)[0]]
        if self.last > 1 and min(self.widths[1 : self.last]) < 1:
            raise SpecError(f"NB101Network: {outputs} channels are too few for the parents of the output to share")
        self.widths[self.last] = outputs
        inner = range(1, self.last)
        self.projections = nn.ModuleDict(
            {str(v): _unit(inputs, self.widths[v], 1, generator) for v in (*inner, self.last) if self.matrix[0][v]}
        )
        self.vertices = nn.ModuleDict(
            {str(v): _unit(self.widths[v], self.widths[v], _KERNELS[ops[v]], generator)
             for v in inner if ops[v] in _KERNELS}
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        """`[B, inputs, H, W]` -> `[B, outputs, H, W]`."""
        values: dict[int, Tensor] = {}
        for v in range(1, self.last):
            terms = [values[u][:, : self.widths[v]] for u in range(1, v) if self.matrix[u][v]]
            if self.matrix[0][v]:
                terms.append(self.projections[str(v)](x))
            total = sum(terms[1:], start=terms[0])
            convolved = str(v) in self.vertices
            values[v] = self.vertices[str(v)](total) if convolved else F.max_pool2d(total, 3, stride=1, padding=1)
        parts = [values[v] for v in range(1, self.last) if self.matrix[v][self.last]]
        projected = [self.projections[str(self.last)](x)] if self.matrix[0][self.last] else []
        joined = [torch.cat(parts, dim=1)] if parts else []
        out: Tensor = sum([*joined, *projected][1:], start=[*joined, *projected][0])
        return out


class NB101Network(nn.Module):
    """The network of `(matrix[V, V], ops[V])`, pruned first; `stem` is its first number of channels.

    Weights are drawn by `generator` alone, as TensorFlow draws them (None: no numbers, meta device). Raises `ArchError`
    for what is no module of NAS-Bench-101, `SpecError` for sizes below 1, too few channels and images of the wrong
    shape.

    >>> chain = [[0, 1, 0], [0, 0, 1], [0, 0, 0]]
    >>> net = NB101Network(chain, ["input", "conv3x3-bn-relu", "output"], generator=None)
    >>> sum(p.numel() for p in net.parameters())
    10177674
    """

    def __init__(
        self,
        matrix: npt.ArrayLike,
        ops: Sequence[str],
        *,
        stem: int = 128,
        classes: int = 10,
        in_channels: int = 3,
        generator: Generator | None,
    ) -> None:
        super().__init__()
        check_sizes("NB101Network", stem=stem, classes=classes, in_channels=in_channels)
        problem = nb101.flaw(matrix, ops)
        if problem:
            raise ArchError(problem)
        module = nb101.prune(matrix, ops)
        self.in_channels = in_channels
        self.stem = _unit(in_channels, stem, 3, generator)
        layers, width = [], stem
        for stack in range(STACKS):
            outputs = stem << stack
            for _ in range(MODULES):
                layers.append(Module101(module, width, outputs, generator=generator))
                width = outputs
        self.layers = nn.ModuleList(layers)
        self.classifier = Linear(width, classes, glorot=True, generator=generator)

    def forward(self, images: Tensor) -> Tensor:
        """Logits `[B, classes]` of `images[B, in_channels, H, W]`."""
        check_images("NB101Network", images, self.in_channels, by_batch=self.training)
        x: Tensor = self.stem(images)
        for i, layer in enumerate(self.layers):
            if i and i % MODULES == 0:
                x = F.max_pool2d(x, 2, 2, ceil_mode=True)
            x = layer(x)
        logits: Tensor = self.classifier(x.mean(dim=(2, 3)))
        return logits
