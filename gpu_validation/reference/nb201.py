"""The search cell of NAS-Bench-201 in plain PyTorch, one operation after another.

    node_j = sum_{i<j} [ g_skip x_i + g_c1 BN(conv1x1(relu x_i)) + g_c3 BN(conv3x3(relu x_i)) + g_avg avgpool3x3(x_i) ]

with node_0 the cell's input and node_3 its output; `none` adds nothing. BN has no affine part, the convolutions no
bias, the pool has stride 1, padding 1 and does not count the padding.

Source: Dong & Yang, NAS-Bench-201 (ICLR 2020), section 2; AutoDL-Projects, xautodl/models/cell_operations.py.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from gpu_validation.contracts import BN_EPS, BN_MOMENTUM, Active

#: (source, target) of the six edges, in the order of the decisions
EDGES = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
NONE, SKIP, CONV1, CONV3, POOL = range(5)


class RunningStats(NamedTuple):
    """Running means and variances of a cell's convolutions, `[6, 2, C]` each: edge, (conv1x1, conv3x3), channel."""

    mean: Tensor
    var: Tensor


def batch_norm(z: Tensor, stats: RunningStats | None, edge: int, which: int, training: bool) -> Tensor:
    """BN without affine part. No `stats`: by the mini-batch. With them: moved (training) or used (evaluation)."""
    if stats is None:
        return F.batch_norm(z, None, None, training=True, eps=BN_EPS)
    mean, var = stats.mean[edge, which], stats.var[edge, which]
    return F.batch_norm(z, mean, var, training=training, momentum=BN_MOMENTUM, eps=BN_EPS)


def cell(
    x: Tensor,
    w1: Tensor,
    w3: Tensor,
    gates: Tensor,
    stats: RunningStats | None = None,
    *,
    training: bool = True,
    active: Active | None = None,
) -> Tensor:
    """Output `[B, C, H, W]` of a cell at `x[B, C, H, W]`.

    `w1[6, C, C, 1, 1]`, `w3[6, C, C, 3, 3]`: the convolutions of the six edges; `gates[6, 5]`; `active` bool `[6, 5]`:
    options that are run (default: all).

    >>> x, gates = torch.ones(1, 2, 4, 4), torch.zeros(6, 5)
    >>> gates[3, SKIP] = 1.0
    >>> bool((cell(x, torch.ones(6, 2, 2, 1, 1), torch.ones(6, 2, 2, 3, 3), gates) == x).all())
    True
    """
    nodes = [x]
    for target in (1, 2, 3):
        total = torch.zeros_like(x)
        for edge, (i, j) in enumerate(EDGES):
            if j != target:
                continue
            h = nodes[i]
            for option in (SKIP, CONV1, CONV3, POOL):
                if active is not None and not active[edge, option]:
                    continue
                if option == SKIP:
                    y = h
                elif option == CONV1:
                    y = batch_norm(F.conv2d(F.relu(h), w1[edge]), stats, edge, 0, training)
                elif option == CONV3:
                    y = batch_norm(F.conv2d(F.relu(h), w3[edge], padding=1), stats, edge, 1, training)
                else:
                    y = F.avg_pool2d(h, 3, stride=1, padding=1, count_include_pad=False)
                total = total + gates[edge, option] * y
        nodes.append(total)
    return nodes[3]
