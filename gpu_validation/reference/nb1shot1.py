"""The choice block of NAS-Bench-1Shot1 in plain PyTorch: a mixture of a max pool and two convolutions.

    out = g_0 maxpool3(x) + g_1 relu(BN(conv3x3(x))) + g_2 relu(BN(conv1x1(x)))

The options are in the order of `nasbench_sim.spaces.nb1shot1.OPS`; the pool has stride 1 and padding 1.

Source: Zela, Siems & Hutter, NAS-Bench-1Shot1 (ICLR 2020), optimizers/darts/model_search.py. Deviation: BN has no
affine part, as in the cell of NAS-Bench-201 (there it has; its scale and the gate are one factor too many in a search).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from gpu_validation.contracts import Active
from gpu_validation.reference.nb201 import RunningStats, batch_norm
from nasbench_sim.errors import SpecError

POOL, CONV3, CONV1 = range(3)


def choice_block(
    x: Tensor,
    w1: Tensor,
    w3: Tensor,
    gates: Tensor,
    stats: RunningStats | None = None,
    *,
    training: bool = True,
    active: Active | None = None,
) -> Tensor:
    """Output `[B, C, H, W]` of a choice block at `x[B, C, H, W]`.

    `w1[C, C, 1, 1]`, `w3[C, C, 3, 3]`; `gates[3]` in the order maxpool3x3, conv3x3, conv1x1; `stats`: running mean and
    variance `[2, C]` of (conv1x1, conv3x3), or None for the mini-batch always; `active` bool `[3]`: options that run.
    Raises `SpecError` for gates of another shape.

    >>> x, w1, w3 = torch.arange(9.0).reshape(1, 1, 3, 3), torch.ones(1, 1, 1, 1), torch.ones(1, 1, 3, 3)
    >>> choice_block(x, w1, w3, torch.tensor([1.0, 0.0, 0.0]))[0, 0].tolist()
    [[4.0, 5.0, 5.0], [7.0, 8.0, 8.0], [7.0, 8.0, 8.0]]
    """
    if tuple(gates.shape) != (3,):
        raise SpecError(f"choice block: gates have shape {tuple(gates.shape)}; it has 3 options")
    rows = None if stats is None else RunningStats(stats.mean[None], stats.var[None])
    total = torch.zeros_like(x)
    for option in (POOL, CONV3, CONV1):
        if active is not None and not active[option]:
            continue
        if option == POOL:
            y = F.max_pool2d(x, 3, stride=1, padding=1)
        elif option == CONV3:
            y = F.relu(batch_norm(F.conv2d(x, w3, padding=1), rows, 0, 1, training))
        else:
            y = F.relu(batch_norm(F.conv2d(x, w1), rows, 0, 0, training))
        total = total + gates[option] * y
    return total
